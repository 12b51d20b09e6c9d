"""Where the arm is in every view, before the motion and as the trajectory latent will have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, transform_points
from mvista_core.timing import ManualClock
from mvista_world.arm_points import MIDDLE_M, PER_LINK, UNIT_M, ArmDrawing, link_ends, projected
from mvista_world.assemble import convert
from mvista_world.cameras import window_cameras
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.config import ArmPointsConfig, ModelConfig, TransformerConfig
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.planner import load_planner
from mvista_world.presets import preset
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.training import batches
from mvista_world.training.curriculum import TRAINING
from mvista_world.training.generator import Networks, train_generator
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import TokenGrid, ViewCameras
from tests.world.test_training_batches import latent_set
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    TEMPLATES,
    awake,
    make_conditions,
    make_latents,
    make_observation,
    noting,
    smooth_actions,
    source_mask,
    write_checkpoint,
)

TOLD = replace(CONFIG, arm_points=ArmPointsConfig(8))
GRID = TokenGrid(3, 2, CONFIG.latent_frames, *CONFIG.token_grid)
LINKS = len(ARM.dh)
TIP = PER_LINK * (LINKS + 1) - 1


def longer_arm() -> ArmModel:
    rows = [replace(row, a_m=row.a_m + 0.01) for row in ARM.dh]
    return replace(ARM, dh=tuple(rows))


def poses(count: int, seed: int = 0) -> np.ndarray:
    """Joint positions [count, J] anywhere near home."""
    drawn = ARM.home + np.random.default_rng(seed).normal(0.0, 0.3, (count, len(ARM.home)))
    return np.asarray(np.clip(drawn, ARM.lower, ARM.upper))


def vae() -> TrajectoryVae:
    torch.manual_seed(0)
    made = awake(TrajectoryVae(CONFIG.trajectory, len(CONFIG.joint_names))).eval()
    made.mean.copy_(torch.from_numpy(ARM.home))
    made.std.fill_(0.2)
    return made.requires_grad_(False)


def module() -> ArmDrawing:
    made = awake(ArmDrawing(TOLD, ArmPointsConfig(8))).eval().requires_grad_(False)
    made.know(ARM, vae())
    return made


def cameras() -> ViewCameras:
    placed, lenses = window_cameras(RIG.cameras[:3], CONFIG.window)
    return ViewCameras.of(placed[None], lenses[None], CONFIG)


def told_joints() -> torch.Tensor:
    return torch.from_numpy(poses(1).astype(np.float32))


def test_the_chain_is_the_arms() -> None:
    turned = poses(40)
    made = module()
    ends = link_ends(torch.from_numpy(turned), made.dh, made.flange_from_tip_m)
    np.testing.assert_allclose(ends[:, -1], ARM.tip_positions(turned), atol=1e-9)
    for pose, own in zip(turned, ends.numpy(), strict=True):
        np.testing.assert_allclose(own[-2], ARM.base_from_flange(pose)[:3, 3], atol=1e-9)
    # A link is rigid: how far its ends are apart depends on no joint.
    lengths = (ends[:, 1:] - ends[:, :-1]).norm(dim=-1)
    assert (lengths.amax(0) - lengths.amin(0)).max() < 1e-9


def test_points_show_where_a_camera_would_see_them() -> None:
    made, seen_by = module(), cameras()
    points = made.points(torch.from_numpy(poses(5))[None])
    found = projected(points.float(), seen_by)
    placed, lenses = window_cameras(RIG.cameras[:3], CONFIG.window)
    cell_px = CONFIG.codec.spatial_stride * CONFIG.transformer.patch[1]
    for view, (pose, k) in enumerate(zip(placed, lenses, strict=True)):
        seen = transform_points(invert(pose), points[0].numpy())
        pixels = seen @ k.T
        wanted = (pixels[..., :2] / pixels[..., 2:] + 0.5) / cell_px - 0.5
        for axis in range(2):
            np.testing.assert_allclose(found[axis][0, view], wanted[..., axis], atol=1e-3)
        np.testing.assert_allclose(found[2][0, view], seen[..., 2], atol=1e-5)


def test_the_tip_is_drawn_in_the_cell_that_shows_it_as_deep_as_it_is() -> None:
    made, seen_by, many = module(), cameras(), 6
    times = CONFIG.frame_count
    turned = torch.from_numpy(poses(many * times).astype(np.float32)).unflatten(0, (many, -1))
    seen_by = seen_by.expand(many)
    down, across = CONFIG.transformer.patch[1:]
    stride, points = CONFIG.codec.temporal_stride, TIP + 1 + len(ARM.home) - LINKS
    drawn = made.drawn(turned, seen_by, GRID)
    drawn = drawn.unflatten(-1, (stride, down, across, points, 3))
    u, v, depth = projected(made.points(turned), seen_by)
    inside = 0
    for sample, view, time in np.ndindex(many, 3, times):
        row, column = (float(x[sample, view, time, TIP]) + 0.5 for x in (v, u))
        if not (0 < row < GRID.rows and 0 < column < GRID.columns):
            continue
        inside += 1
        frame, k = (0, stride - 1) if time == 0 else divmod(time - 1 + stride, stride)
        own = drawn[sample, frame, view, :, :, k, :, :, TIP].movedim(2, 1)
        own = own.flatten(2, 3).flatten(0, 1)
        near = own[..., 0]
        brightest = divmod(int(near.argmax()), near.shape[1])
        assert brightest == (int(row * down), int(column * across))
        told = own[..., 1].flatten()[near.argmax()] / near.max()
        wanted = (float(depth[sample, view, time, TIP]) - MIDDLE_M) / UNIT_M
        assert told.item() == pytest.approx(wanted, abs=1e-4)
    assert inside >= 10


def test_behind_a_camera_nothing_is_drawn_and_how_far_the_gripper_is_open_is() -> None:
    made, seen_by = module(), cameras()
    away = seen_by.base_from_camera.clone()
    away[..., :3, :3] = away[..., :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0])).double()
    turned = torch.from_numpy(poses(1).astype(np.float32))[None]
    grid = replace(GRID, frames=1)
    assert made.drawn(turned, replace(seen_by, base_from_camera=away), grid).eq(0).all()
    opened = turned.clone()
    opened[..., LINKS:] += 0.1
    here, there = (made.drawn(x, seen_by, grid) for x in (turned, opened))
    changed = (here != there).unflatten(-1, (-1, TIP + 2, 3)).flatten(0, -3).any(dim=0)
    assert changed[:-1].logical_not().all() and changed[-1].all()


def test_the_first_frame_is_told_by_the_joints_and_the_others_by_the_latent() -> None:
    made, seen_by = module(), cameras()
    z = CONFIG.trajectory
    null = torch.zeros(z.tokens, z.channels)
    tokens = torch.zeros(1, GRID.frames * 3 * GRID.rows * 2 * GRID.columns, TOLD.inner_dim)
    style, joints = torch.randn(1, z.tokens, z.channels), told_joints()

    def maps(style: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
        return GRID.maps(made(tokens, style, null, joints, seen_by, GRID))

    plain = maps(style, joints)
    moved = (maps(style, joints + 0.1) != plain).flatten(3).any(dim=-1)[0]
    assert moved[:, 0].all() and not moved[:, 1:].any()
    restyled = (maps(style + 0.3, joints) != plain).flatten(3).any(dim=-1)[0]
    assert restyled[:, 1:].all() and not restyled[:, 0].any()
    # What is told nothing shows the same at all later times, wherever the cameras stand.
    silent = maps(null[None], joints)[0, :, 1:].flatten(1, -2)
    assert silent.std(dim=1).max() < 1e-6


def test_what_is_descended_runs_back_through_the_points() -> None:
    made, seen_by = module(), cameras()
    z = CONFIG.trajectory
    null = torch.zeros(z.tokens, z.channels)
    tokens = torch.zeros(1, GRID.frames * 3 * GRID.rows * 2 * GRID.columns, TOLD.inner_dim)
    torch.manual_seed(1)
    style, along = torch.randn(2, 1, z.tokens, z.channels)
    weight = torch.randn(tokens.shape)

    def value(style: torch.Tensor) -> torch.Tensor:
        return (made(tokens, style, null, told_joints(), seen_by, GRID) * weight).double().sum()

    style.requires_grad_(True)
    slope = (torch.autograd.grad(value(style), style)[0] * along).sum()
    with torch.no_grad():
        step = 1e-2
        wanted = (value(style + step * along) - value(style - step * along)) / (2 * step)
    assert slope.item() == pytest.approx(wanted.item(), rel=0.02) and abs(wanted) > 1e-2


def conditions(joints: torch.Tensor | None) -> Conditions:
    return replace(make_conditions(1, 3), cameras=cameras(), joints=joints)


def test_weights_that_lack_it_go_on_as_they_were() -> None:
    torch.manual_seed(0)
    before = awake(MultiViewGenerator(CONFIG).eval())
    after = MultiViewGenerator(TOLD).eval()
    after.start_from(before.state_dict())
    assert after.arm_points is not None
    after.arm_points.know(ARM, vae())
    asked = make_latents(1, 3), torch.tensor([0.4]), source_mask(3)
    with torch.no_grad():
        torch.testing.assert_close(
            after(*asked, conditions(told_joints())).velocity,
            before(*asked, conditions(None)).velocity,
        )
        with pytest.raises(ConfigError, match="Conditions.joints"):
            after(*asked, conditions(None))


def test_what_cannot_be_is_refused() -> None:
    for own in (ArmPointsConfig(0), ArmPointsConfig(links=8), ArmPointsConfig(near_cells=3.0)):
        with pytest.raises(ConfigError, match="near_cells"):
            replace(CONFIG, arm_points=own)
    patched = TransformerConfig(2, 2, 16, 48, 32, patch=(3, 2, 2))
    with pytest.raises(ConfigError, match="patch"):
        ModelConfig("joined", arm_points=ArmPointsConfig(), transformer=patched)
    with pytest.raises(ConfigError, match="6 links, the model is of 4"):
        ArmDrawing(TOLD, ArmPointsConfig(8, links=4)).know(ARM, vae())
    whole = preset("tiny_views")
    assert whole.arm_points is not None and preset("tiny_views", ["arm_points"]).arm_points is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("arm"), TOLD)


def test_a_plan_is_made_for_the_arm_of_the_weights_alone(folder: Path) -> None:
    with pytest.raises(ConfigError, match="other kinematics"):
        load_planner(folder, RIG, longer_arm(), ManualClock(7))
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    quiet = noting([])
    seen = make_observation("touch the red cube")
    plans = []
    for turned in (ARM.home, ARM.home + 0.2):
        joints = replace(seen.joints, positions=np.clip(turned, ARM.lower, ARM.upper))
        rollout = planner.imagine(replace(seen, joints=joints), "cam1", ["cam2"], 0, quiet)
        plans.append((rollout, planner.infer_actions(rollout.rollout_id, "head", 2, quiet)))
    assert not np.array_equal(plans[0][0].color, plans[1][0].color), "it is told where the arm is"
    assert all(np.isfinite(plan.losses).all() and len(plan.losses) == 2 for _, plan in plans)


def test_in_parts_and_as_shipped_the_arm_stays_exact(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "parts")
    shipped = Path(__file__).parents[2] / "models/checkpoints/tiny_views"
    for where in (folder, tmp_path / "parts", shipped):
        found = load_checkpoint(where).generator.arm_points
        assert found is not None and found.dh.dtype == torch.float64
        found.require(ARM)


@pytest.mark.slow
def test_training_learns_for_the_arm_it_was_given(tmp_path: Path) -> None:
    actions = smooth_actions(np.random.default_rng(0), (6, 1))
    sources = batches.make_sources([latent_set(6, actions)], None, vae(), ARM)
    text = InstructionEncoder(TOLD.text, build_tokenizer(TEMPLATES))
    networks = Networks(MultiViewGenerator(TOLD), text)
    training = replace(
        TRAINING["tiny"],
        steps=2,
        many_batch=2,
        ground_until=0,
        one_until=0,
        extras=TRAINING["tiny"].extras.without(["grounding"]),
    )
    train_generator(networks, sources, tmp_path, training, False, choose())
    found = load_file(tmp_path / "generator.safetensors")
    assert found["arm_points.to_out.weight"].abs().max() > 0
    for key, value in vae().decoder.state_dict().items():
        assert torch.equal(found[f"arm_points.decoder.{key}"], value), "frozen"
    shipped = MultiViewGenerator(TOLD)
    shipped.load_state_dict(found)
    assert shipped.arm_points is not None
    shipped.arm_points.require(ARM)
