"""Boards: the image has its corners where the record says, the sheet has its true size."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_calibration.board.pattern import (
    MARGIN_MM,
    board_image,
    board_pdf,
    cv_board,
    marker_count,
    page_size_mm,
)
from mvista_calibration.records import Board
from mvista_core.errors import CalibrationError

BOARDS = [
    Board(7, 5, 0.03, 0.022),
    Board(14, 9, 0.04, 0.03),
    Board(8, 6, 0.03, 0.022, legacy=True),
    Board(8, 6, 0.03, 0.022, legacy=False),
    Board(5, 7, 0.025, 0.018, "DICT_4X4_50"),
]


@pytest.mark.parametrize("board", BOARDS)
def test_corners_are_those_of_opencv(board: Board) -> None:
    printed = replace(board, measured_scale=1.01)
    theirs = np.asarray(cv_board(printed).getChessboardCorners()).reshape(-1, 3)
    np.testing.assert_allclose(printed.corners_m, theirs, atol=1e-7)


@pytest.mark.parametrize("board", BOARDS)
def test_the_pattern_is_that_of_opencv(board: Board) -> None:
    """Ours and OpenCV's differ in nothing but how the edges of marker modules are rounded."""
    pixels = 84
    image = board_image(board, pixels)
    assert image.shape == (board.squares_y * pixels, board.squares_x * pixels)
    theirs = cv_board(board).generateImage(image.shape[::-1], marginSize=0)
    assert np.mean(theirs != image) < 0.03
    for row in range(1, board.squares_y):
        for column in range(1, board.squares_x):
            around = np.s_[
                row * pixels - 3 : row * pixels + 3, column * pixels - 3 : column * pixels + 3
            ]
            np.testing.assert_array_equal(image[around], theirs[around])


def test_any_ratio_of_marker_to_square_can_be_drawn() -> None:
    """OpenCV's own drawing stops at an assertion for this one."""
    assert board_image(Board(8, 6, 0.025, 0.018, legacy=True), 48).shape == (288, 384)


@pytest.mark.parametrize("board", BOARDS)
def test_pdf_is_true_to_size(board: Board, tmp_path: Path) -> None:
    content = board_pdf(board, tmp_path / "board.pdf").read_bytes()
    _, width_mm, height_mm = page_size_mm(board)
    box = re.search(rb"/MediaBox \[ ?([\d. ]+)\]", content)
    assert box is not None
    points = [float(value) for value in box.group(1).split()]
    np.testing.assert_allclose(points[2:], np.array([width_mm, height_mm]) / 25.4 * 72, atol=0.01)
    xs = _path_points(content)[:, 0]
    pattern_mm = board.squares_x * board.square_m * 1000.0
    assert np.ptp(xs) * 25.4 / 72 == pytest.approx(pattern_mm, abs=0.01)
    assert xs.min() * 25.4 / 72 >= MARGIN_MM - 0.01


def _path_points(content: bytes) -> np.ndarray:
    """Vertices of the largest filled path, PDF points."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
    inflated = []
    for stream in streams:
        try:
            inflated.append(zlib.decompress(stream))
        except zlib.error:
            continue
    page = max(inflated, key=lambda text: text.count(b" l\n"))
    path = max(re.split(rb"\nf\n|\nf\*\n|\nB\n|\nS\n", page), key=lambda text: text.count(b" l\n"))
    found = re.findall(rb"(-?[\d.]+) (-?[\d.]+) [ml]\n", path)
    return np.array([[float(x), float(y)] for x, y in found])


def test_pages_grow_with_the_board() -> None:
    assert page_size_mm(Board(7, 5, 0.03, 0.022))[0] == "A4"
    assert page_size_mm(Board(14, 9, 0.04, 0.03))[0] == "A2"
    assert page_size_mm(Board(30, 20, 0.1, 0.07, "DICT_5X5_1000"))[0] == "custom"


def test_a_dictionary_that_is_unknown_or_too_small_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"DICT_5X5_25'.*DICT_5X5_250"):
        cv_board(Board(7, 5, 0.03, 0.022, "DICT_5X5_25"))
    big = Board(14, 9, 0.04, 0.03, "DICT_4X4_50")
    assert marker_count(big) == 63
    with pytest.raises(CalibrationError, match=r"needs 63 markers, DICT_4X4_50 has 50"):
        cv_board(big)


@pytest.mark.parametrize("squares", [(3, 3), (4, 4), (3, 6), (12, 2)])
def test_a_board_that_no_view_could_show_enough_corners_of_is_refused(
    squares: tuple[int, int],
) -> None:
    """Views below 12 corners are left out: such a board would be recorded for nothing."""
    with pytest.raises(CalibrationError, match=r"has \d+ corners, .* needs 12|at least 3x3"):
        Board(*squares, 0.03, 0.022)
    assert Board(3, 7, 0.03, 0.022).corner_count == Board(5, 4, 0.03, 0.022).corner_count == 12


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="missing"):
        board_pdf(BOARDS[0], tmp_path / "missing" / "board.pdf")
