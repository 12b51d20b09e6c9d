"""Training is a function of the seed: an interrupted run ends with an unbroken run's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file

from mvista_core.camera_range import gaps_deg, sees_a_neighbour
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.geometry import look_at
from mvista_world import codec as codec_module
from mvista_world.cameras import camera_matrices, look_at_point
from mvista_world.compute import choose
from mvista_world.planner import load_planner
from mvista_world.probe import load_probe
from mvista_world.training import (
    batches,
    codec,
    curriculum,
    data,
    generator,
    priors,
    recipes,
    refine_data,
    trajectory,
)
from mvista_world.training.request import GROUNDING, VIDEO_SHARES, TrainingRequest
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import ViewCameras
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_observation,
    smooth_actions,
    write_episodes,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRequest:
    """Codec and trajectory trained a little past their first saved state."""
    root = tmp_path_factory.mktemp("training")
    recipe = TrainingRequest(
        CONFIG,
        write_episodes(root / "data"),
        root / "out",
        root / "checkpoint",
        RIG,
        ARM,
        threads=1,
    )
    choose(threads=1)
    run_codec(recipe, recipe.out)
    run_trajectory(recipe, recipe.out)
    return recipe


def run_codec(recipe: TrainingRequest, out: Path) -> None:
    training = codec.CodecTraining(steps=7, batch=2, state_every=4)
    codec.train_codec(recipe.video_folders(), out, CONFIG, training)


def run_trajectory(recipe: TrainingRequest, out: Path) -> None:
    training = trajectory.TrajectoryTraining(steps=7, batch=4, state_every=4)
    folders = [*recipe.video_folders(), recipe.data / GROUNDING]
    trajectory.train_trajectory(folders, out, CONFIG, training, ARM)


SHORT = curriculum.GeneratorTraining(
    steps=7, state_every=4, ground_until=2, one_until=4, ground_batch=4, one_batch=2, many_batch=2
)
SHORT_PAPER = replace(
    curriculum.TRAINING["paper"], steps=7, state_every=4, many_batch=2, null_after_epochs=1
)


def run_generator(
    recipe: TrainingRequest,
    out: Path,
    seed: int,
    training: curriculum.GeneratorTraining = SHORT,
) -> generator.Networks:
    torch.manual_seed(seed)
    compute = choose()
    networks = generator.new_networks(replace(recipe, out=out), compute)
    sources = batches.load_sources(recipe, compute, training.extras.grounding)
    generator.train_generator(networks, sources, out, training, True, compute)
    return networks


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-6, msg=key)


@pytest.mark.parametrize(("name", "run"), [("codec", run_codec), ("trajectory", run_trajectory)])
def test_an_autoencoder_resumes_exactly(
    trained: TrainingRequest,
    tmp_path: Path,
    name: str,
    run: Callable[[TrainingRequest, Path], None],
) -> None:
    shutil.copyfile(trained.out / f"{name}.state", tmp_path / f"{name}.state")
    state = torch.load(tmp_path / f"{name}.state", weights_only=True)
    assert state["step"] == 4
    torch.manual_seed(99)
    run(trained, tmp_path)
    assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")


def test_the_generator_resumes_exactly_and_packs_into_a_planner(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    shutil.copyfile(trained.out / "generator.state", tmp_path / "generator.state")
    run_generator(trained, tmp_path, seed=1)
    for name in ("generator", "text"):
        assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")
    recipes.run("pack", replace(trained, checkpoint=tmp_path / "checkpoint"))
    planner = load_planner(tmp_path / "checkpoint", RIG, ARM, _clock())
    observation = make_observation("touch the green cube")
    rollout = planner.imagine(observation, "cam1", ["cam2"], 0, lambda stage, fraction: True)
    assert planner.infer_actions(
        rollout.rollout_id, "head", 1, lambda stage, fraction: True
    ).losses.shape == (1,)


def test_a_generator_started_from_a_checkpoint_goes_on_from_its_weights(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    checkpoint = tmp_path / "checkpoint"
    recipes.run("pack", replace(trained, checkpoint=checkpoint))
    going_on = replace(trained, out=tmp_path, start=checkpoint, steps=0)
    shutil.copyfile(trained.out / "trajectory.safetensors", tmp_path / "trajectory.safetensors")
    for name in ("codec", "generator"):
        recipes.run(name, going_on)
    for name in ("codec", "generator", "text"):
        ours = load_file(tmp_path / f"{name}.safetensors")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items():
            assert torch.equal(ours[key], value.to(ours[key].dtype)), key


def without_grounding(recipe: TrainingRequest, root: Path) -> TrainingRequest:
    """The same trained parts, beside data without the set `grounding`."""
    (root / "data").mkdir()
    (root / "data" / "touch").symlink_to(recipe.data / "touch")
    out = root / "out"
    out.mkdir()
    for name in ("codec", "trajectory"):
        shutil.copyfile(recipe.out / f"{name}.safetensors", out / f"{name}.safetensors")
    return replace(recipe, data=root / "data", out=out)


def test_the_papers_recipe_needs_videos_alone_and_resumes_exactly(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    recipe = without_grounding(trained, tmp_path)
    run_generator(recipe, recipe.out, 0, SHORT_PAPER)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copyfile(recipe.out / "generator.state", again / "generator.state")
    with pytest.raises(ConfigError, match=r"generator\.state is of a run with other"):
        run_generator(recipe, again, 1, replace(SHORT_PAPER, full_source=0.4))
    networks = run_generator(recipe, again, 1, SHORT_PAPER)
    assert_same_weights(again / "generator.safetensors", recipe.out / "generator.safetensors")
    # Nothing averages here: what ships are the last weights, and the gate never opened.
    shipped = load_file(again / "generator.safetensors")
    for name, value in networks.generator.state_dict().items():
        assert torch.equal(shipped[name], value), name
    assert not shipped["instruction_gate.weight"].any()
    assert not shipped["instruction_gate.bias"].any()


@pytest.mark.parametrize("name", [f.name for f in fields(curriculum.Extras)])
def test_every_extra_changes_what_is_trained(
    trained: TrainingRequest, tmp_path: Path, name: str, with_all: dict[str, torch.Tensor]
) -> None:
    extras = curriculum.Extras().without([name])
    run_generator(trained, tmp_path, 0, replace(MIXED, extras=extras))
    found = load_file(tmp_path / "generator.safetensors")
    assert any(not torch.equal(found[key], value) for key, value in with_all.items())


MIXED = replace(
    SHORT, steps=5, ground_until=1, one_until=3, full_source=0.5, null_start=0.5, null_end=0.5
)


@pytest.fixture(scope="module")
def with_all(
    trained: TrainingRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("extras")
    run_generator(trained, out, 0, MIXED)
    return load_file(out / "generator.safetensors")


def test_recipes_are_the_generators_alone(trained: TrainingRequest) -> None:
    with pytest.raises(ConfigError, match="'codec' has one recipe"):
        recipes.run("codec", replace(trained, recipe="paper"))
    with pytest.raises(ConfigError, match="--without are of 'generator'"):
        recipes.run("pack", replace(trained, without=("misled",)))
    with pytest.raises(ConfigError, match="cannot train without 'luck'"):
        recipes.run("generator", replace(trained, without=("luck",)))


def test_starting_from_what_does_not_fit_names_the_file(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"codec\.safetensors.*--start"):
        recipes.run("codec", replace(trained, start=tmp_path, out=tmp_path / "out"))


def test_real_priors_are_what_the_planner_infers_on_its_own_imagination(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    recipes.run("pack", replace(trained, checkpoint=tmp_path / "checkpoint"))
    planner = load_probe(tmp_path / "checkpoint", RIG, ARM, _clock())
    folders, path = trained.video_folders(), tmp_path / "priors.npz"
    settings = priors.PriorSettings(per_folder=2, every=2, steps=1, views=2)
    made = priors.make_priors(planner, folders, RIG, ARM, settings, path)
    read = refine_data.load_priors(path, refine_data.load_episodes(folders))
    assert read.episodes.tolist()[:2] == [0, 2]
    assert len(read.episodes) == 2 * len(folders)
    np.testing.assert_array_equal(read.positions, made.positions)
    assert read.color is not None and read.color.shape[:2] == (len(read.episodes), 2)


def _clock():  # type: ignore[no-untyped-def]
    from mvista_core.timing import ManualClock

    return ManualClock()


def test_an_unknown_network_lists_the_networks(trained: TrainingRequest) -> None:
    with pytest.raises(ConfigError, match=r"codec.*generator.*pack.*refine.*trajectory"):
        recipes.run("decoder", trained)


def test_no_data_says_how_to_get_some(trained: TrainingRequest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mvista dataset collect"):
        data.shard_paths([tmp_path])
    nothing = replace(trained, data=tmp_path, out=tmp_path / "out")
    for network in ("codec", "trajectory", "generator", "refine"):
        with pytest.raises(ConfigError, match=r"none of \['touch', 'drawer', 'orange'\].*collect"):
            recipes.run(network, nothing)


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
    empty = data.Shard(color, color[..., 0].astype(np.uint16), actions, ())
    c = CONFIG.codec.latent_channels
    which = np.arange(count * views, dtype=np.float16).reshape(count, views, 1, 1, 1, 1, 1)
    latents = np.tile(which, (1, 1, 2, c, CONFIG.latent_frames, *CONFIG.latent_size))
    words = tuple(tuple("ab"[: actions.shape[1]]) for _ in range(count))
    cameras = empty.cameras(RIG, CONFIG.window)
    return data.LatentSet(latents, actions, words, *cameras, latents[:, :, :, :, 0])


@pytest.mark.parametrize("there", [["touch"], ["drawer", "orange"], ["touch", "orange"]])
def test_a_data_set_has_its_share_whatever_else_is_missing(there: list[str]) -> None:
    torch.manual_seed(0)
    actions = smooth_actions(np.random.default_rng(0), (2, 1))
    one = latent_set(2, actions)
    vae = TrajectoryVae(CONFIG.trajectory, 7)
    made = batches.make_sources(dict.fromkeys(there, one), one, vae, ARM)
    whole = sum(VIDEO_SHARES[name] for name in there)
    assert made.shares.tolist() == pytest.approx([VIDEO_SHARES[name] / whole for name in there])


@pytest.mark.parametrize("changed", [{"steps": 8}, {"seed": 1}, {"batch": 3}])
def test_a_state_is_gone_on_from_only_by_the_run_that_wrote_it(
    trained: TrainingRequest, tmp_path: Path, changed: dict[str, int]
) -> None:
    shutil.copyfile(trained.out / "codec.state", tmp_path / "codec.state")
    training = replace(codec.CodecTraining(steps=7, batch=2, state_every=4), **changed)
    folders = trained.video_folders()
    with pytest.raises(ConfigError, match=r"codec\.state is of a run with other.*--out"):
        codec.train_codec(folders, tmp_path, CONFIG, training)
    codec.train_codec(folders, tmp_path, CONFIG, replace(training, steps=1), resume=False)


def test_the_average_follows_the_weights_slowly_and_is_what_ships(tmp_path: Path) -> None:
    """After step k it is d m + (1 - d) w with d = min(decay, (1 + k) / (10 + k)); first it is w."""
    torch.manual_seed(0)
    generator_of = {"generator": torch.nn.Linear(3, 2), "text": torch.nn.Linear(2, 2)}
    networks = torch.nn.ModuleDict(generator_of)
    average = EMAModel(networks.parameters(), decay=0.5)
    wanted: list[torch.Tensor] = []
    for k in range(12):
        with torch.no_grad():
            for weight in networks.parameters():
                weight.add_(torch.randn(weight.shape))
        average.step(networks.parameters())
        d = 0.0 if k == 0 else min(0.5, (1 + k) / (10 + k))
        now = [weight.detach().clone() for weight in networks.parameters()]
        wanted = [d * m + (1 - d) * w for m, w in zip(wanted or now, now, strict=True)]
    before = {k: v.clone() for k, v in networks.state_dict().items()}
    generator.export(networks, average, tmp_path)
    shipped = [
        tensor
        for name, module in generator_of.items()
        for tensor in map(
            load_file(tmp_path / f"{name}.safetensors").__getitem__, dict(module.named_parameters())
        )
    ]
    for ours, theirs in zip(shipped, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(value, before[k]) for k, value in networks.state_dict().items())


def test_every_recipe_is_a_module_that_runs_a_request() -> None:
    for recipe in recipes.RECIPES:
        module = import_module(f"mvista_world.training.{recipe.network}")
        assert callable(module.run) and recipe.text


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
    sources = batches.make_sources({"touch": one}, one, TrajectoryVae(CONFIG.trajectory, 7), ARM)
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


def test_shards_of_before_cameras_were_stored_get_the_rigs(trained: TrainingRequest) -> None:
    shard = data.load_shard(data.shard_paths([trained.data / "touch"])[0])
    lenses, poses = shard.cameras(RIG, CONFIG.window)
    assert lenses.shape == (40, len(RIG.cameras), 4)
    np.testing.assert_array_equal(poses[39, 2], RIG.cameras[2].base_from_camera)
    fewer = replace(RIG, cameras=RIG.cameras[:2])
    with pytest.raises(ConfigError, match=r"episodes of 4 views.*has 2; .*--rig.*collect"):
        shard.cameras(fewer, CONFIG.window)


def test_pictures_of_another_window_are_refused(trained: TrainingRequest) -> None:
    with pytest.raises(ConfigError, match=r"holds pictures of 48x32.* 96x64; .*--preset"):
        batches.load_sources(replace(trained, config=replace(CONFIG, window=TINY.window)), choose())


def test_stills_are_the_background(trained: TrainingRequest, tmp_path: Path) -> None:
    """With stills the background is each episode's own; without, what a shard has in common."""
    path = data.shard_paths([trained.data / "touch"])[0]
    (tmp_path / "touch").mkdir()
    lenses, poses = drawn_cameras(40, len(RIG.cameras), seed=3)
    with np.load(path) as shard:
        arrays = {key: shard[key] for key in shard.files}
    np.savez(
        tmp_path / "touch" / path.name, **arrays, intrinsics=lenses, base_from_camera=poses,
        still_color=arrays["color"][:, :, 0], still_depth_mm=arrays["depth_mm"][:, :, 0],
    )  # fmt: skip
    network = codec_module.StackedCodec(CONFIG.codec)
    loaded = [
        data.load_latents([folder], tmp_path / name, network, CONFIG, "0" * 64, choose(), RIG)
        for name, folder in (("with", tmp_path / "touch"), ("without", trained.data / "touch"))
    ]
    stated, plain = loaded
    np.testing.assert_allclose(stated.background, stated.latents[..., 0, :, :], atol=1e-2)
    np.testing.assert_array_equal(stated.base_from_camera, poses)
    assert np.ptp(plain.background.astype(float), axis=0).max() == 0
    assert plain.background.shape == stated.background.shape
    kept, held = stated.split(3)
    assert (len(kept), len(held)) == (37, 3)
    np.testing.assert_array_equal(held.intrinsics, lenses[-3:])


def test_the_refiner_takes_one_rig_only(trained: TrainingRequest, tmp_path: Path) -> None:
    path = data.shard_paths([trained.data / "touch"])[0]
    with np.load(path) as shard:
        arrays = {key: shard[key] for key in shard.files}
    _, poses = drawn_cameras(40, len(RIG.cameras), seed=3)
    (tmp_path / "touch").mkdir()
    np.savez(tmp_path / "touch" / path.name, **arrays, base_from_camera=poses)
    with pytest.raises(ConfigError, match="cameras differ from episode to episode.*collect"):
        refine_data.load_episodes([tmp_path / "touch"])
