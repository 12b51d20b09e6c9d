"""Which shots are taken, which refused and why, and what a person is told to show next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvista_calibration.records import Board, BoardView, SessionCamera, WorkspaceBox
from mvista_calibration.session.guide import (
    CollectGuide,
    CollectLimits,
    DepthMean,
    corner_motion_px,
)
from mvista_core.errors import CalibrationError
from mvista_core.geometry import pose_from
from mvista_core.records import Float64
from tests.calibration.drawing import LENS, corners_px

BOARD = Board(7, 5, 0.03, 0.022)
CAMERAS = tuple(SessionCamera(name, LENS, LENS) for name in ("cam0", "cam1"))
WORKSPACE = WorkspaceBox((0.0, -0.3, 0.0), (0.6, 0.3, 0.3))
LIMITS = CollectLimits(shots=4, views_per_camera=3, shared_views=2)
RIGHT = pose_from(np.eye(3), np.array([-0.05, 0.0, 0.0]))
"""The second camera stands 5 cm to the right of the first."""


def placed(x_m: float = 0.0, y_m: float = 0.0, z_m: float = 0.8, turn_deg: float = 20.0) -> Float64:
    turn = Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()
    return pose_from(turn, np.array([x_m - 0.1, y_m - 0.07, z_m]))


def seen(camera: str, pose: Float64, seed: int | None = None, blur_px: float = 1.0) -> BoardView:
    moved = RIGHT @ pose if camera == "cam1" else pose
    pixels = corners_px(BOARD, LENS, moved)
    if seed is not None:
        pixels = pixels + np.random.default_rng(seed).normal(0.0, 0.15, pixels.shape)
    return BoardView(camera, -1, np.arange(BOARD.corner_count), pixels, blur_px)


def both(pose: Float64, seed: int | None = None) -> list[BoardView]:
    return [seen("cam0", pose, seed), seen("cam1", pose, None if seed is None else seed + 1)]


@pytest.fixture
def guide() -> CollectGuide:
    return CollectGuide(BOARD, CAMERAS, WORKSPACE, LIMITS)


def test_a_still_sharp_new_board_is_taken_though_detection_is_noisy(guide: CollectGuide) -> None:
    for seed in range(10):
        assert guide.judge(both(placed(), seed), both(placed(), seed + 50)).accept


def test_nothing_seen_blur_motion_and_few_corners_are_refused(guide: CollectGuide) -> None:
    assert "no camera" in guide.judge([]).why
    blurred = guide.judge([seen("cam0", placed(), blur_px=9.0)])
    assert not blurred.accept and "cam0: blurred" in blurred.why and "9.0 px" in blurred.why
    moving = guide.judge(both(placed(0.002)), both(placed()))
    assert not moving.accept and "moved by" in moving.why
    view = seen("cam0", placed())
    few = guide.judge([replace(view, corner_ids=np.arange(11), corners_px=view.corners_px[:11])])
    assert not few.accept and "11 of 24 corners; at least 12 are needed" in few.why


def test_the_same_place_is_refused_and_a_move_or_a_turn_is_not(guide: CollectGuide) -> None:
    guide.take(both(placed()))
    again = guide.judge(both(placed(), 3))
    assert not again.accept and "earlier shot" in again.why
    assert guide.judge(both(placed(0.1))).accept
    assert guide.judge(both(placed(turn_deg=32.0))).accept


def test_a_camera_without_shared_views_is_named_first(guide: CollectGuide) -> None:
    for x_m in (-0.2, 0.0, 0.2):
        guide.take([seen("cam0", placed(x_m))])
    coverage = guide.coverage()
    assert coverage.unlinked == ("cam1",) and not coverage.enough
    assert coverage.advice.startswith("show the board to cam1 and cam0 at once: 0 of 2")
    assert coverage.views == {"cam0": 3, "cam1": 0} and coverage.image["cam1"] == 0.0


def test_coverage_only_grows_and_ends_in_enough(guide: CollectGuide) -> None:
    before = guide.coverage()
    for x_m, y_m, z_m, turn in (
        (-0.3, -0.15, 0.7, 30), (0.3, -0.15, 0.9, -30), (-0.3, 0.15, 1.0, 10),
        (0.3, 0.15, 0.7, -10), (0.0, 0.0, 0.8, 25), (0.0, -0.15, 0.9, -20), (0.0, 0.15, 0.7, 0),
    ):  # fmt: skip
        guide.take(both(placed(x_m, y_m, z_m, turn)))
        after = guide.coverage()
        assert all(after.image[name] >= before.image[name] for name in after.image)
        assert after.turn_rad >= before.turn_rad and after.shots == before.shots + 1
        before = after
    assert before.enough and before.advice.startswith("enough"), before.missing


def test_boards_in_one_corner_are_asked_to_spread_and_tilt(guide: CollectGuide) -> None:
    for x_m in (0.0, 0.03, 0.06, 0.09):
        guide.take(both(placed(x_m)))
    missing = " ".join(guide.coverage().missing)
    assert "workspace" in missing and "tilt the board" in missing
    assert "of its image" in missing and guide.coverage().unlinked == ()


def test_motion_of_views_without_common_corners_is_unknown() -> None:
    view = seen("cam0", placed())
    one = replace(view, corner_ids=view.corner_ids[:4], corners_px=view.corners_px[:4])
    other = replace(view, corner_ids=view.corner_ids[4:], corners_px=view.corners_px[4:])
    assert corner_motion_px(one, other) is None
    assert corner_motion_px(view, view) == pytest.approx(0.0, abs=1e-9)


def test_depth_is_averaged_over_valid_frames_and_flicker_left_out() -> None:
    mean = DepthMean()
    for depth in ([1.0, 2.0, 0.0], [1.2, 0.0, 0.0], [1.1, 0.0, 3.0], [1.1, 2.2, 0.0]):
        mean.add(np.array([depth], dtype=np.float32))
    np.testing.assert_allclose(mean.mean(), [[1.1, 2.1, 0.0]], rtol=1e-6)
    with pytest.raises(CalibrationError, match="changed its size"):
        mean.add(np.zeros((2, 3), dtype=np.float32))


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 3 shots"):
        CollectLimits(shots=1)
    with pytest.raises(CalibrationError, match="of 12 corners"):
        CollectLimits(least_corners=11)
