"""The motion reader: its rays are the cameras', any views will do, and a planner plans by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core import weights
from mvista_core.errors import ConfigError, WeightsError
from mvista_core.timing import ManualClock
from mvista_world.arm_points import projected
from mvista_world.assemble import convert
from mvista_world.checkpoint import load_checkpoint
from mvista_world.choices import MethodChoices
from mvista_world.compute import choose
from mvista_world.motion_reader import (
    RAY,
    READER,
    MotionReader,
    MotionReading,
    ReaderConfig,
    Watched,
    load_reader,
    save_reader,
)
from mvista_world.planner import load_planner
from mvista_world.training import reader, recipes
from mvista_world.training.batches import draw_batch, load_sources
from mvista_world.training.generator import trained_networks
from mvista_world.training.reader import ReaderTraining, tips_at_pictures
from mvista_world.training.request import TrainingRequest
from tests.world.test_training import trained_in
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_cameras,
    make_latents,
    make_observation,
    write_checkpoint,
)

SMALL = ReaderConfig(16, 1, 1, 2)
VIEWS = 3


def make_reader() -> MotionReader:
    torch.manual_seed(0)
    return MotionReader(CONFIG, SMALL).eval()


def read(model: MotionReader, views: int = VIEWS) -> MotionReading:
    with torch.no_grad():
        found: MotionReading = model(
            make_latents(1, views), make_cameras(1, views), torch.zeros(1, 7)
        )
    return found


def test_a_tip_in_the_middle_of_a_cell_lies_on_that_cells_ray() -> None:
    """Told one cell for certain and no offset, the tip projects into that cell's middle."""
    model, cameras = make_reader(), make_cameras(1, VIEWS)
    _, width = CONFIG.latent_size
    row, column = 1, width - 2
    with torch.no_grad():
        for parameter in (*model.tip.parameters(), *model.place.parameters()):
            parameter.zero_()

        def certain(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
            places = torch.full_like(output, -1e4)
            places[:, :, row, column] = 0.0
            return places

        model.place.register_forward_hook(certain)
        found = read(model)
    # The first view's own tip, in its own picture.
    u, v, depth = (of[:, 0, :, 0] for of in projected(found.seen_m[:, 0, :, None], cameras))
    _, down, across = CONFIG.transformer.patch
    torch.testing.assert_close(u, torch.full_like(u, (column + 0.5) / across - 0.5))
    torch.testing.assert_close(v, torch.full_like(v, (row + 0.5) / down - 0.5))
    torch.testing.assert_close(depth, torch.full_like(depth, 0.7))


def test_any_number_of_views_is_read_and_their_order_does_not_matter() -> None:
    model = make_reader()
    assert read(model, 1).z.shape == (1, CONFIG.trajectory.tokens, CONFIG.trajectory.channels)
    grid, cameras = make_latents(1, VIEWS), make_cameras(1, VIEWS)
    height = CONFIG.latent_size[0]
    turned = torch.cat([grid[..., height:, :], grid[..., :height, :]], dim=3)
    order = [*range(1, VIEWS), 0]
    joints = torch.zeros(1, 7)
    first = Watched(model, grid, cameras, joints).read()
    second = Watched(model, turned, cameras.map(lambda x: x[:, order]), joints).read()
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_a_rig_that_is_moved_whole_moves_its_tips_with_it() -> None:
    """Where a tip is seen depends on the pixels alone, where it is on the cameras too. The blocks
    are told where the cameras are, so that they are silenced here."""
    model, cameras, joints = make_reader(), make_cameras(1, VIEWS), torch.zeros(1, 7)
    by = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
    with torch.no_grad():
        model.embed.weight[:, -RAY:] = 0.0
        was = model(make_latents(1, VIEWS), cameras, joints)
        moved = cameras.base_from_camera.clone()
        moved[..., :3, 3] += by
        there = replace(cameras, base_from_camera=moved)
        found = model(make_latents(1, VIEWS), there, joints)
    torch.testing.assert_close(found.tips_m, was.tips_m + by.float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.places, was.places)


def test_half_precision_around_it_does_not_reach_a_reading() -> None:
    watched = Watched(make_reader(), make_latents(1, 2), make_cameras(1, 2), torch.zeros(1, 7))
    plain = watched.read()
    with torch.autocast("cpu", torch.bfloat16):
        again = watched.read()
    assert torch.equal(plain, again)


def test_it_is_saved_and_loaded_whole_or_refused(tmp_path: Path) -> None:
    model = make_reader()
    save_reader(model, tmp_path)
    loaded = load_reader(tmp_path, CONFIG)
    torch.testing.assert_close(read(loaded).z, read(model).z, rtol=0, atol=5e-3)
    longer = replace(CONFIG, trajectory=replace(CONFIG.trajectory, channels=8))
    with pytest.raises(WeightsError, match="does not fit"):
        load_reader(tmp_path, longer)
    stored, description = (tmp_path / name for name in READER.names)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256"):
        load_reader(tmp_path, CONFIG)
    description.write_text("[]", encoding="utf-8")
    with pytest.raises(WeightsError, match="not a motion reader's"):
        load_reader(tmp_path, CONFIG)
    stored.unlink()
    with pytest.raises(WeightsError, match="mvista train reader"):
        load_reader(tmp_path, CONFIG)


@pytest.fixture(scope="module")
def reading_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a reader."""
    folder = write_checkpoint(tmp_path_factory.mktemp("reading") / "checkpoint")
    save_reader(make_reader(), folder)
    weights.write_manifest(folder, [*weights.listed(folder), *READER.names])
    return folder


def test_a_planner_plans_by_its_reader_unless_the_generators_head_is_asked_for(
    reading_checkpoint: Path, tmp_path: Path
) -> None:
    """And without a reader by the generator's, to the bit."""
    without = write_checkpoint(tmp_path / "without")
    found = []
    for folder, head in (
        (reading_checkpoint, None),
        (reading_checkpoint, "reader"),
        (reading_checkpoint, "generator"),
        (without, None),
    ):
        choices = MethodChoices(action_head=head)
        planner = load_planner(folder, RIG, ARM, ManualClock(7), choices=choices)
        observation = make_observation("touch the red cube")
        rollout = planner.imagine(observation, "cam1", ["cam2"], 3, lambda *_: True)
        plan = planner.infer_actions(rollout.rollout_id, "head", 0, lambda *_: True)
        found.append(plan.prior.positions)
        assert (planner.held_bytes.get("reader", 0) > 0) == (folder == reading_checkpoint)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_what_is_read_is_every_view_that_was_imagined(reading_checkpoint: Path) -> None:
    """All cameras: the generator explains as many as it was trained on, the reader looks at all."""
    planner = load_planner(reading_checkpoint, RIG, ARM, ManualClock(7))
    observation = make_observation("touch the red cube")
    others = [name for name in RIG.names if name != "cam1"]
    plans = []
    for asked in (others[:1], others):
        rollout = planner.imagine(observation, "cam1", asked, 3, lambda *_: True)
        held = planner._find(rollout.rollout_id)
        watched = held.watched_by(make_reader())
        assert watched is not None and watched.cameras.views == len(asked) + 1
        plans.append(planner.infer_actions(rollout.rollout_id, "head", 0, lambda *_: True))
    assert not np.array_equal(plans[0].prior.positions, plans[1].prior.positions)


def test_a_head_that_nobody_has_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match="action_head 'eye' is none of"):
        load_checkpoint(folder, choices=MethodChoices(action_head="eye"))


def test_a_checkpoint_in_parts_keeps_its_reader(reading_checkpoint: Path, tmp_path: Path) -> None:
    convert(reading_checkpoint, tmp_path / "parts")
    ours, theirs = (load_checkpoint(f).reader for f in (reading_checkpoint, tmp_path / "parts"))
    assert ours is not None and theirs is not None
    assert torch.equal(read(ours).z, read(theirs).z)
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert set(READER.names) <= names & set(weights.listed(tmp_path / "parts"))


@pytest.mark.parametrize("sizes", [(0, 1, 1, 1), (16, 1, 1, 3), (12, 1, 1, 2)])
def test_sizes_that_cannot_be_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="sizes of the reader"):
        ReaderConfig(*sizes)


def test_tips_at_the_pictures_are_the_arms() -> None:
    """Against the numpy kinematics, at the actions that are due with the pictures."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-0.5, 0.5, size=(2, CONFIG.trajectory.action_count, 7))
    found = tips_at_pictures(torch.from_numpy(actions), ARM, CONFIG)
    times_s, due_s = CONFIG.episode.frame_times_s[1:], CONFIG.episode.action_times_s
    due = [min(int(np.argmin(np.abs(due_s - t))), len(due_s) - 1) for t in times_s]
    for one, tips in zip(actions, found.numpy(), strict=True):
        np.testing.assert_allclose(tips, ARM.tip_positions(one[due]), atol=1e-6)


SHORT = ReaderTraining(
    steps=7, batch=3, imagined=2, imagined_batch=2, solver_steps=1, tried=1, state_every=4
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRequest:
    return trained_in(tmp_path_factory.mktemp("reader"))


def train(asked: TrainingRequest, out: Path, training: ReaderTraining) -> MotionReader:
    compute = choose()
    sources = load_sources(asked, compute, grounded=False)
    networks = trained_networks(asked, compute)
    networks.decode_with(sources.trajectory, sources.arm)
    networks.requires_grad_(False).eval()
    return reader.train_reader(networks, sources, out, training, compute)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_an_unbroken_ones_weights(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    whole = train(trained, tmp_path / "whole", SHORT)

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "evaluate", stop)
        with pytest.raises(Stop):
            train(trained, tmp_path / "broken", SHORT)
    again = train(trained, tmp_path / "broken", SHORT)
    for (name, one), other in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_command_trains_packs_and_plans_with_it(trained: TrainingRequest) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ReaderTraining", lambda: SHORT)
        recipes.run("reader", replace(trained, steps=2))
    recipes.run("pack", trained)
    assert set(READER.names) <= set(weights.listed(trained.checkpoint))
    loaded = load_reader(trained.checkpoint, CONFIG)
    assert torch.isfinite(read(loaded).z).all()
    # Packed again without one, the folder keeps none that no manifest lists.
    for name in READER.names:
        (trained.out / "reader" / name).unlink()
    recipes.run("pack", trained)
    assert load_checkpoint(trained.checkpoint).reader is None


@pytest.mark.slow
def test_without_a_generator_it_says_what_is_missing(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    for name in ("codec", "trajectory"):
        (tmp_path / f"{name}.safetensors").write_bytes(
            (trained.out / f"{name}.safetensors").read_bytes()
        )
    (tmp_path / "tokenizer.json").write_bytes((trained.out / "tokenizer.json").read_bytes())
    with pytest.raises(ConfigError, match="no trained generator"):
        recipes.run("reader", replace(trained, out=tmp_path, steps=2))


@pytest.mark.slow
def test_it_learns_what_a_few_films_show(trained: TrainingRequest) -> None:
    """Of one batch, seen again and again, z's error falls to a part of what it was."""
    sources = load_sources(trained, choose(), grounded=False)
    drawing = reader._drawing(SHORT)
    batch = draw_batch("many", sources, CONFIG, replace(drawing, many_batch=4), 0)
    model = make_reader().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    errors = []
    for _ in range(150):
        reading = model(batch.x0, batch.cameras, batch.joints)
        loss = reader.losses(reading, batch, sources.trajectory, ARM, CONFIG, SHORT)
        optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        errors.append(float(loss.shown["z"].detach()))
    assert errors[-1] < 0.3 * errors[0]
