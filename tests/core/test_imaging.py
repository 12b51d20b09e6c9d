"""The window the model sees: its pixels, its depth and its intrinsics tell the same story."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mvista_core.errors import ObservationError
from mvista_core.geometry import back_project, project
from mvista_core.imaging import ModelWindow, reduce_color, reduce_depth
from mvista_core.records import CameraFrame, Float32, Intrinsics, UInt8

CAMERA = Intrinsics(320, 180, 187.0, 187.0, 158.5, 93.0)
WINDOW = ModelWindow(96, 64, reduce=2)
COLORS = arrays(np.uint8, (6, 9, 3))
DEPTHS = arrays(
    np.float32, (6, 9), elements=st.one_of(st.just(0.0), st.floats(0.25, 4.0, width=32))
)


@given(COLORS)
def test_reducing_by_one_changes_nothing(color: UInt8) -> None:
    np.testing.assert_array_equal(reduce_color(color, 1), color)


@given(COLORS)
def test_reduced_colour_is_within_its_block_and_keeps_the_mean(color: UInt8) -> None:
    blocks = color.reshape(2, 3, 3, 3, 3)
    small = reduce_color(color, 3)
    assert (small >= blocks.min(axis=(1, 3))).all()
    assert (small <= blocks.max(axis=(1, 3))).all()
    np.testing.assert_allclose(small, blocks.mean(axis=(1, 3)), atol=0.51)


@given(DEPTHS)
def test_reduced_depth_is_one_of_its_blocks_valid_depths(depth_m: Float32) -> None:
    small = reduce_depth(depth_m, 3)
    for row, column in np.ndindex(2, 3):
        block = depth_m[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        valid = np.sort(block[block > 0])
        expected = valid[(len(valid) - 1) // 2] if len(valid) else 0.0
        assert small[row, column] == expected


@given(DEPTHS, st.sampled_from([0.5, 2.0]))
def test_reducing_depth_commutes_with_scaling(depth_m: Float32, factor: float) -> None:
    scale = np.float32(factor)
    np.testing.assert_array_equal(
        reduce_depth(depth_m * scale, 3), reduce_depth(depth_m, 3) * scale
    )


def test_an_edge_is_never_smeared_into_a_surface_that_is_not_there() -> None:
    depth_m = np.full((4, 4), 0.5, dtype=np.float32)
    depth_m[:, 1:] = 2.0
    assert set(np.unique(reduce_depth(depth_m, 2))) <= {np.float32(0.5), np.float32(2.0)}


def test_a_windows_intrinsics_see_the_same_plane() -> None:
    small = WINDOW.intrinsics(CAMERA)
    assert (small.width_px, small.height_px) == (96, 64)
    left, top = WINDOW.origin(CAMERA)
    corners = np.array([[0.0, 0.0], [95.0, 0.0], [0.0, 63.0], [95.0, 63.0]])
    # The centre of a reduced pixel is the centre of its 2x2 block in the source image.
    source = corners * 2 + 0.5 + [left, top]
    rays = back_project(np.ones((64, 96)), small.matrix)[
        corners[:, 1].astype(int), corners[:, 0].astype(int)
    ]
    np.testing.assert_allclose(project(rays, CAMERA.matrix), source, atol=1e-9)


def test_the_window_of_a_frame_keeps_stamp_and_name() -> None:
    frame = CameraFrame(
        np.zeros((180, 320, 3), np.uint8), np.ones((180, 320), np.float32), CAMERA, 42, "cam1"
    )
    small = WINDOW.frame(frame)
    assert small.color.shape == (64, 96, 3)
    assert (small.stamp_ns, small.camera) == (42, "cam1")
    assert small.depth_m.min() == small.depth_m.max() == 1.0


def test_an_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ObservationError, match="160x90 is smaller than .* 192x128"):
        WINDOW.origin(CAMERA.scaled(0.5))


PADDED = ModelWindow(320, 192, reduce=1, padded=True)
"""Wan2.2's step of 32 pixels around a camera of 180 rows."""


def test_padding_keeps_every_pixel_and_its_ray() -> None:
    rng = np.random.default_rng(0)
    frame = CameraFrame(
        rng.integers(1, 256, (180, 320, 3), dtype=np.uint8),
        rng.uniform(0.3, 2.0, (180, 320)).astype(np.float32),
        CAMERA,
        42,
        "cam1",
    )
    padded = PADDED.frame(frame)
    area = PADDED.image_area(CAMERA)
    assert area == (slice(6, 186), slice(0, 320))
    np.testing.assert_array_equal(padded.color[area], frame.color)
    np.testing.assert_array_equal(padded.depth_m[area], frame.depth_m)
    around = np.ones((192, 320), bool)
    around[area] = False
    assert around.sum() == 12 * 320
    assert not padded.color[around].any() and not padded.depth_m[around].any()
    # Intrinsics follow: what a camera sees lies in the same place before it.
    points = back_project(padded.depth_m, padded.intrinsics.matrix)[area]
    np.testing.assert_allclose(points, back_project(frame.depth_m, CAMERA.matrix), atol=1e-6)
    assert (padded.intrinsics.width_px, padded.intrinsics.height_px) == (320, 192)
    # No surface stands where there is no image, whatever is imagined there.
    imagined = np.ones((3, 192, 320), np.float32)
    kept = PADDED.without_padding(imagined, CAMERA)
    assert (kept[:, around] == 0).all() and (kept[(..., *area)] == 1).all()


def test_a_padded_window_reduces_a_large_image_to_the_same_place() -> None:
    """1280x720 reduced by four lies in 320x192 as 320x180 does."""
    large = CAMERA.scaled(4.0)
    window = ModelWindow(320, 192, reduce=4, padded=True)
    assert window.image_area(large) == PADDED.image_area(CAMERA)
    found, wanted = window.intrinsics(large), PADDED.intrinsics(CAMERA)
    np.testing.assert_allclose(found.matrix, wanted.matrix, atol=1e-9)


@pytest.mark.parametrize("size", [(320, 181), (640, 360), (320, 160), (160, 90)])
def test_an_image_that_a_padded_window_is_not_for_is_refused(size: tuple[int, int]) -> None:
    """Parts of a pixel, an image that would be cropped, one that would be a stamp in black."""
    lens = Intrinsics(*size, 187.0, 187.0, size[0] / 2, size[1] / 2)
    with pytest.raises(ObservationError, match=r"does not fit .* padded window 320x192.* 2 px"):
        PADDED.intrinsics(lens)
