"""Where what the source shows lies: measured points in the base frame, told to their tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvista_core.geometry import back_project, exp_so3, pose_from, transform_points
from mvista_world.cameras import window_cameras
from mvista_world.config import SourcePointsConfig, SourceRenderConfig
from mvista_world.config_limits import SUBCELLS
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.shown import beside, cell_depths, on_grid
from mvista_world.source_points import FARTHEST, UNIT_M, SourcePoints
from mvista_world.views import TokenGrid, ViewCameras
from tests.world.tiny import CONFIG, RIG, awake, make_conditions, make_latents, source_mask

TOLD = replace(CONFIG, source_render=SourceRenderConfig(8), source_points=SourcePointsConfig(8))
GRID = TokenGrid(3, 2, CONFIG.latent_frames, *CONFIG.token_grid)
WINDOW = CONFIG.window
PART_PX = CONFIG.codec.spatial_stride // SUBCELLS


def rig() -> tuple[np.ndarray, np.ndarray]:
    return window_cameras(RIG.cameras[:3], WINDOW)


def shown_of(depth_m: np.ndarray) -> torch.Tensor:
    """What a source shows whose views have these depths [V, H, W]."""
    depths = torch.from_numpy(cell_depths(depth_m, CONFIG.latent_size))
    latents = torch.zeros(len(depth_m), 2, CONFIG.codec.latent_channels, *CONFIG.latent_size)
    whole = torch.ones(len(depth_m), *CONFIG.latent_size)
    return on_grid(beside(latents, whole, depths)[None])


def slopes() -> np.ndarray:
    """Depths [3, H, W] that rise evenly across each image."""
    column = np.arange(WINDOW.width_px, dtype=np.float32)
    row = np.arange(WINDOW.height_px, dtype=np.float32)[:, None]
    return np.stack([0.6 + 0.001 * k * column + 0.002 * row for k in range(3)])


def points_of(depth_m: np.ndarray, cameras: ViewCameras) -> torch.Tensor:
    module = SourcePoints(TOLD, SourcePointsConfig(8))
    return module.points(shown_of(depth_m)[:, -(SUBCELLS**2) :, 0], cameras, GRID)


def test_a_point_is_where_the_camera_measured_it() -> None:
    """Against the back projection of every pixel, over the pixels of a part."""
    poses, lenses = rig()
    depth_m = slopes()
    told = points_of(depth_m, ViewCameras.of(poses[None], lenses[None], CONFIG))[0]
    height, width = WINDOW.height_px // PART_PX, WINDOW.width_px // PART_PX
    assert told.shape == (4, 3 * height, 2 * width) and told[3].eq(1).all()
    for view, (pose, k) in enumerate(zip(poses, lenses, strict=True)):
        seen = transform_points(pose, back_project(depth_m[view], k))
        parts = seen.reshape(height, PART_PX, width, PART_PX, 3).mean(axis=(1, 3))
        own = told[:3, view * height : (view + 1) * height].movedim(0, -1).numpy() * UNIT_M
        for modality in range(2):
            found = own[:, modality * width : (modality + 1) * width]
            # The depth varies within a part: what is told is the middle's ray at the middle depth.
            np.testing.assert_allclose(found, parts, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_points_move_with_the_base(seed: int) -> None:
    """They are of the frame that the cameras' poses are of, and of nothing else."""
    rng = np.random.default_rng(seed)
    moved = pose_from(exp_so3(rng.normal(0, 0.5, 3)), rng.normal(0, 0.2, 3))
    poses, lenses = rig()
    here, there = (
        points_of(slopes(), ViewCameras.of(p[None], lenses[None], CONFIG))[0, :3]
        for p in (poses, moved @ poses)
    )
    wanted = transform_points(moved, here.movedim(0, -1).numpy().astype(np.float64) * UNIT_M)
    np.testing.assert_allclose(there.movedim(0, -1).numpy() * UNIT_M, wanted, atol=1e-6)


def test_what_is_not_measured_is_no_point_and_what_is_far_is_bounded() -> None:
    poses, lenses = rig()
    depth_m = slopes()
    depth_m[:2, :PART_PX, :PART_PX] = 0.0
    # One pixel of a part is enough, and the others do not count as zeros.
    depth_m[1, 1, 2] = 0.7
    depth_m[2, :PART_PX, :PART_PX] = 50.0
    told = points_of(depth_m, ViewCameras.of(poses[None], lenses[None], CONFIG))[0]
    height = WINDOW.height_px // PART_PX
    assert told[:, 0, 0].eq(0).all() and told[3, 0, 1] == 1 and told[3, height, 0] == 1
    assert cell_depths(depth_m, CONFIG.latent_size)[1, 0, 0, 0] == np.float32(0.7)
    assert told[:3, 2 * height, 0].abs().max() == FARTHEST


def test_quarters_lie_in_their_cell_row_by_row() -> None:
    depth_m = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    wanted = [[[1, 3], [9, 11]], [[2, 4], [10, 12]], [[5, 7], [13, 15]], [[6, 8], [14, 16]]]
    np.testing.assert_array_equal(cell_depths(depth_m, (2, 2)), wanted)
    shuffled = torch.pixel_shuffle(torch.from_numpy(cell_depths(depth_m, (2, 2))), SUBCELLS)
    np.testing.assert_array_equal(shuffled[0], depth_m)


def conditions(poses: np.ndarray, lenses: np.ndarray) -> Conditions:
    cameras = ViewCameras.of(poses[None], lenses[None], CONFIG)
    return replace(make_conditions(1, 3), cameras=cameras, shown=shown_of(slopes()))


def test_the_generator_knows_where_the_base_stands_and_how_long_a_lens_is() -> None:
    """Eq. 7 tells neither: to a generator without points the two worlds are one."""
    torch.manual_seed(0)
    alone = replace(TOLD, cross_view=None)
    knowing, blind = (
        awake(MultiViewGenerator(config).eval().requires_grad_(False))
        for config in (alone, replace(alone, source_points=None))
    )
    poses, lenses = rig()
    away = pose_from(np.eye(3), np.array([0.05, -0.03, 0.0])) @ poses
    longer = lenses.copy()
    longer[:, :2, :2] *= 1.1
    here = conditions(poses, lenses)
    for there in (conditions(away, lenses), conditions(poses, longer)):
        told, untold = (
            [
                generator(make_latents(1, 3), torch.tensor([0.6]), source_mask(3), asked).hidden
                for asked in (here, there)
            ]
            for generator in (knowing, blind)
        )
        assert (told[0] - told[1]).abs().max() > 1e-3
        torch.testing.assert_close(*untold, atol=1e-5, rtol=0)


def test_weights_that_lack_points_go_on_as_they_were() -> None:
    torch.manual_seed(0)
    before = awake(MultiViewGenerator(replace(TOLD, source_points=None)).eval())
    after = MultiViewGenerator(TOLD).eval()
    after.start_from(before.state_dict())
    asked = make_latents(1, 3), torch.tensor([0.4]), source_mask(3), conditions(*rig())
    with torch.no_grad():
        torch.testing.assert_close(after(*asked).velocity, before(*asked).velocity)


def test_a_place_is_told_to_its_tokens_at_all_times() -> None:
    module = awake(SourcePoints(TOLD, SourcePointsConfig(8)))
    poses, lenses = rig()
    cameras = ViewCameras.of(poses[None], lenses[None], CONFIG)
    depth_m, other = slopes(), slopes()
    # The last token of the second view, of both maps.
    other[1, -PART_PX:, -PART_PX:] += 0.1
    tokens = torch.zeros(1, GRID.frames * 3 * GRID.rows * 2 * GRID.columns, TOLD.inner_dim)
    with torch.no_grad():
        a, b = (module(tokens, shown_of(x), cameras, GRID) for x in (depth_m, other))
    maps = GRID.maps((a != b).any(dim=-1, keepdim=True))[0, ..., 0]
    assert maps[:, :, 1, -1, -1].all() and maps.sum() == 2 * GRID.frames


def test_a_part_that_shows_two_surfaces_is_told_one_of_them() -> None:
    """Their mean is a place where nothing is."""
    depth_m = np.zeros((16, 16), np.float32)
    depth_m[:8, :8] = 0.5
    depth_m[:2, :8] = 0.9
    depth_m[0, 0] = 0.0
    quarters = cell_depths(depth_m, (1, 1))[:, 0, 0]
    np.testing.assert_array_equal(quarters, np.array([0.5, 0.0, 0.0, 0.0], np.float32))
    depth_m[:8, :8] = np.where(np.arange(8) < 4, 0.5, 0.9)
    assert cell_depths(depth_m, (1, 1))[0, 0, 0] == np.float32(0.5), "of two, the nearer"
    cells = cell_depths(np.arange(1.0, 65.0).reshape(8, 8), (2, 2))
    assert cells.shape == (4, 2, 2) and cells[:, 0, 1].tolist() == [6.0, 8.0, 22.0, 24.0]
