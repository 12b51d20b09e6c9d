"""The retoucher: untrained it changes nothing, and what has not moved it takes over as it was seen;
what is explained, judged and planned does not hang on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core import weights
from mvista_core.errors import ConfigError, WeightsError
from mvista_core.geometry import back_project, transform_points
from mvista_core.imaging import ModelWindow
from mvista_core.records import Rollout
from mvista_core.timing import ManualClock
from mvista_world.arm_pictures import ROD_M, draw_arm
from mvista_world.arm_points import dh_rows, link_ends
from mvista_world.assemble import convert
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.config import DepthConfig
from mvista_world.depth_codec import decode_depth
from mvista_world.model_facts import read_facts
from mvista_world.motion_reader import READER, MotionReader, ReaderConfig, save_reader
from mvista_world.pictures import UnreadRollout
from mvista_world.planner import WorldModelPlanner, load_planner
from mvista_world.probe import load_probe
from mvista_world.refine import REFINER, RefineConfig, ResidualRefiner, save_refiner
from mvista_world.reprojection import PosedLens, Reprojection
from mvista_world.retouch import (
    RETOUCHER,
    Known,
    RetouchConfig,
    Retoucher,
    Seen,
    ground_of,
    load_retoucher,
    save_retoucher,
    seen_film,
)
from mvista_world.training import recipes, retouch
from mvista_world.training.request import TrainingRequest
from mvista_world.training.retouch import Future, RetouchTraining, evaluate, train_retoucher
from tests.world.test_training import trained_in
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    awake,
    make_observation,
    write_checkpoint,
)

DEPTH = DepthConfig(0.3, 2.0)
SMALL = RetouchConfig((8, 16))
CAMERA = RIG.cameras[0]
LENS = PosedLens(CONFIG.window.intrinsics(CAMERA.intrinsics), CAMERA.base_from_camera)
FRAMES, HEIGHT, WIDTH = 5, 32, 48


def go_on(stage: str, fraction: float) -> bool:
    return True


def make_seen(seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    color = rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    depth_m = rng.uniform(0.2, 2.2, (FRAMES, HEIGHT, WIDTH)).astype(np.float32)
    drawn = Reprojection(color[0][::-1].copy(), depth_m[0][::-1].copy(), depth_m[0] > 1.0)
    arm = draw_arm(make_poses(FRAMES, seed), ARM, LENS)
    return seen_film(color, depth_m, Known(drawn, arm, LENS), DEPTH)


def make_poses(count: int, seed: int = 0) -> np.ndarray:
    """Joint positions [T, J] of an arm that reaches out."""
    reached = ARM.home + np.array([0.2, 1.0, 0.6, 0.1, 0.4, -0.3, 0.0])
    away = np.random.default_rng(seed).uniform(-0.2, 0.2, (count, len(ARM.home)))
    return np.asarray(reached + away * np.array([1, 1, 1, 1, 1, 1, 0]))


def with_retoucher(folder: Path, model: Retoucher) -> Path:
    save_retoucher(model, folder)
    weights.write_manifest(folder, [*weights.listed(folder), *RETOUCHER.names])
    return folder


def refining(folder: Path) -> Path:
    """A checkpoint with a refiner that moves every plan."""
    write_checkpoint(folder)
    torch.manual_seed(0)
    sizes = RefineConfig(points=32, point_widths=(16,), hidden=16)
    save_refiner(awake(ResidualRefiner(sizes)), folder)
    weights.write_manifest(folder, [*weights.listed(folder), *REFINER.names])
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refining(tmp_path_factory.mktemp("plain") / "checkpoint")


@pytest.fixture(scope="module")
def retouching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, and a retoucher that changes every pixel."""
    folder = refining(tmp_path_factory.mktemp("retouching") / "checkpoint")
    torch.manual_seed(0)
    return with_retoucher(folder, awake(Retoucher(SMALL)))


def imagine(folder: Path) -> tuple[WorldModelPlanner, UnreadRollout]:
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    observation = make_observation("touch the red cube")
    rollout = planner.imagine(observation, "cam1", ["cam2", "cam0"], 3, go_on)
    assert isinstance(rollout, UnreadRollout)
    return planner, rollout


def test_untrained_it_changes_nothing(plain: Path, tmp_path: Path) -> None:
    seen = make_seen()
    assert torch.equal(Retoucher(RetouchConfig())(seen), seen.imagined)
    _, decoded = imagine(plain)
    untrained = with_retoucher(write_checkpoint(tmp_path / "checkpoint"), Retoucher(SMALL))
    _, shown = imagine(untrained)
    np.testing.assert_array_equal(shown.color, decoded.color)
    np.testing.assert_allclose(shown.depth_m, decoded.depth_m, rtol=1e-5)


def test_the_ground_is_where_rays_meet_it() -> None:
    """Back-projected at the depth that is told, every pixel lies at z = 0 and at the x, y told."""
    code, *places = ground_of(LENS, DEPTH).numpy()
    depth_m = decode_depth(torch.from_numpy(code)[..., None], DEPTH).numpy()
    points = back_project(depth_m, LENS.intrinsics.matrix)
    base = transform_points(LENS.base_from_camera, points.reshape(-1, 3)).reshape(*code.shape, 3)
    there = code > -0.9
    assert there.mean() > 0.5
    np.testing.assert_allclose(base[there][:, 2], 0.0, atol=1e-4)
    np.testing.assert_allclose(base[there][:, :2], np.stack(places, axis=-1)[there], atol=1e-4)
    up = LENS.base_from_camera.copy()
    up[:3, :3] = up[:3, :3] @ np.diag([1.0, -1.0, -1.0])
    code, *places = ground_of(PosedLens(LENS.intrinsics, up), DEPTH).numpy()
    assert (code == -1.0).all() and not np.any(places), "looking up, no ray meets it"


def test_an_arm_is_drawn_where_its_links_are() -> None:
    """Back-projected, every pixel of it lies on a rod round the line through its links, and at the
    place along them that is told; where no camera looks at it, it is not drawn."""
    poses = make_poses(4)
    drawn = draw_arm(poses, ARM, LENS)
    flange = torch.tensor(ARM.flange_from_tip_m)
    ends = link_ends(torch.from_numpy(poses), dh_rows(ARM), flange).numpy()
    np.testing.assert_allclose(ends[:, -1], ARM.tip_positions(poses), atol=1e-6)
    share = np.linspace(0.0, 1.0, 100)[:, None]
    for at, (depth_m, along) in enumerate(zip(drawn.depth_m, drawn.along, strict=True)):
        there = depth_m > 0
        assert 0.01 < there.mean() < 0.5
        points = back_project(depth_m, LENS.intrinsics.matrix)[there]
        points = transform_points(LENS.base_from_camera, points)
        pairs = zip(ends[at], ends[at, 1:], strict=False)
        line = np.concatenate([a + share * (b - a) for a, b in pairs])
        away = np.linalg.norm(points[:, None] - line, axis=-1)
        # Seen aslant, the outline of a ball is a little more than its section.
        np.testing.assert_allclose(away.min(axis=1), ROD_M, atol=0.3 * ROD_M)
        near_tip = np.linalg.norm(points - line[-1], axis=-1) < ROD_M
        if near_tip.any():
            assert along[there][near_tip].min() > 0.8
    turned = PosedLens(LENS.intrinsics, LENS.base_from_camera @ np.diag([-1.0, 1.0, -1.0, 1.0]))
    assert not draw_arm(poses, ARM, turned).depth_m.any(), "it is behind the camera"


@pytest.mark.parametrize("reads", [True, False])
def test_the_arm_is_drawn_by_the_motion_that_a_plan_reads(reads: bool, tmp_path: Path) -> None:
    """And as it was measured where there is no reader."""
    folder = write_checkpoint(tmp_path)
    if reads:
        torch.manual_seed(0)
        save_reader(awake(MotionReader(CONFIG, ReaderConfig(16, 1, 1, 2))), folder)
        weights.write_manifest(folder, [*weights.listed(folder), *READER.names])
    planner = load_probe(folder, RIG, ARM, ManualClock(7))
    observation = make_observation("touch the red cube")
    held = planner.imagine(observation, "cam1", ["cam2", "cam0"], 3, go_on).rollout_id
    read = planner.infer_actions(held, "head", 0, go_on).prior.positions
    start = observation.joints.ordered(CONFIG.joint_names)
    later = read[CONFIG.episode.pictured_actions] if reads else [start] * (CONFIG.frame_count - 1)
    poses = np.stack([start, *later])
    for view, known in enumerate(planner.known(held)):
        wanted = draw_arm(poses, ARM, known.lens)
        assert wanted.depth_m.any()
        np.testing.assert_allclose(known.arm.depth_m, wanted.depth_m, atol=1e-5, err_msg=str(view))


def test_a_picture_is_retouched_by_itself() -> None:
    """Whatever other views and times there are, and whoever reads which map first."""
    model, one, other = awake(Retoucher(SMALL)).eval(), make_seen(0), make_seen(1)
    with torch.no_grad():
        alone = model(one)
        names = vars(one)
        both = Seen(**{n: torch.cat([getattr(one, n), getattr(other, n)]) for n in names})
        torch.testing.assert_close(model(both)[:1], alone, rtol=0, atol=1e-5)
        late = replace(one, **{n: getattr(one, n)[:, 3:] for n in ("imagined", "times", "arm")})
        torch.testing.assert_close(model(late), alone[:, 3:], rtol=0, atol=1e-5)


def test_what_is_planned_and_judged_is_what_was_imagined(plain: Path, retouching: Path) -> None:
    """To the bit, and with a refiner: a retoucher is for people."""
    found = []
    for folder in (plain, retouching):
        planner, rollout = imagine(folder)
        plan = planner.infer_actions(rollout.rollout_id, "head", 2, go_on)
        assert not np.array_equal(plan.refined.positions, plan.prior.positions)
        doubts = planner.judge(rollout.rollout_id, plan, go_on)
        found.append((plan.refined.positions, [d.value for d in doubts], rollout, planner))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    decoded, shown = found[0][2], found[1][2]
    assert (shown.color != decoded.color).mean() > 0.5
    assert found[1][3].held_bytes["retoucher"] > 0 == found[0][3].held_bytes.get("retoucher", 0)


def test_nobody_pays_for_pictures_that_nobody_looks_at(retouching: Path) -> None:
    planner, rollout = imagine(retouching)
    plan = planner.infer_actions(rollout.rollout_id, "head", 0, go_on)
    planner.judge(rollout.rollout_id, plan, go_on)
    assert rollout.pictures.decoded == 0
    depth_m = rollout.pictures.depth_m(1)
    assert rollout.pictures.decoded == 1
    _, other = imagine(retouching)
    np.testing.assert_array_equal(other.view_color(1), rollout.view_color(1))
    np.testing.assert_array_equal(other.depth_m[1], depth_m)


def test_it_is_saved_and_loaded_whole_or_refused(tmp_path: Path) -> None:
    model, seen = awake(Retoucher(SMALL)).eval(), make_seen()
    save_retoucher(model, tmp_path)
    loaded = load_retoucher(tmp_path, CONFIG.window)
    with torch.no_grad():
        torch.testing.assert_close(loaded(seen), model(seen), rtol=0, atol=5e-3)
    with pytest.raises(WeightsError, match="window is 46x32; the retoucher takes sides that 4"):
        load_retoucher(tmp_path, ModelWindow(46, 32, 2))
    stored, description = (tmp_path / name for name in RETOUCHER.names)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256"):
        load_retoucher(tmp_path, CONFIG.window)
    description.write_text('{"sha256": "", "config": {"widths": [7]}}', encoding="utf-8")
    with pytest.raises(WeightsError, match="not a retoucher's.*multiples of 8"):
        load_retoucher(tmp_path, CONFIG.window)
    stored.unlink()
    with pytest.raises(WeightsError, match="mvista train retouch"):
        load_retoucher(tmp_path, CONFIG.window)


def test_a_checkpoint_in_parts_keeps_its_retoucher(retouching: Path, tmp_path: Path) -> None:
    convert(retouching, tmp_path / "parts")
    assert load_checkpoint(tmp_path / "parts").retoucher is not None
    assert set(RETOUCHER.names) <= set(weights.listed(tmp_path / "parts"))


def test_what_a_model_holds_counts_it(plain: Path, retouching: Path) -> None:
    before, after = read_facts(plain), read_facts(retouching)
    own = sum(parameter.numel() for parameter in Retoucher(SMALL).parameters())
    assert after.parameters - before.parameters == own
    assert [part.name for part in after.parts if part not in before.parts] == ["retouch"]


def still_scene(seed: int, folder: Path) -> Path:
    """Imagined as noise round grey, filmed as it was seen: its left half by the source."""
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, 256, (1, 8, 12, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    near = rng.integers(400, 1500, (1, 8, 12), dtype=np.uint16).repeat(4, axis=1).repeat(4, axis=2)
    covered = np.zeros((1, HEIGHT, WIDTH), bool)
    covered[..., : WIDTH // 2] = True
    shape, lens = (1, FRAMES, HEIGHT, WIDTH), LENS.intrinsics
    future = Future(
        np.stack([rng.integers(100, 156, (*shape, 3), dtype=np.uint8), _filmed(seen)]),
        np.stack([rng.integers(700, 900, shape, dtype=np.uint16), _filmed(near)]),
        np.where(covered[..., None], seen, 0).astype(np.uint8),
        np.where(covered, near, 0).astype(np.uint16),
        covered,
        np.zeros(shape, np.uint16),
        np.zeros(shape, np.uint8),
        np.array([[lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px]]),
        LENS.base_from_camera[None],
    )
    folder.mkdir(parents=True, exist_ok=True)
    future.save(folder / f"{seed}.npz")
    return folder / f"{seed}.npz"


def _filmed(first: np.ndarray) -> np.ndarray:
    return np.repeat(first[:, None], FRAMES, axis=1)


@pytest.mark.slow
def test_what_has_not_moved_is_taken_over_as_it_was_seen(tmp_path: Path) -> None:
    """On scenes that no step saw: in the half that the source shows, and there alone."""
    choose(threads=1)
    futures = [still_scene(seed, tmp_path / "futures") for seed in range(24)]
    short = RetouchTraining(steps=100, batch=6, pictures=1, learning_rate=5e-3)
    model = train_retoucher(futures[:20], [], tmp_path, DEPTH, short, choose())
    errors = []
    for path in futures[20:]:
        seen, truth = retouch._film(Future.load(path), 0, DEPTH)
        with torch.no_grad():
            films = (model(seen), seen.imagined)
        columns = [(film - truth).abs().mean(dim=(0, 1, 2, 3)) for film in films]
        halves = [column.unflatten(0, (2, WIDTH // 2)).mean(dim=1) for column in columns]
        errors.append(torch.stack(halves))
    (shown, hidden), (shown_before, hidden_before) = torch.stack(errors).mean(dim=0).tolist()
    assert shown < 0.35 * shown_before
    assert 0.6 * hidden_before < hidden < 1.1 * hidden_before
    told = evaluate(model, futures[20:], DEPTH, choose())
    assert told["retouched_psnr"] > told["decoded_psnr"] + 1.0
    assert told["retouched_abs_rel"] < told["decoded_abs_rel"]


SHORT = RetouchTraining(steps=5, batch=2, per_set=3, tried=1, state_every=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRequest:
    asked = trained_in(tmp_path_factory.mktemp("retouch"))
    recipes.run("pack", asked)
    return asked


@pytest.mark.slow
def test_the_command_imagines_trains_and_packs(trained: TrainingRequest) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retouch, "RetouchTraining", lambda: SHORT)
        recipes.run("retouch", trained)
        folder = trained.out / "retouch"
        kept = {p: p.stat().st_mtime_ns for p in (folder / "futures").glob("*/*.npz")}
        assert len(kept) == SHORT.per_set + SHORT.tried
        whole = load_retoucher(folder, CONFIG.window).state_dict()
        # From a state two steps before the end, without imagining anything again.
        (folder / RETOUCHER.weights).unlink()
        recipes.run("retouch", trained)
        assert {p: p.stat().st_mtime_ns for p in kept} == kept
    again = load_retoucher(folder, CONFIG.window).state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=1e-3, msg=name)
    one = Future.load(next(iter(kept)))
    assert one.color.shape == (2, 3, CONFIG.frame_count, 32, 48, 3)
    recipes.run("pack", trained)
    assert set(RETOUCHER.names) <= set(weights.listed(trained.checkpoint))
    assert load_checkpoint(trained.checkpoint).retoucher is not None


@pytest.mark.slow
def test_what_it_cannot_be_trained_on_is_refused(trained: TrainingRequest) -> None:
    wider = replace(CONFIG, window=ModelWindow(64, 32, 2))
    with pytest.raises(ConfigError, match="give --preset as the checkpoint's"):
        recipes.run("retouch", replace(trained, config=wider))
    with pytest.raises(WeightsError, match="no checkpoint at"):
        recipes.run("retouch", replace(trained, checkpoint=trained.out / "none"))


def test_sizes_that_cannot_be_are_refused() -> None:
    for widths in ((), (12,), (8, 0)):
        with pytest.raises(ConfigError, match="widths of the retoucher"):
            RetouchConfig(widths)


def test_a_rollout_goes_to_others_as_it_is_shown(retouching: Path) -> None:
    _, rollout = imagine(retouching)
    kind, values = rollout.__reduce__()
    assert kind is Rollout
    np.testing.assert_array_equal(kind(*values).color, rollout.color)
