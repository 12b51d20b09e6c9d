"""The motion reader: rays are the cameras', nothing depends on the world's frame where it must not,
what is read and what the generator reads go together by how far each is believed."""

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
from mvista_world.config_limits import ACTION_HEADS
from mvista_world.motion_reader import (
    READER_FILES,
    MotionReader,
    ReaderConfig,
    Reading,
    apart,
    load_reader,
    read_motion,
    save_reader,
    together,
)
from mvista_world.planner import load_planner
from mvista_world.training import reader, recipes
from mvista_world.training.batches import draw_batch, load_sources
from mvista_world.training.reader import ReaderTraining, tips_at_pictures
from mvista_world.training.request import TrainingRequest
from tests.world.test_training import run_codec, run_generator, run_trajectory
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_cameras,
    make_latents,
    make_observation,
    write_checkpoint,
    write_episodes,
)

SMALL = ReaderConfig(16, 1, 1, 2)
VIEWS = 3


def make_reader() -> MotionReader:
    torch.manual_seed(0)
    return MotionReader(CONFIG, SMALL).eval()


def read(model: MotionReader, views: int = VIEWS) -> Reading:
    return read_motion(model, make_latents(1, views), make_cameras(1, views), torch.zeros(1, 7))


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
    first = read_motion(model, grid, cameras, joints)
    second = read_motion(model, turned, cameras.map(lambda x: x[:, order]), joints)
    torch.testing.assert_close(first.z, second.z, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.tips_m, second.tips_m, rtol=0, atol=1e-5)


def test_half_precision_around_it_does_not_reach_a_reading() -> None:
    model = make_reader()
    plain = read(model)
    with torch.autocast("cpu", torch.bfloat16):
        again = read(model)
    assert torch.equal(plain.z, again.z)


def given(z: float, variance: float) -> Reading:
    shape = 1, CONFIG.trajectory.tokens, CONFIG.trajectory.channels
    nothing = torch.zeros(0)
    full = torch.full(shape, z), torch.full(shape, variance)
    return Reading(*full, nothing, nothing, nothing)


def test_two_readings_meet_where_their_variances_say() -> None:
    """The product of two normal distributions: nearer to the surer, and beyond neither."""
    model = make_reader()
    model.head_variance.fill_(0.03)
    seen, head = given(1.0, 0.01), torch.zeros(given(0, 1).z.shape)
    torch.testing.assert_close(together(model, seen, head), torch.full_like(head, 0.75))
    sure = given(1.0, 1e-9)
    torch.testing.assert_close(together(model, sure, head), sure.z)


def test_what_is_shown_decides_where_the_words_are_another_motions() -> None:
    model = make_reader()
    model.head_variance.fill_(0.01)
    model.disagreement.fill_(4.0)
    head = torch.zeros(given(0, 1).z.shape)
    near, far = given(0.2, 0.01), given(0.9, 0.01)
    assert apart(model, near, head) < 4.0 < apart(model, far, head)
    assert torch.allclose(together(model, near, head), torch.full_like(head, 0.1))
    assert torch.equal(together(model, far, head), far.z)


def test_it_is_saved_and_loaded_whole_or_refused(tmp_path: Path) -> None:
    model = make_reader()
    model.disagreement.fill_(7.0)
    save_reader(model, tmp_path)
    loaded = load_reader(tmp_path, CONFIG)
    torch.testing.assert_close(read(loaded).z, read(model).z, rtol=0, atol=5e-3)
    assert loaded.disagreement == 7.0
    longer = replace(CONFIG, trajectory=replace(CONFIG.trajectory, channels=8))
    with pytest.raises(WeightsError, match="does not fit"):
        load_reader(tmp_path, longer)
    stored, description = (tmp_path / name for name in READER_FILES)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256"):
        load_reader(tmp_path, CONFIG)
    description.write_text("[]", encoding="utf-8")
    with pytest.raises(WeightsError, match="no reader's|not a reader's"):
        load_reader(tmp_path, CONFIG)
    stored.unlink()
    with pytest.raises(WeightsError, match="mvista train reader"):
        load_reader(tmp_path, CONFIG)


@pytest.fixture(scope="module")
def reading_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a reader."""
    folder = write_checkpoint(tmp_path_factory.mktemp("reading") / "checkpoint")
    model = make_reader()
    model.head_variance.fill_(0.3)
    save_reader(model, folder)
    weights.write_manifest(folder, [*weights.listed(folder), *READER_FILES])
    return folder


def test_a_planner_reads_by_both_or_by_the_one_that_is_asked_for(reading_checkpoint: Path) -> None:
    """The generator alone reads what it would without a reader, the reader alone what it says of
    the held latents, and both together lie between."""
    found = {}
    for head in (None, *ACTION_HEADS):
        choices = MethodChoices(action_head=head)
        planner = load_planner(reading_checkpoint, RIG, ARM, ManualClock(7), choices=choices)
        observation = make_observation("touch the red cube")
        rollout = planner.imagine(observation, "cam1", ["cam2"], 3, lambda *_: True)
        plan = planner.infer_actions(rollout.rollout_id, "head", 0, lambda *_: True)
        found[head] = plan.prior.positions
    np.testing.assert_array_equal(found[None], found["both"])
    ends = found["generator"], found["reader"]
    apart = np.abs(ends[1] - ends[0]).max()
    assert apart > 1e-3
    assert all(np.abs(found["both"] - end).max() > 1e-4 for end in ends)
    assert planner.held_bytes["reader"] > 0


def test_a_reader_that_is_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match="no reader.safetensors"):
        load_checkpoint(folder, choices=MethodChoices(action_head="reader"))
    with pytest.raises(ConfigError, match="action_head 'eye' is none of"):
        load_checkpoint(folder, choices=MethodChoices(action_head="eye"))
    assert load_checkpoint(folder, choices=MethodChoices(action_head="both")).reader is None


def test_a_checkpoint_in_parts_keeps_its_reader(reading_checkpoint: Path, tmp_path: Path) -> None:
    convert(reading_checkpoint, tmp_path / "parts")
    ours, theirs = (load_checkpoint(f).reader for f in (reading_checkpoint, tmp_path / "parts"))
    assert ours is not None and theirs is not None
    assert torch.equal(read(ours).z, read(theirs).z)
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert set(READER_FILES) <= names & set(weights.listed(tmp_path / "parts"))


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
    root = tmp_path_factory.mktemp("reader")
    choose(threads=1)
    data = write_episodes(root / "data")
    asked = TrainingRequest(CONFIG, data, root / "out", root / "checkpoint", RIG, ARM, threads=1)
    run_codec(asked, asked.out)
    run_trajectory(asked, asked.out)
    run_generator(asked, asked.out, 0)
    return asked


def train(asked: TrainingRequest, out: Path, training: ReaderTraining) -> MotionReader:
    compute = choose()
    sources = load_sources(asked, compute, grounded=False)
    networks = reader._trained_networks(asked, compute)
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
        patch.setattr(reader, "believe", stop)
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
    assert set(READER_FILES) <= set(weights.listed(trained.checkpoint))
    loaded = load_reader(trained.checkpoint, CONFIG)
    assert torch.isfinite(loaded.head_variance).all() and loaded.disagreement > 0
    # Packed again without one, the folder keeps none that no manifest lists.
    for name in READER_FILES:
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
    for _ in range(60):
        reading = model(batch.x0, batch.cameras, batch.joints)
        loss = reader.losses(reading, batch, sources.trajectory, ARM, CONFIG, SHORT)
        optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        errors.append(float(loss.shown["z"].detach()))
    assert errors[-1] < 0.3 * errors[0]
