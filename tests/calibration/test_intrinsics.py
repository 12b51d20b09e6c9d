"""Lenses: exact views give the exact lens, alike views are refused, scaling keeps half pixels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_calibration.records import Board, BoardView
from mvista_calibration.solve.intrinsics import (
    calibrate_intrinsics,
    scale_intrinsics,
    view_residuals_px,
)
from mvista_core.errors import CalibrationError
from mvista_core.geometry import exp_so3, project
from mvista_core.records import Float64, Intrinsics

BOARD = Board(9, 7, 0.03, 0.022)
LENS = Intrinsics(
    1920, 1080, 1140.0, 1142.0, 955.0, 546.0, (0.3, -0.2, 0.0005, -0.0003, 0.02, 0.2, -0.15, 0.01)
)
PLAIN = replace(LENS, distortion=(0.1, -0.15, 0.0005, -0.0003, 0.02))


def look(
    lens: Intrinsics, shot: int, turn: Float64, middle_m: Float64, noise_px: float, seed: int
) -> BoardView:
    """The board's corners that fall into the image."""
    centred = BOARD.corners_m - np.array([*BOARD.size_m, 0.0]) / 2.0
    projected, _ = cv2.projectPoints(
        centred, cv2.Rodrigues(exp_so3(turn))[0], middle_m, lens.matrix, np.array(lens.distortion)
    )
    pixels = projected.reshape(-1, 2)
    pixels = pixels + np.random.default_rng(seed).normal(0.0, noise_px, pixels.shape)
    inside = (pixels >= 0).all(1) & (pixels <= (lens.width_px - 1, lens.height_px - 1)).all(1)
    return BoardView("cam0", shot, np.where(inside)[0], pixels[inside])


def varied(lens: Intrinsics, count: int, noise_px: float, seed: int = 0) -> list[BoardView]:
    rng = np.random.default_rng(seed)
    views = []
    for shot in range(count):
        turn = np.array([*rng.uniform(-0.7, 0.7, 2), rng.uniform(-1.5, 1.5)])
        depth = rng.uniform(0.3, 0.6)
        middle = np.array([*(rng.uniform(-0.5, 0.5, 2) * depth * np.array([1.2, 0.6])), depth])
        views.append(look(lens, shot, turn, middle, noise_px, seed * 100 + shot))
    return views


@pytest.mark.parametrize(("lens", "rational"), [(LENS, True), (PLAIN, False)])
def test_exact_views_give_the_lens(lens: Intrinsics, rational: bool) -> None:
    views = varied(lens, 20, 0.0)
    result = calibrate_intrinsics(views, BOARD, (1920, 1080), rational)
    found = result.intrinsics
    assert result.rms_px < 0.01 and result.rejected == () and result.warnings == ()
    np.testing.assert_allclose(found.matrix, lens.matrix, atol=0.2)
    assert len(found.distortion) == (8 if rational else 5)
    for view in views:
        assert np.abs(view_residuals_px(view, BOARD, found)).max() < 0.05


def test_sigma_is_honest() -> None:
    """The true focal length lies within 2.5 sigma, and sigma is not idle."""
    errors = []
    for seed in range(6):
        result = calibrate_intrinsics(varied(PLAIN, 14, 0.3, seed), BOARD, (1920, 1080), False)
        errors.append((result.intrinsics.fx_px - PLAIN.fx_px) / result.sigma_px[0])
        assert result.rms_px == pytest.approx(0.3 * np.sqrt(2), rel=0.12)
        assert 1.0 < result.held_out_ratio < 1.2
    assert np.abs(errors).max() < 2.5
    assert np.abs(errors).max() > 0.2


def test_alike_views_are_refused_though_their_rms_is_small() -> None:
    views = [
        look(PLAIN, shot, np.array([0.02 * shot, 0.0, 0.0]), np.array([0, 0, 0.5]), 0.3, shot)
        for shot in range(6)
    ]
    with pytest.raises(CalibrationError, match=r"cam0: fx is .* sigma of .*%, at most 0.3%"):
        calibrate_intrinsics(views, BOARD, (1920, 1080))


def test_a_moved_view_is_left_out_and_named() -> None:
    views = varied(PLAIN, 12, 0.2)
    pixels = views[4].corners_px.copy()
    pixels[:, 0] += np.linspace(-1.0, 1.0, len(pixels)) ** 2 * 8.0
    views[4] = replace(views[4], corners_px=np.clip(pixels, 0, 1919))
    result = calibrate_intrinsics(views, BOARD, (1920, 1080), rational=False)
    assert [shot for shot, _ in result.rejected] == [4]
    assert "px RMS, at most 1.0" in result.rejected[0][1]
    assert 4 not in result.shots and len(result.per_view_rms_px) == 11
    assert abs(result.intrinsics.fx_px - PLAIN.fx_px) < 3.0


def test_too_few_views_are_refused_with_what_was_left_out() -> None:
    views = varied(PLAIN, 6, 0.2)
    copied = replace(views[0], shot=9)
    short = replace(
        views[1], corner_ids=views[1].corner_ids[:5], corners_px=views[1].corners_px[:5]
    )
    with pytest.raises(
        CalibrationError,
        match=r"5 usable views of 7, at least 6 .*shot 1: 5 corners.*shot 9: the same corners",
    ):
        calibrate_intrinsics([views[0], short, *views[2:], copied], BOARD, (1920, 1080))


def test_views_must_be_of_one_camera_and_this_size() -> None:
    views = varied(PLAIN, 6, 0.2)
    with pytest.raises(CalibrationError, match=r"\['cam0', 'cam1'\]"):
        calibrate_intrinsics([*views, replace(views[0], camera="cam1")], BOARD, (1920, 1080))
    with pytest.raises(CalibrationError, match=r"outside a 640x360 image.*another resolution"):
        calibrate_intrinsics(views, BOARD, (640, 360))


@given(
    factor=st.sampled_from([1 / 3, 0.5, 2.0]),
    point=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.floats(0.5, 2.0)),
)
@settings(max_examples=20, deadline=None)
def test_scaling_keeps_the_half_pixel(factor: float, point: tuple[float, float, float]) -> None:
    """A point at the edge of the first pixel, -0.5, stays there; all others scale about it."""
    lens = Intrinsics(3840, 2160, 2244.0, 2245.0, 1925.3, 1071.9, (0.1,))
    size = (round(3840 * factor), round(2160 * factor))
    scaled = scale_intrinsics(lens, size)
    at, where = (project(np.array([point]), one.matrix)[0, :2] for one in (lens, scaled))
    np.testing.assert_allclose(where + 0.5, (at + 0.5) * factor, atol=1e-6)
    assert scaled.distortion == lens.distortion


def test_cropped_modes_cannot_be_scaled() -> None:
    with pytest.raises(CalibrationError, match="640x576 is no scaled 1920x1080 image"):
        scale_intrinsics(LENS, (640, 576))
