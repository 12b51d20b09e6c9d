"""Detection: corners where they are, patterns told apart, and a reason whenever there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mvista_calibration.board.detect import (
    as_points,
    content_hash,
    detect_board,
    explain_missing,
)
from mvista_calibration.records import Board
from mvista_core.errors import CalibrationError, NoBoardError, WrongBoardError
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import Float64, UInt8
from tests.calibration.drawing import LENS, board_picture, corners_px

pytestmark = pytest.mark.slow

ODD = Board(7, 5, 0.03, 0.022)
EVEN = Board(8, 6, 0.03, 0.022)


def facing(
    board: Board, distance_m: float = 0.45, turn: tuple[float, ...] = (0.2, -0.3, 0.1)
) -> Float64:
    """`camera_from_board` with the board's middle on the axis, turned by a rotation vector."""
    rotation = exp_so3(np.array(turn))
    middle = np.array([*board.size_m, 0.0]) / 2.0
    return pose_from(rotation, np.array([0.0, 0.0, distance_m]) - rotation @ middle)


def picture(board: Board, **options: Any) -> UInt8:
    return board_picture(board, LENS, facing(board), **options)


@given(
    tilt=st.tuples(*[st.floats(-0.5, 0.5)] * 2, st.floats(-3.1, 3.1)),
    distance_m=st.floats(0.35, 0.7),
)
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_corners_are_found_where_they_are(tilt: tuple[float, ...], distance_m: float) -> None:
    pose = facing(ODD, distance_m, tilt)
    view = detect_board(board_picture(ODD, LENS, pose), ODD, "cam0", 3, "a.png")
    truth = corners_px(ODD, LENS, pose)[view.corner_ids]
    assert len(view.corner_ids) >= 20
    assert np.sqrt(((view.corners_px - truth) ** 2).sum(1).mean()) < 0.15
    assert (view.camera, view.shot, view.source) == ("cam0", 3, "a.png")


def test_large_images_are_halved_only_to_look_for_markers() -> None:
    pose = facing(ODD)
    lens = LENS.scaled(2.0)
    view = detect_board(board_picture(ODD, lens, pose), ODD, "cam0", 0)
    truth = corners_px(ODD, lens, pose)[view.corner_ids]
    assert len(view.corner_ids) == ODD.corner_count
    assert np.sqrt(((view.corners_px - truth) ** 2).sum(1).mean()) < 0.15


def test_rgb_and_gray_give_the_same_corners() -> None:
    gray = picture(ODD)
    colour = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_array_equal(
        detect_board(gray, ODD, "a", 0).corners_px, detect_board(colour, ODD, "a", 0).corners_px
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_trap_even_rows_have_two_patterns(legacy: bool) -> None:
    """The trap: an even-rowed legacy board shows all its markers and, read as new, no corner."""
    image = picture(replace(EVEN, legacy=legacy))
    view = detect_board(image, EVEN, "cam0", 0)  # legacy None: finds out
    assert len(view.corner_ids) == EVEN.corner_count
    truth = corners_px(EVEN, LENS, facing(EVEN))[view.corner_ids]
    assert np.abs(view.corners_px - truth).max() < 0.4
    assert view.legacy is legacy
    with pytest.raises(WrongBoardError, match=r"cam0, shot 4.*legacy"):
        detect_board(image, replace(EVEN, legacy=not legacy), "cam0", 4)


def test_odd_rows_have_one_pattern() -> None:
    image = picture(replace(ODD, legacy=True))
    assert len(detect_board(image, ODD, "cam0", 0).corner_ids) == ODD.corner_count


def test_trap_arrays_of_both_opencv_majors(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 4 returns [N, 1, 2] and [N, 1], OpenCV 5 [N, 2] and [N]: the view is the same."""
    image = picture(ODD)
    expected = detect_board(image, ODD, "cam0", 0)
    real = cv2.aruco.CharucoDetector

    class Other:
        """Gives the arrays in the other major's shape."""

        def __init__(self, board: Any) -> None:
            self._detector = real(board)

        def detectBoard(self, *arguments: Any, **named: Any) -> Any:
            corners, ids, *rest = self._detector.detectBoard(*arguments, **named)
            if corners.ndim == 3:
                return corners.reshape(-1, 2), ids.reshape(-1), *rest
            return corners.reshape(-1, 1, 2), ids.reshape(-1, 1), *rest

    monkeypatch.setattr(cv2.aruco, "CharucoDetector", Other)
    view = detect_board(image, ODD, "cam0", 0)
    np.testing.assert_array_equal(view.corners_px, expected.corners_px)
    np.testing.assert_array_equal(view.corner_ids, expected.corner_ids)
    assert view.corners_px.shape == (24, 2)


def test_no_corners_are_an_empty_view() -> None:
    ids, corners = as_points(None, None)
    assert ids.shape == (0,) and corners.shape == (0, 2)


def test_trap_identical_images_are_told() -> None:
    first, second = picture(ODD), picture(ODD, seed=1)
    assert content_hash(first) == content_hash(first.copy()) != content_hash(second)
    assert content_hash(first) != content_hash(first.reshape(360, -1))


def near(**options: Any) -> UInt8:
    """A board that fills the image: blurred markers are read only when they are large."""
    return board_picture(ODD, LENS, facing(ODD, 0.24), **options)


@pytest.mark.parametrize("sigma_px", [1.0, 2.0, 3.0])
def test_blur_is_measured(sigma_px: float) -> None:
    view = detect_board(near(blur_px=sigma_px), ODD, "cam0", 0)
    width = 2.5 * np.hypot(sigma_px, 0.6)  # drawing, averaging and sampling blur by 0.6 px
    assert view.blur_px == pytest.approx(width, rel=0.15)


def test_motion_in_one_direction_counts_as_blur() -> None:
    still = near()
    moved = cv2.blur(still, (9, 1))
    assert detect_board(still, ODD, "a", 0).blur_px < 2.5
    assert detect_board(moved, ODD, "a", 0).blur_px > 6.0


def test_reasons_for_no_board() -> None:
    empty = np.full((720, 1280), 120, np.uint8)
    with pytest.raises(NoBoardError, match=r"cam2, shot 7 \(7/cam2.png\): no marker"):
        detect_board(empty, ODD, "cam2", 7, "7/cam2.png")
    covered = picture(ODD)
    covered[:, 560:] = 120
    with pytest.raises(NoBoardError, match=r"corners from \d+ markers, at least 12"):
        detect_board(covered, ODD, "cam0", 0)
    with pytest.raises(CalibrationError, match="uint8"):
        detect_board(np.zeros((4, 4)), ODD, "cam0", 0)  # type: ignore[arg-type]


def test_wrong_boards_are_named_as_such() -> None:
    large = Board(14, 9, 0.02, 0.015)
    with pytest.raises(WrongBoardError, match=r"markers up to id 62 .* ids 0 to 16"):
        detect_board(picture(large), ODD, "cam0", 0)
    with pytest.raises(WrongBoardError, match=r"% of them lie where a 14x9 board"):
        detect_board(picture(ODD), large, "cam0", 0)
    with pytest.raises(WrongBoardError, match="squares_x"):
        detect_board(picture(ODD), Board(5, 7, 0.03, 0.022), "cam0", 0)


def test_a_missing_board_is_explained() -> None:
    image = picture(ODD)
    assert "mirrored" in explain_missing(image[:, ::-1], ODD)
    assert f"17 markers of {ODD.dictionary}" in explain_missing(image, ODD)
    other = replace(ODD, dictionary="DICT_6X6_250")
    assert "DICT_5X5_1000, ids 0 to 16" in explain_missing(image, other)
    assert "dark" in explain_missing(np.full((720, 1280), 4, np.uint8), ODD)
    assert "no marker of any dictionary" in explain_missing(np.full((72, 128), 99, np.uint8), ODD)
