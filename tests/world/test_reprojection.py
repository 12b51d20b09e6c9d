"""Laws of reprojection and of the cross-view error, on scenes that are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.records import Intrinsics, Rollout
from mvista_world.reprojection import (
    AGREEING_WITHIN_M,
    HIDDEN_BEYOND_M,
    PosedLens,
    cross_view_error,
    depth_errors_m,
    lenses_of,
    reproject,
)

LENS = Intrinsics(48, 32, 47.0, 46.5, 23.7, 16.2)
CENTRE = np.array([0.35, 0.0, 0.0])


def lens_at(yaw_deg: float, pitch_deg: float = 50.0, distance_m: float = 0.7) -> PosedLens:
    yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(pitch_deg)
    aside = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    return PosedLens(LENS, look_at(CENTRE + distance_m * aside, CENTRE))


def rays(lens: PosedLens) -> np.ndarray:
    """Directions [H, W, 3] in the base frame per metre of depth."""
    k = lens.intrinsics
    u, v = np.meshgrid(np.arange(k.width_px), np.arange(k.height_px))
    camera = np.stack([(u - k.cx_px) / k.fx_px, (v - k.cy_px) / k.fy_px, np.ones(u.shape)], axis=-1)
    return camera @ lens.base_from_camera[:3, :3].T


def table_depth(lens: PosedLens, height_m: float = 0.0) -> np.ndarray:
    """Depth [H, W] of the plane z = height; 0 where a ray does not meet it before the camera."""
    falls = rays(lens)[..., 2]
    depth = (height_m - lens.base_from_camera[2, 3]) / np.where(falls < -1e-6, falls, -np.inf)
    return np.where(falls < -1e-6, depth, 0.0)


def painted(lens: PosedLens, depth_m: np.ndarray) -> np.ndarray:
    """Colours that are an affine function of the place on the table, float [H, W, 3]."""
    places = lens.base_from_camera[:3, 3] + rays(lens) * depth_m[..., None]
    return 128.0 + 60.0 * (places - CENTRE) @ np.array([[1, 0, 1], [0, 1, -1], [0, 0, 0]])


def filmed(lenses: list[PosedLens], depth_m: np.ndarray) -> Rollout:
    return Rollout(
        "r",
        "open the drawer",
        tuple(f"cam{k}" for k in range(len(lenses))),
        tuple(lens.intrinsics for lens in lenses),
        np.stack([lens.base_from_camera for lens in lenses]),
        np.zeros((*depth_m.shape, 3), np.uint8),
        depth_m.astype(np.float32),
        np.arange(depth_m.shape[1], dtype=np.float64) * 0.8,
        0,
        0,
    )


@given(
    yaw=st.floats(-80, 80), pitch=st.floats(30, 70), distance=st.floats(0.5, 1.1),
    moved=st.floats(-60, 60),
)  # fmt: skip
def test_a_plane_stays_that_plane_wherever_it_is_seen_from(
    yaw: float, pitch: float, distance: float, moved: float
) -> None:
    source, target = lens_at(yaw), lens_at(yaw + moved, pitch, distance)
    depth_m = table_depth(source)
    # The horizon: rays that graze the table are no picture of it.
    depth_m[depth_m > 3.0] = 0.0
    color = painted(source, depth_m)
    seen = reproject(color.clip(0, 255).round().astype(np.uint8), depth_m, source, target)
    truth_m = table_depth(target)
    assert seen.covered.mean() > 0.2
    np.testing.assert_allclose(seen.depth_m[seen.covered], truth_m[seen.covered], rtol=1e-5)
    ours = seen.color[seen.covered].astype(float)
    expected = painted(target, truth_m)[seen.covered]
    inside = ((expected > 2) & (expected < 253)).all(axis=1)
    # Half a grey level of rounding in the source and half in what is drawn.
    assert np.abs(ours - expected)[inside].max(initial=0.0) <= 1.01
    assert (seen.depth_m[~seen.covered] == 0).all() and (seen.color[~seen.covered] == 0).all()


def test_no_hole_opens_where_the_target_is_nearer_than_the_source() -> None:
    source, near = lens_at(0.0, distance_m=0.9), lens_at(5.0, distance_m=0.35)
    seen = reproject(np.zeros((32, 48, 3), np.uint8), table_depth(source), source, near)
    assert seen.covered.all()


def test_of_two_surfaces_the_nearer_one_is_seen_and_what_nobody_saw_is_not_covered() -> None:
    source, target = lens_at(-30.0), lens_at(30.0)
    low_m, high_m = table_depth(source), table_depth(source, 0.15)
    block = np.zeros(low_m.shape, bool)
    block[8:22, 16:32] = True
    depth_m = np.where(block, high_m, low_m)
    color = np.where(block[..., None], 250, 10).astype(np.uint8).repeat(3, axis=-1)
    seen = reproject(color, depth_m, source, target)
    bright = seen.covered & (seen.color[..., 0] == 250)
    np.testing.assert_allclose(seen.depth_m[bright], table_depth(target, 0.15)[bright], rtol=1e-5)
    dark = seen.covered & (seen.color[..., 0] == 10)
    np.testing.assert_allclose(seen.depth_m[dark], table_depth(target)[dark], rtol=1e-5)
    # Beside the block lies what it hid, a hole within the picture; no surface is drawn across it.
    assert bright.sum() > 80 and (bright | dark)[seen.covered].all()
    columns = seen.covered[bright.any(axis=1)]
    assert (np.diff(columns.astype(int), axis=1) == -1).any(axis=1).mean() > 0.8
    filled = seen.filled()
    assert (filled.depth_m > 0).all() and (filled.covered == seen.covered).all()
    np.testing.assert_array_equal(filled.depth_m[seen.covered], seen.depth_m[seen.covered])


def test_a_surface_seen_from_behind_or_behind_the_camera_is_not_drawn() -> None:
    source, depth_m = lens_at(0.0), table_depth(lens_at(0.0))
    color = np.full((32, 48, 3), 9, np.uint8)
    below = PosedLens(LENS, look_at(CENTRE - np.array([0.1, 0.0, 0.5]), CENTRE))
    away = source.base_from_camera @ pose_from(exp_so3(np.array([0.0, np.pi, 0.0])), np.zeros(3))
    for target in (below, PosedLens(LENS, away)):
        seen = reproject(color, depth_m, source, target)
        assert not seen.covered.any() and seen.filled() is seen


def test_images_of_another_size_are_refused() -> None:
    lens = lens_at(0.0)
    with pytest.raises(ValueError, match="the source is"):
        reproject(np.zeros((16, 48, 3), np.uint8), np.ones((16, 48)), lens, lens)


def test_views_of_one_scene_agree_and_an_offset_is_its_error() -> None:
    lenses = [lens_at(-25.0), lens_at(25.0, 40.0), lens_at(60.0)]
    truth_m = np.stack([table_depth(lens) for lens in lenses])[:, None].repeat(2, axis=1)
    truth_m[truth_m > 3.0] = 0.0
    found = cross_view_error(filmed(lenses, truth_m))
    assert found.median_m < 1e-5 and found.agreeing == 1.0 and found.seen_through == 0.0
    assert found.compared > 3000
    for offset_m in (0.003, -0.02, 0.2):
        errors = depth_errors_m(truth_m[0, 0], lenses[0], truth_m[1, 0] + offset_m, lenses[1])
        there = np.isfinite(errors)
        np.testing.assert_allclose(errors[there], -offset_m, atol=2e-3 * abs(offset_m) + 1e-6)


def test_what_another_view_hides_does_not_count_and_what_it_sees_through_does() -> None:
    lenses = [lens_at(0.0), lens_at(20.0)]
    depth_m = np.stack([table_depth(lens) for lens in lenses])[:, None]
    depth_m[depth_m > 3.0] = 0.0
    truth = filmed(lenses, depth_m)
    nearer = depth_m.copy()
    nearer[1] *= 0.7
    errors = depth_errors_m(depth_m[0, 0], lenses[0], nearer[1, 0], lenses[1])
    # The table lies far behind what the second view has: hidden from it.
    assert (errors[np.isfinite(errors)] > HIDDEN_BEYOND_M).all()
    deeper = depth_m.copy()
    deeper[1] *= 1.3
    through = cross_view_error(replace(truth, depth_m=deeper.astype(np.float32)))
    assert through.seen_through > 0.4 and through.agreeing < 0.6
    slight = depth_m.copy()
    slight[1] += 0.8 * AGREEING_WITHIN_M
    assert cross_view_error(replace(truth, depth_m=slight.astype(np.float32))).agreeing > 0.9


def test_a_rollout_of_one_view_or_without_depth_has_no_cross_view_error() -> None:
    lens = lens_at(0.0)
    alone = filmed([lens], table_depth(lens)[None, None])
    empty = filmed([lens, lens_at(30.0)], np.zeros((2, 1, 32, 48)))
    for rollout in (alone, empty):
        found = cross_view_error(rollout)
        assert found.compared == 0 and np.isnan([found.median_m, found.agreeing]).all()
    assert lenses_of(alone)[0].shape == (32, 48)
