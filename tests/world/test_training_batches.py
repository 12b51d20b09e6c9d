"""What a step is shown: whose share it is, with which cameras, before which background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn

from mvista_core.camera_range import gaps_deg, sees_a_neighbour
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.geometry import look_at
from mvista_world.cameras import camera_matrices, look_at_point
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.generator import MultiViewGenerator
from mvista_world.presets import preset
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.training import (
    batches,
    curriculum,
    data,
    generator,
    recipes,
    recordings,
    refine_data,
)
from mvista_world.training.chance import Chance
from mvista_world.training.request import TrainingRequest
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import ViewCameras
from tests.world.tiny import ARM, CONFIG, RIG, awake, smooth_actions, write_episodes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards that do not state their cameras, below a folder a data set."""
    return write_episodes(tmp_path_factory.mktemp("episodes"))


def test_an_epoch_shows_nothing_twice_and_the_next_is_shuffled_anew() -> None:
    steps = [data.batch(10, 3, 7, step) for step in range(6)]
    for epoch in (steps[:3], steps[3:]):
        assert len(set(np.concatenate(epoch).tolist())) == 9
    assert not np.array_equal(np.concatenate(steps[:3]), np.concatenate(steps[3:]))
    np.testing.assert_array_equal(data.batch(10, 3, 7, 4), steps[4])
    assert not np.array_equal(data.batch(10, 3, 8, 0), steps[0])


def latent_set(count: int, actions: np.ndarray) -> data.LatentSet:
    """Episodes of the shipped rig whose latents say which episode and view they are of."""
    views = len(RIG.cameras)
    color = np.zeros((count, views, 1, 1, 1, 3), np.uint8)
    initial = actions[:, 0, 0]
    empty = recordings.Shard(color, color[..., 0].astype(np.uint16), actions, initial, ())
    c = CONFIG.codec.latent_channels
    which = np.arange(count * views, dtype=np.float16).reshape(count, views, 1, 1, 1, 1, 1)
    latents = np.tile(which, (1, 1, 2, c, CONFIG.latent_frames, *CONFIG.latent_size))
    words = tuple(tuple("ab"[: actions.shape[1]]) for _ in range(count))
    cameras = empty.cameras(RIG, CONFIG.window)
    return data.LatentSet(latents, actions, initial, words, *cameras, latents[:, :, :, :, 0])


@pytest.mark.parametrize("there", [[4], [3, 1], [6, 2, 2]])
def test_every_episode_is_as_likely_as_another(there: list[int]) -> None:
    rng = np.random.default_rng(0)
    sets = [latent_set(count, smooth_actions(rng, (count, 1))) for count in there]
    made = batches.make_sources(sets, None, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    assert made.shares.tolist() == pytest.approx([count / sum(there) for count in there])
    assert made.episodes == sum(there) and made.grounding is None


class Elsewhere(Accelerator):
    """On a device that every machine has, and no network is made on."""

    device = torch.device("meta")

    def prepare(self, *args: Any, **kwargs: Any) -> Any:
        return [arg.to(self.device) if isinstance(arg, nn.Module) else arg for arg in args]


def test_what_is_averaged_lies_where_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[nn.Module, EMAModel]] = []
    monkeypatch.setattr(generator, "Accelerator", Elsewhere)
    monkeypatch.setattr(generator, "train", lambda *args: seen.append((args[1], args[5])))
    monkeypatch.setattr(generator, "export", lambda *args: None)
    episodes = latent_set(3, smooth_actions(np.random.default_rng(0), (3, 1)))
    sources = batches.make_sources([episodes], None, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    text = InstructionEncoder(CONFIG.text, build_tokenizer(["open the drawer"]))
    networks = generator.Networks(MultiViewGenerator(CONFIG), text)
    training = curriculum.GeneratorTraining(many_batch=2)
    generator.train_generator(networks, sources, tmp_path, training, False, choose())
    ((trained, average),) = seen
    assert {p.device.type for p in trained.parameters()} == {"meta"}
    assert {shadow.device.type for shadow in average.shadow_params} == {"meta"}


def test_who_filmed_with_two_cameras_gives_two_views() -> None:
    one = latent_set(3, smooth_actions(np.random.default_rng(0), (3, 1)))
    poses, lenses = one.base_from_camera[:, :2], one.intrinsics[:, :2]
    fewer = replace(
        one,
        latents=one.latents[:, :2],
        background=one.background[:, :2],
        base_from_camera=poses,
        intrinsics=lenses,
    )
    sources = batches.make_sources([fewer], None, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    training = curriculum.GeneratorTraining(many_batch=2, view_counts=(3,))
    batch = batches.draw_batch("many", sources, CONFIG, training, step=0)
    assert batch.cameras.views == 2


@pytest.mark.parametrize(("count", "held"), [(2, 1), (40, 4), (319, 31), (320, 32), (4000, 32)])
def test_a_tenth_is_held_out_and_never_more_than_asked(count: int, held: int) -> None:
    assert data.held_out(count, 32) == held
    with pytest.raises(ConfigError, match="1 episodes"):
        data.held_out(1, 32)


def drawn_cameras(count: int, views: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics [N, V, 4] and poses [N, V, 4, 4], different for every episode and view."""
    rng = np.random.default_rng(seed)
    lenses = np.tile([93.5, 93.4, 23.5, 15.5], (count, views, 1)) * rng.uniform(
        0.9, 1.1, (count, views, 1)
    )
    poses = np.zeros((count, views, 4, 4))
    for index in np.ndindex(count, views):
        azimuth, height = rng.uniform(-3.0, 3.0), rng.uniform(0.4, 0.8)
        eye = np.array([0.33 + 0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), height])
        poses[index] = look_at(eye, np.array([0.33, 0.0, 0.05]))
    return lenses, poses


@pytest.mark.parametrize("kind", ["many", "one", "ground"])
def test_every_sample_comes_with_the_cameras_that_saw_it(kind: str) -> None:
    torch.manual_seed(0)
    rng, views = np.random.default_rng(0), len(RIG.cameras)
    actions = smooth_actions(rng, (6, 2 if kind == "ground" else 1))
    lenses, poses = drawn_cameras(6, views, seed=1)
    one = replace(latent_set(6, actions), intrinsics=lenses, base_from_camera=poses)
    sources = batches.make_sources([one], one, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    training = curriculum.GeneratorTraining(ground_batch=8, one_batch=8, many_batch=8)
    batch = batches.draw_batch(kind, sources, CONFIG, training, step=3)
    shown, rows = batch.cameras.views, CONFIG.latent_size[0]
    whole = ViewCameras.of(poses, camera_matrices(lenses), CONFIG)
    for sample in range(8):
        # What a latent holds says which episode and view it is of: see `latent_set`.
        which = [int(batch.x0[sample, 0, 0, v * rows, 0]) for v in range(shown)]
        episodes, order = np.array([divmod(code, views) for code in which]).T
        wanted = whole.pick(episodes, order)
        torch.testing.assert_close(batch.cameras.base_from_camera[sample], wanted.base_from_camera)
        torch.testing.assert_close(batch.cameras.intrinsics[sample], wanted.intrinsics)
        torch.testing.assert_close(batch.cameras.embedding[sample], wanted.embedding)
        assert batch.joints[sample].tolist() == one.initial[episodes[0]].tolist()


def test_drawn_views_obey_the_rule_and_are_a_function_of_the_seed() -> None:
    _, poses = drawn_cameras(60, 3, seed=2)
    gaps = [gaps_deg(row, look_at_point(row)) for row in poses]
    # What a collection draws: rigs that obey the rule as a whole.
    rule = np.array([bool(sees_a_neighbour(gap).all()) for gap in gaps])
    assert 0.3 < rule.mean() < 1.0
    for count in (1, 2, 3):
        order = batches.draw_views(poses[rule], count, np.random.default_rng(0))
        again = batches.draw_views(poses[rule], count, np.random.default_rng(0))
        np.testing.assert_array_equal(order, again)
        assert len({tuple(row) for row in order}) > 2
        for row, gap in zip(order, np.array(gaps)[rule], strict=True):
            assert len(set(row)) == count
            assert sees_a_neighbour(gap[np.ix_(row, row)]).all()
    with pytest.raises(ConfigError, match="4 views asked for, the episodes have 3"):
        batches.draw_views(poses, 4, np.random.default_rng(0))


def test_shards_of_before_cameras_were_stored_get_the_rigs(episodes: Path) -> None:
    shard = recordings.load_shard(recordings.shard_paths([episodes / "touch"])[0])
    lenses, poses = shard.cameras(RIG, CONFIG.window)
    assert lenses.shape == (40, len(RIG.cameras), 4)
    np.testing.assert_array_equal(poses[39, 2], RIG.cameras[2].base_from_camera)
    fewer = replace(RIG, cameras=RIG.cameras[:2])
    with pytest.raises(ConfigError, match=r"episodes of 4 views.*has 2; .*--rig.*collect"):
        shard.cameras(fewer, CONFIG.window)


def test_pictures_of_another_window_are_refused(episodes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds pictures of 48x32.* 96x64; .*--preset"):
        data.load_latents(
            [episodes / "touch"],
            tmp_path,
            StackedCodec(CONFIG.codec),
            replace(CONFIG, window=TINY.window),
            "0" * 64,
            choose(),
            RIG,
        )


def test_stills_are_the_background(episodes: Path, tmp_path: Path) -> None:
    """With stills the background is each episode's own; without, what a shard has in common."""
    path = recordings.shard_paths([episodes / "touch"])[0]
    (tmp_path / "touch").mkdir()
    lenses, poses = drawn_cameras(40, len(RIG.cameras), seed=3)
    with np.load(path) as shard:
        arrays = {key: shard[key] for key in shard.files}
    np.savez(
        tmp_path / "touch" / path.name, **arrays, intrinsics=lenses, base_from_camera=poses,
        still_color=arrays["color"][:, :, 0], still_depth_mm=arrays["depth_mm"][:, :, 0],
    )  # fmt: skip
    network = StackedCodec(CONFIG.codec)
    loaded = [
        data.load_latents([folder], tmp_path / name, network, CONFIG, "0" * 64, choose(), RIG)
        for name, folder in (("with", tmp_path / "touch"), ("without", episodes / "touch"))
    ]
    stated, plain = loaded
    np.testing.assert_allclose(stated.background, stated.latents[..., 0, :, :], atol=1e-2)
    np.testing.assert_array_equal(stated.base_from_camera, poses)
    assert np.ptp(plain.background.astype(float), axis=0).max() == 0
    assert plain.background.shape == stated.background.shape
    kept, held = stated.split(3)
    assert (len(kept), len(held)) == (37, 3)
    np.testing.assert_array_equal(held.intrinsics, lenses[-3:])


def test_a_kill_between_stills_and_latents_leaves_no_shard_that_counts_as_encoded(
    episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of a shard another process misses it would write in this one's place."""
    path = recordings.shard_paths([episodes / "touch"])[0]
    folder, cache = tmp_path / "touch", tmp_path / "latents"
    folder.mkdir()
    with np.load(path) as shard:
        arrays = {key: shard[key][:2] for key in shard.files}
    lenses, poses = drawn_cameras(2, len(RIG.cameras), seed=3)
    np.savez(
        folder / path.name, **arrays, intrinsics=lenses, base_from_camera=poses,
        still_color=arrays["color"][:, :, 0], still_depth_mm=arrays["depth_mm"][:, :, 0],
    )  # fmt: skip
    network = StackedCodec(CONFIG.codec)
    encode = network.encode

    def fill() -> int:
        return data.fill_cache([folder], cache, network, CONFIG, "0" * 64, choose(), RIG, (0, 1))

    def killed(pixels: torch.Tensor) -> torch.Tensor:
        if list(cache.glob("*.npy")):
            raise KeyboardInterrupt
        return encode(pixels)

    with monkeypatch.context() as while_killed:
        while_killed.setattr(network, "encode", killed)
        with pytest.raises(KeyboardInterrupt):
            fill()
    assert len(list(cache.glob("*.npy"))) == 1
    assert fill() == 1
    written = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert fill() == 0
    data.load_latents([folder], cache, network, CONFIG, "0" * 64, choose(), RIG)
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == written


def test_shards_of_one_demonstration_each_have_the_data_sets_background(
    episodes: Path, tmp_path: Path
) -> None:
    """As if all lay in one shard: an arm that rests in its own demonstration is no background."""
    with np.load(recordings.shard_paths([episodes / "touch"])[0]) as shard:
        arrays = {key: shard[key][:6] for key in shard.files}
    for name, parts in (("one", [slice(0, 6)]), ("many", [slice(0, 1), slice(1, 4), slice(4, 6)])):
        (tmp_path / name).mkdir()
        for k, rows in enumerate(parts):
            few = {key: value[rows] for key, value in arrays.items()}
            np.savez(tmp_path / name / f"shard-{k:05d}.npz", **few)
    network = StackedCodec(CONFIG.codec)
    one, many = (
        data.load_latents([tmp_path / n], tmp_path / "c", network, CONFIG, "0" * 64, choose(), RIG)
        for n in ("one", "many")
    )
    assert np.ptp(many.background.astype(float), axis=0).max() == 0
    np.testing.assert_allclose(many.background, one.background, atol=5e-3)


def test_the_refiner_takes_one_rig_only(episodes: Path, tmp_path: Path) -> None:
    path = recordings.shard_paths([episodes / "touch"])[0]
    with np.load(path) as shard:
        arrays = {key: shard[key] for key in shard.files}
    _, poses = drawn_cameras(40, len(RIG.cameras), seed=3)
    (tmp_path / "touch").mkdir()
    np.savez(tmp_path / "touch" / path.name, **arrays, base_from_camera=poses)
    with pytest.raises(ConfigError, match="cameras differ from episode to episode.*collect"):
        refine_data.load_episodes([tmp_path / "touch"])


@pytest.mark.parametrize("network", ["codec", "trajectory", "priors", "refine", "distill"])
def test_leaving_a_module_out_is_refused_where_it_changes_nothing(
    network: str, tmp_path: Path
) -> None:
    config = preset("tiny").without(["offsets"])
    asked = TrainingRequest(config, tmp_path, tmp_path / "out", tmp_path, RIG, ARM)
    with pytest.raises(ConfigError, match=rf"'{network}' is the same .*'offsets'.* generator"):
        recipes.run(network, asked)
    assert not (tmp_path / "out").exists()


def test_what_is_reached_is_the_last_pose_and_teaches_the_reading_alone() -> None:
    torch.manual_seed(0)
    networks = generator.Networks(
        MultiViewGenerator(CONFIG), InstructionEncoder(CONFIG.text, build_tokenizer(["go home"]))
    )
    z = torch.randn(5, CONFIG.trajectory.tokens, CONFIG.trajectory.channels)
    with pytest.raises(ConfigError, match="decode_with"):
        generator.reached_error(networks, z, z)
    vae = awake(TrajectoryVae(CONFIG.trajectory, 7))
    vae.std.uniform_(0.1, 0.9)
    networks.decode_with(vae, ARM)
    assert generator.reached_error(networks, z, z).eq(0).all()
    found = (z + 0.3 * torch.randn(z.shape)).requires_grad_()
    error = generator.reached_error(networks, found, z)
    ends = vae.decode(found)[:, -1] - vae.decode(z)[:, -1]
    torch.testing.assert_close(error, (ends / vae.std).square().mean(dim=1))
    error.sum().backward()
    assert found.grad is not None and found.grad.abs().max() > 0
    assert networks.trajectory is not None and networks.trajectory is not vae
    assert all(p.grad is None for p in (*vae.parameters(), *networks.trajectory.parameters()))


def test_where_the_motion_is_known_the_words_may_be_any_tasks() -> None:
    rng = np.random.default_rng(0)
    sets = [latent_set(3, smooth_actions(rng, (3, 1))) for _ in range(2)]
    sets[1] = replace(sets[1], instructions=(("c",), ("d",), ("c",)))
    sources = batches.make_sources(sets, None, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    assert sources.words == ("a", "c", "d")
    training = curriculum.GeneratorTraining(one_batch=400)
    batch = batches.draw_batch("one", sources, CONFIG, training, 0)
    own = batch.instructions
    known = torch.arange(len(own)) % 2 == 0
    wrong = torch.rand(len(own), generator=torch.Generator().manual_seed(0)) / training.misled
    told = generator._misled(own, batch.any_words, known, wrong)
    others = [told[i] for i in range(len(own)) if known[i] and wrong[i] < 1.0]
    assert sum(known & (wrong < 1.0)) == len(others)
    for word in sources.words:
        assert 0.2 < others.count(word) / len(others) < 0.47
    assert all(told[i] == own[i] for i in range(len(own)) if not known[i] or wrong[i] >= 1.0)


def test_a_share_is_read_where_the_head_reads_and_is_told_no_motion() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a", "b"])
    model = awake(MultiViewGenerator(CONFIG))
    networks = generator.Networks(model, InstructionEncoder(CONFIG.text, tokenizer))
    networks.decode_with(TrajectoryVae(CONFIG.trajectory, 7), ARM)
    seen = [latent_set(3, smooth_actions(np.random.default_rng(0), (3, 1)))]
    sources = batches.make_sources(seen, None, TrajectoryVae(CONFIG.trajectory, 7), ARM)
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def note(_: nn.Module, args: tuple[Any, ...]) -> None:
        asked.append((args[1], args[3].style))

    model.register_forward_pre_hook(note)
    size = 64

    def step(recipe: str, share: float, *without: str) -> tuple[torch.Tensor, torch.Tensor]:
        training = replace(
            curriculum.training_of(recipe, without), one_batch=size, many_batch=size, read=share
        )
        batch = batches.draw_batch("one", sources, CONFIG, training, 3)
        torch.manual_seed(1)
        chance = Chance.drawn(batch.x0, training.extras)
        with torch.no_grad():
            loss = generator.losses(networks, batch, training, 0.0, chance)
        counts = {name: int(loss.samples[name]) for name in ("head_read", "head_null", "head_told")}
        t, style = asked.pop()
        untold = (style == model.null(size)).all(dim=2).all(dim=1)
        assert counts == {
            "head_read": int(untold.sum()),
            "head_null": 0,
            "head_told": size - int(untold.sum()),
        }
        return t, untold

    t, untold = step("views", 0.5)
    assert 16 < int(untold.sum()) < 48
    assert float(t[untold].max()) < curriculum.READ_BELOW < float(t[~untold].max())
    assert float(t[untold].mean()) == pytest.approx(curriculum.READ_BELOW / 2, abs=0.12)
    for recipe, share, *without in (("views", 0.0), ("views", 0.5, "read"), ("paper", 0.5)):
        assert not step(recipe, share, *without)[1].any()
