"""ChArUco boards: OpenCV's object for detection, an image of one, and a PDF to print at true size.

The PDF is vector graphics in millimetres. Printers rescale all the same, so every sheet carries a
scale bar to be measured with a ruler: measured over nominal length is `Board.measured_scale`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.records import Board
from mvista_core.errors import CalibrationError
from mvista_core.files import replace_file
from mvista_core.records import Float64, UInt8

PAGES_MM = {
    "A4": (210.0, 297.0),
    "A3": (297.0, 420.0),
    "A2": (420.0, 594.0),
    "A1": (594.0, 841.0),
    "A0": (841.0, 1189.0),
}
"""ISO 216 pages, upright, smallest first."""

MARGIN_MM = 10.0
"""White border on all sides: markers at the rim need white around them, and printers cannot."""

FOOT_MM = 22.0
"""Height kept under the pattern for the scale bar and its text."""

SCALE_BAR_MM = (200.0, 100.0, 50.0)
"""Lengths of the scale bar, the longest that fits the page: 0.2 mm of 200 mm is 0.1 %."""

MM_PER_INCH = 25.4


def cv_dictionary(board: Board) -> Any:
    """OpenCV's ArUco dictionary of the board.

    Raises:
        CalibrationError: no such dictionary, or one with fewer markers than the board has.
    """
    names = sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_"))
    if board.dictionary not in names:
        raise CalibrationError(
            f"no ArUco dictionary '{board.dictionary}'; OpenCV {cv2.__version__} has {names}"
        )
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    needed, available = marker_count(board), len(dictionary.bytesList)
    if needed > available:
        raise CalibrationError(
            f"a board of {board.squares_x}x{board.squares_y} squares needs {needed} markers, "
            f"{board.dictionary} has {available}: take a larger dictionary or fewer squares"
        )
    return dictionary


def marker_count(board: Board) -> int:
    """Markers on the board: one in every white square."""
    return board.squares_x * board.squares_y // 2


def cv_board(board: Board) -> Any:
    """`cv2.aruco.CharucoBoard` with true lengths, m (`measured_scale` applied).

    A board whose pattern is not yet known (`legacy` None) gets today's pattern.
    """
    scale = board.measured_scale
    made = cv2.aruco.CharucoBoard(
        (board.squares_x, board.squares_y),
        float(board.square_m * scale),
        float(board.marker_m * scale),
        cv_dictionary(board),
    )
    made.setLegacyPattern(bool(board.legacy))
    return made


def board_image(board: Board, pixels_per_square: int) -> UInt8:
    """The pattern without margin as gray uint8 [squares_y * p, squares_x * p], p per square.

    The inner corner of column i and row j lies exactly between pixels: at (i * p - 0.5,
    j * p - 0.5), pixel centres at integers. Drawn from the same rectangles as the sheet: OpenCV's
    `generateImage` stops at an assertion for some ratios of marker to square.
    """
    if pixels_per_square < 12:
        raise CalibrationError(
            f"{pixels_per_square} pixels per square cannot show a marker; at least 12"
        )
    shape = (board.squares_y * pixels_per_square, board.squares_x * pixels_per_square)
    image = np.full(shape, 255, dtype=np.uint8)
    scale = pixels_per_square / (board.square_m * 1000.0)
    for left, top, right, bottom in np.rint(dark_rectangles_mm(board) * scale).astype(int):
        image[top:bottom, left:right] = 0
    return image


def dark_rectangles_mm(board: Board) -> Float64:
    """Everything black as rectangles (left, top, right, bottom) [N, 4], nominal mm, y down.

    Runs of dark marker modules in a row are one rectangle.
    """
    # Nominal: the printer adds its own scale, which the bar on the sheet lets one measure.
    nominal = replace(board, measured_scale=1.0)
    made, dictionary = cv_board(nominal), cv_dictionary(nominal)
    outlines = np.asarray(made.getObjPoints(), dtype=np.float64).reshape(-1, 4, 3) * 1000.0
    side = board.square_m * 1000.0
    # Which squares are white depends on the legacy pattern: OpenCV's own markers tell.
    light = {(int(x // side), int(y // side)) for x, y, _ in outlines.mean(axis=1)}
    squares = [
        (x * side, y * side, (x + 1) * side, (y + 1) * side)
        for x in range(board.squares_x)
        for y in range(board.squares_y)
        if (x, y) not in light
    ]
    modules = dictionary.markerSize + 2
    step = board.marker_m * 1000.0 / modules
    marks = []
    for marker, outline in zip(made.getIds().reshape(-1), outlines, strict=True):
        left, top = outline[0, :2]
        picture = dictionary.generateImageMarker(int(marker), modules)
        for row, start, end in _dark_runs(picture):
            x, y = left + start * step, top + row * step
            marks.append((x, y, left + end * step, y + step))
    return np.array(squares + marks)


def _dark_runs(picture: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """(row, first, one past last) of every run of zeros."""
    for row, line in enumerate(picture):
        edges = np.diff(np.concatenate([[0], line == 0, [0]]).astype(np.int8))
        for start, end in zip(np.where(edges == 1)[0], np.where(edges == -1)[0], strict=True):
            yield row, int(start), int(end)


def page_size_mm(board: Board) -> tuple[str, float, float]:
    """Name, width and height of the smallest page that holds the board and its scale bar.

    A board larger than A0 gets a page of its own ("custom").
    """
    wide = board.squares_x * board.square_m * 1000.0 + 2 * MARGIN_MM
    high = board.squares_y * board.square_m * 1000.0 + 2 * MARGIN_MM + FOOT_MM
    for name, (short, long) in PAGES_MM.items():
        for width, height in ((short, long), (long, short)):
            if wide <= width and high <= height:
                return name, width, height
    return "custom", wide, high


def board_pdf(board: Board, path: Path | str) -> Path:
    """Write a vector PDF of the board at true size (nominal lengths), with its scale bar.

    Raises:
        CalibrationError: the file cannot be written, or the dictionary is too small.
    """
    # Not at the top: detection imports this module, and draws nothing.
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    path = Path(path)
    _, width_mm, height_mm = page_size_mm(board)
    figure = Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH))
    FigureCanvasPdf(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, width_mm)
    axes.set_ylim(height_mm, 0.0)
    axes.axis("off")
    pattern_mm = np.array([board.squares_x, board.squares_y]) * board.square_m * 1000.0
    corner = np.array([(width_mm - pattern_mm[0]) / 2.0, MARGIN_MM])
    _draw_dark(axes, dark_rectangles_mm(board) + np.tile(corner, 2))
    _draw_foot(axes, board, width_mm, corner[1] + pattern_mm[1])
    sheet = io.BytesIO()
    figure.savefig(sheet, format="pdf", metadata={"Title": _title(board), "CreationDate": None})
    replace_file(path, sheet.getvalue(), CalibrationError)
    return path


def _draw_dark(axes: Any, rectangles: Float64) -> None:
    """All rectangles as one filled path: drawn one by one, viewers show seams between them."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    left, top, right, bottom = rectangles.T
    loops = np.stack(
        [
            np.stack([left, right, right, left, left], axis=1),
            np.stack([top, top, bottom, bottom, top], axis=1),
        ],
        axis=2,
    )
    steps = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    outline = Outline(loops.reshape(-1, 2), steps * len(rectangles))
    axes.add_patch(PathPatch(outline, facecolor="black", edgecolor="none", linewidth=0.0))


def _draw_foot(axes: Any, board: Board, width_mm: float, top_mm: float) -> None:
    length = next(bar for bar in (*SCALE_BAR_MM, 0.0) if bar <= width_mm - 2 * MARGIN_MM)
    left, y = (width_mm - length) / 2.0, top_mm + 8.0
    ends = (left, left + length)
    # Butt ends: matplotlib's default projects, and would lengthen what is to be measured.
    axes.plot(ends, (y, y), color="black", linewidth=0.5, solid_capstyle="butt")
    for end in ends:
        axes.plot((end, end), (y - 2.5, y + 2.5), color="black", linewidth=0.35)
    words = (
        f"measure me: {length:.0f} mm from mark to mark. "
        f"Give the length you find, divided by {length:.0f}, as measured_scale."
    )
    axes.text(width_mm / 2.0, y + 5.5, words, ha="center", va="center", fontsize=6.5)
    axes.text(width_mm / 2.0, y + 9.0, _title(board), ha="center", va="center", fontsize=5.5)


def _title(board: Board) -> str:
    legacy = ", legacy pattern" if board.legacy else ""
    return (
        f"ChArUco {board.squares_x}x{board.squares_y}, squares {board.square_m * 1000.0:g} mm, "
        f"markers {board.marker_m * 1000.0:g} mm, {board.dictionary}{legacy}. Print at 100 %."
    )
