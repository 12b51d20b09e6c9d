"""Laws of fusion: what a pixel saw is where its point lies."""

from __future__ import annotations

from time import process_time
from timeit import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.errors import ConfigError, ObservationError
from mvista_core.geometry import back_project, invert, look_at, project, transform_points
from mvista_core.records import Intrinsics, Rollout
from mvista_world.fusion import FusionConfig, PointCloud, fuse, voxel_down_sample

EVERYWHERE = FusionConfig((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))


def make_rollout(
    seed: int = 0, views: int = 2, frames: int = 3, height: int = 12, width: int = 16
) -> Rollout:
    """Random depths (a tenth invalid) and colours seen from an arc around the table."""
    rng = np.random.default_rng(seed)
    intrinsics = Intrinsics(width, height, width * 0.97, width * 0.97, width / 2 - 0.3, height / 2)
    yaws = rng.uniform(-1.0, 1.0, views)
    eyes = np.stack([0.35 - 0.5 * np.cos(yaws), 0.5 * np.sin(yaws), np.full(views, 0.5)], axis=1)
    depth_m = rng.uniform(0.4, 1.0, (views, frames, height, width)).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.1] = 0.0
    return Rollout(
        "r",
        "touch the red cube",
        tuple(f"cam{v}" for v in range(views)),
        (intrinsics,) * views,
        np.stack([look_at(eye, np.array([0.35, 0.0, 0.03])) for eye in eyes]),
        rng.integers(0, 256, (views, frames, height, width, 3), dtype=np.uint8),
        depth_m,
        np.linspace(0.0, 0.8 * (frames - 1), frames),
        seed,
        0,
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_point_projects_back_to_its_pixel_and_keeps_its_colour(seed: int) -> None:
    rollout = make_rollout(seed)
    for t, cloud in enumerate(fuse(rollout, EVERYWHERE)):
        start = 0
        for v in range(2):
            rows, columns = np.nonzero(rollout.depth_m[v, t])
            part = slice(start, start + len(rows))
            start += len(rows)
            camera = transform_points(invert(rollout.base_from_camera[v]), cloud.points_m[part])
            pixels = project(camera, rollout.intrinsics[v].matrix)
            np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-3)
            np.testing.assert_allclose(
                camera[:, 2], rollout.depth_m[v, t][rows, columns], atol=1e-5
            )
            np.testing.assert_array_equal(cloud.color[part], rollout.color[v, t][rows, columns])
        assert start == len(cloud)


def test_agrees_with_core_back_projection() -> None:
    rollout = make_rollout(3, views=1, frames=1)
    camera = back_project(rollout.depth_m[0, 0], rollout.intrinsics[0].matrix)
    expected = transform_points(rollout.base_from_camera[0], camera)[rollout.depth_m[0, 0] > 0]
    np.testing.assert_allclose(fuse(rollout, EVERYWHERE)[0].points_m, expected, atol=1e-6)


def test_views_of_one_plane_fuse_to_one_plane() -> None:
    rollout = make_rollout(1, views=3, frames=1, height=24, width=32)
    depth_m = np.empty_like(rollout.depth_m)
    for v, pose in enumerate(rollout.base_from_camera):
        rays = back_project(np.ones((24, 32)), rollout.intrinsics[v].matrix) @ pose[:3, :3].T
        depth_m[v, 0] = np.where(rays[..., 2] < -0.1, -pose[2, 3] / rays[..., 2], 0.0)
    seen = Rollout(**{**rollout.__dict__, "depth_m": depth_m})
    cloud = fuse(seen, FusionConfig())[0]
    assert len(cloud) > 500
    assert np.abs(cloud.points_m[:, 2]).max() < 1e-5


def test_crops_to_the_box() -> None:
    rollout = make_rollout(2)
    box = FusionConfig((0.2, -0.1, 0.0), (0.5, 0.1, 0.2))
    everything = fuse(rollout, EVERYWHERE)[0]
    inside = np.all((everything.points_m >= box.lower_m) & (everything.points_m <= box.upper_m), 1)
    np.testing.assert_array_equal(fuse(rollout, box)[0].points_m, everything.points_m[inside])


def test_voxels_hold_the_mean_of_their_points() -> None:
    points_m = np.array([[0.01, 0.01, 0.01], [0.03, 0.03, 0.03], [-0.01, 0.0, 0.0]], np.float32)
    color = np.array([[0, 0, 0], [100, 200, 50], [7, 8, 9]], np.uint8)
    down = voxel_down_sample(PointCloud(points_m, color), 0.05)
    np.testing.assert_allclose(down.points_m, [[-0.01, 0.0, 0.0], [0.02, 0.02, 0.02]], atol=1e-7)
    np.testing.assert_array_equal(down.color, [[7, 8, 9], [50, 100, 25]])
    again = voxel_down_sample(down, 0.05)
    np.testing.assert_allclose(again.points_m, down.points_m, atol=1e-7)


def test_voxel_edge_is_used_by_fuse_and_empty_clouds_pass() -> None:
    rollout = make_rollout(4)
    coarse = fuse(rollout, FusionConfig(EVERYWHERE.lower_m, EVERYWHERE.upper_m, 0.1))
    assert all(len(c) < len(f) for c, f in zip(coarse, fuse(rollout, EVERYWHERE), strict=True))
    nowhere = FusionConfig((5.0, 5.0, 5.0), (6.0, 6.0, 6.0), 0.1)
    assert [len(cloud) for cloud in fuse(rollout, nowhere)] == [0, 0, 0]


def test_refuses_what_does_not_fit() -> None:
    rollout = make_rollout()
    with pytest.raises(ObservationError, match="wanted"):
        fuse(Rollout(**{**rollout.__dict__, "color": rollout.color[:, :2]}), EVERYWHERE)
    with pytest.raises(ObservationError, match="one of each per view"):
        fuse(Rollout(**{**rollout.__dict__, "intrinsics": rollout.intrinsics[:1]}), EVERYWHERE)
    skewed = rollout.base_from_camera * 1.1
    with pytest.raises(ObservationError, match="not rigid"):
        fuse(Rollout(**{**rollout.__dict__, "base_from_camera": skewed}), EVERYWHERE)
    with pytest.raises(ConfigError, match="empty"):
        FusionConfig((0.0, 0.0, 0.0), (1.0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="voxel_m"):
        FusionConfig(voxel_m=-0.1)


def test_a_whole_rollout_is_fast() -> None:
    rollout = make_rollout(views=3, frames=9, height=64, width=96)
    # 20 ms of processor time on an idle core; the bound leaves room for a slower one.
    seconds = repeat(lambda: fuse(rollout, EVERYWHERE), timer=process_time, number=1, repeat=8)
    assert min(seconds) < 0.06
