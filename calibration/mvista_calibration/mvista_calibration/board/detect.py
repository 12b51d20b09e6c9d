"""Find a ChArUco board in an image: which corners, where, how sharp, or why not.

Markers are looked for in reduced pictures (markers.py: their places need no better); corners are
always refined at full resolution. Arrays of OpenCV 4 come as [N, 1, 2] and of OpenCV 5 as [N, 2]:
everything is reshaped on arrival.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.board.markers import (
    LAYOUT_SHARE,
    Markers,
    find_markers,
    layout_of,
    markers_anywhere,
)
from mvista_calibration.board.pattern import cv_board, cv_dictionary, marker_count
from mvista_calibration.records import LEAST_CORNERS, Board, BoardView
from mvista_core.errors import CalibrationError, NoBoardError, WrongBoardError
from mvista_core.records import Float64, UInt8

LEAST_SPREAD = 0.05
"""Least ratio of the corners' extents on the board: below, they lie as good as on one line."""

# OpenCV's smaller dictionaries are the first markers of these: one of each size finds them all.
FAMILIES = (*(f"DICT_{n}X{n}_1000" for n in (4, 5, 6, 7)), "DICT_ARUCO_ORIGINAL")
"""Dictionaries tried when telling a person which board was seen instead."""


@dataclass(frozen=True)
class Located:
    """The board in an image: corner ids [N], pixels [N, 2], the edges' width in pixels.

    `legacy` is the pattern that it was found with, where that was open.
    """

    ids: NDArray[np.int64]
    corners_px: Float64
    blur_px: float
    legacy: bool | None = None


def gray_image(image: NDArray[np.uint8]) -> UInt8:
    """Gray uint8 [H, W] of a gray [H, W] or RGB [H, W, 3] image."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise CalibrationError(
            f"an image to find the board in must be uint8 [H, W] or [H, W, 3], not "
            f"{image.dtype} {image.shape}"
        )
    if image.ndim == 2:
        return image
    if image.shape[2] != 3:
        raise CalibrationError(f"an image has 1 or 3 channels, not {image.shape[2]}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def detect_board(
    image: NDArray[np.uint8],
    board: Board,
    camera: str,
    shot: int,
    source: str = "",
    stamp_ns: int = 0,
) -> BoardView:
    """Corners of the board in one gray or RGB image, with the edges' measured width.

    A board whose `legacy` is None is tried with both patterns.

    Raises:
        NoBoardError: no marker, too few corners, or corners on a line.
        WrongBoardError: markers that this board does not have, or has elsewhere.
    """
    where = where_of(camera, shot, source)
    found = locate_board(image, board, where)
    return BoardView(
        camera, shot, found.ids, found.corners_px, found.blur_px, stamp_ns, source, found.legacy
    )


def locate_board(image: NDArray[np.uint8], board: Board, where: str) -> Located:
    """As `detect_board`, without a camera or a shot: `where` begins the messages."""
    gray = gray_image(image)
    markers = find_markers(gray, board)
    if len(markers.ids) == 0:
        raise NoBoardError(
            f"{where}: no marker of {board.dictionary}; show the board, or check its dictionary"
        )
    _check_ids(markers, board, where)
    ids, corners_px, legacy = _best_corners(gray, board, markers, where)
    _check_spread(board, ids, where)
    return Located(ids, corners_px, measure_blur(gray, board, ids, corners_px), legacy)


def content_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's shape and pixels.

    Real sensors never repeat an image: a second one is a frozen stream or a copied file, and
    counting it twice makes sigma too small.
    """
    digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def explain_missing(image: NDArray[np.uint8], board: Board) -> str:
    """In words, what an image without the board shows instead (slow: tries other dictionaries)."""
    gray = gray_image(image)
    found = markers_anywhere(np.ascontiguousarray(gray[:, ::-1]), cv_dictionary(board))
    if len(found.ids) >= 4:
        return f"the image is mirrored ({len(found.ids)} markers in its mirror image)"
    own = markers_anywhere(gray, cv_dictionary(board))
    if len(own.ids) >= 4:
        return (
            f"{len(own.ids)} markers of {board.dictionary}, ids {own.ids.min()} to "
            f"{own.ids.max()}, but not {LEAST_CORNERS} corners between them: it is seen too much "
            "from the side, or partly hidden"
        )
    for family in FAMILIES:
        seen = markers_anywhere(gray, cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, family)))
        if len(seen.ids) >= 4:
            return (
                f"{len(seen.ids)} markers of {family}, ids {seen.ids.min()} to {seen.ids.max()}, "
                f"but the board is described as {board.dictionary}"
            )
    level = float(gray.mean())
    if level < 25 or level > 235:
        return f"the image is {'dark' if level < 25 else 'overexposed'} (mean gray {level:.0f})"
    sharp = float(cv2.Laplacian(gray, cv2.CV_32F).std())
    return f"no marker of any dictionary known (contrast of edges {sharp:.1f}; below 3 is blurred)"


def measure_blur(
    gray: NDArray[np.uint8], board: Board, ids: NDArray[np.int64], corners_px: Float64
) -> float:
    """Width of the board's edges from 10 to 90 %, px, in the worse of its two directions.

    An edge halfway between neighbouring corners has plain white on one side and plain black on
    the other for at least a tenth of a square. Width = contrast / steepest slope, which for a
    Gaussian blur is 2.5 sigma. Motion blurs one direction more than the other: the worse counts.
    0 when no two neighbouring corners were found.
    """
    columns = board.squares_x - 1
    at = {int(corner): corners_px[i] for i, corner in enumerate(ids)}
    widths: list[float] = []
    for step in (1, columns):
        # Ids run row by row: what follows the last corner of a row begins the next, no neighbour.
        pairs = [
            (place, at[corner + step])
            for corner, place in at.items()
            if corner + step in at and (step != 1 or (corner + 1) % columns != 0)
        ]
        if len(pairs) >= 3:
            widths.append(_edge_width(gray, np.array(pairs)))
    return max(widths, default=0.0)


def _edge_width(gray: NDArray[np.uint8], pairs: Float64) -> float:
    """Median width of the edges between pairs of corners [E, 2, 2], px."""
    start, along = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    length = np.linalg.norm(along, axis=1)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / length[:, None]
    reach = float(np.clip(0.4 * np.median(length), 3.0, 24.0))
    offsets = np.arange(-reach, reach + 0.25, 0.5)
    places = np.linspace(0.35, 0.65, 9)
    points = (
        start[:, None, None]
        + places[None, :, None, None] * along[:, None, None]
        + offsets[None, None, :, None] * normal[:, None, None]
    )
    flat = points.astype(np.float32).reshape(len(pairs), -1, 2)
    sampled = cv2.remap(gray, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR)
    # Nine parallel lines are averaged first: the steepest slope is a maximum, which noise raises.
    profiles = sampled.reshape(len(pairs), len(places), len(offsets)).astype(np.float64).mean(1)
    # Farther out a marker may begin, and its edge is as steep as the square's.
    middle = np.abs(offsets) <= max(0.1 * float(np.median(length)), 2.0)
    slopes = np.abs(np.gradient(profiles, offsets, axis=1))[:, middle].max(axis=1)
    contrast = np.ptp(profiles, axis=1)
    usable = (contrast > 20) & (slopes > 0)
    if not usable.any():
        return float(2.0 * reach)
    return float(np.median(contrast[usable] / slopes[usable]))


def where_of(camera: str, shot: int, source: str = "") -> str:
    """How messages name an image."""
    return f"{camera}, shot {shot}" + (f" ({source})" if source else "")


def _check_ids(markers: Markers, board: Board, where: str) -> None:
    count = marker_count(board)
    strange = markers.ids[markers.ids >= count]
    # A single strange id is a misreading; a board of another size shows many.
    if len(strange) > 0.3 * len(markers.ids) and len(strange) >= 2:
        raise WrongBoardError(
            f"{where}: the wrong board: markers up to id {strange.max()} of {board.dictionary}, "
            f"but a {board.squares_x}x{board.squares_y} board has ids 0 to {count - 1}; "
            "check squares_x and squares_y, or use the board described"
        )


def _best_corners(
    gray: NDArray[np.uint8], board: Board, markers: Markers, where: str
) -> tuple[NDArray[np.int64], Float64, bool | None]:
    patterns = (False, True) if board.legacy is None and board.squares_y % 2 == 0 else (None,)
    found = [
        _fitting_corners(
            gray, board if pattern is None else replace(board, legacy=pattern), markers
        )
        for pattern in patterns
    ]
    best = max(range(len(found)), key=lambda k: len(found[k][0]))
    ids, corners_px, share = found[best]
    if len(ids) < LEAST_CORNERS and len(markers.ids) >= 6 and share < LAYOUT_SHARE:
        hint = "" if board.legacy is None else " and legacy (null finds out)"
        raise WrongBoardError(
            f"{where}: the wrong board: {len(markers.ids)} markers of {board.dictionary} but only "
            f"{share:.0%} of them lie where a {board.squares_x}x{board.squares_y} board has them "
            f"(at least {LAYOUT_SHARE:.0%}); check squares_x, squares_y{hint}"
        )
    if len(ids) < LEAST_CORNERS:
        raise NoBoardError(
            f"{where}: {len(ids)} corners from {len(markers.ids)} markers, at least "
            f"{LEAST_CORNERS}; show more of the board, closer or in better light"
        )
    return ids, corners_px, patterns[best]


def _fitting_corners(
    gray: NDArray[np.uint8], board: Board, markers: Markers
) -> tuple[NDArray[np.int64], Float64, float]:
    """Corner ids [N], pixels [N, 2], and the share of markers in their place (none: too few)."""
    share = layout_of(board, markers).share
    if share < LAYOUT_SHARE:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2)), share
    # The markers are handed in: `detectBoard` would look for them in the whole picture again.
    detector = cv2.aruco.CharucoDetector(cv_board(board))
    corners, ids, _, _ = detector.detectBoard(
        gray,
        markerCorners=tuple(outline[None].astype(np.float32) for outline in markers.outlines_px),
        markerIds=markers.ids.astype(np.int32)[:, None],
    )
    found, rough_px = as_points(ids, corners)
    return found, refine_corners(gray, board, found, rough_px), share


def refine_corners(
    gray: NDArray[np.uint8], board: Board, ids: NDArray[np.int64], corners_px: Float64
) -> Float64:
    """Corners [N, 2] at their saddle points, iterated until they stand still.

    OpenCV's own refinement inside `detectBoard` stops at steps of 0.1 px, which leaves errors of up
    to 0.5 px. The window is as large as the white rim around the markers allows, so that it sees
    nothing but the four squares; a corner that runs out of its window keeps its first place.
    """
    if len(ids) < 4:
        return corners_px
    flat = cv2.findHomography(board.corners_m[ids][:, :2], corners_px)[0]
    if flat is None:
        return corners_px
    rim_m = (board.square_m - board.marker_m) / 2.0 * board.measured_scale
    step_m = np.array([[rim_m, 0.0], [0.0, rim_m]])
    around = (board.corners_m[ids][:, None, :2] + step_m).reshape(-1, 1, 2)
    moved = cv2.perspectiveTransform(around, flat).reshape(-1, 2, 2)
    here = cv2.perspectiveTransform(board.corners_m[ids][:, None, :2], flat).reshape(-1, 1, 2)
    rims_px = np.linalg.norm(moved - here, axis=2).min(axis=1)
    refined = corners_px.copy()
    half_px = np.clip(rims_px, 2.0, 15.0).astype(int)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-3)
    # `cornerSubPix` takes one window for all its corners: one call for each size.
    for half in np.unique(half_px):
        chosen = half_px == half
        start = corners_px[chosen].astype(np.float32).reshape(-1, 1, 2)
        end = cv2.cornerSubPix(gray, start.copy(), (int(half), int(half)), (-1, -1), stop)
        end = end.reshape(-1, 2).astype(np.float64)
        near = np.abs(end - corners_px[chosen]).max(axis=1) <= half
        refined[chosen] = np.where(near[:, None], end, corners_px[chosen])
    return refined


def as_points(ids: Any, corners: Any) -> tuple[NDArray[np.int64], Float64]:
    """Ids [N] and pixels [N, 2] from what either OpenCV returns (None, [N, 1, 2] or [N, 2])."""
    if ids is None or corners is None or len(ids) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2))
    return (
        np.asarray(ids, dtype=np.int64).reshape(-1),
        np.asarray(corners, dtype=np.float64).reshape(-1, 2),
    )


def _check_spread(board: Board, ids: NDArray[np.int64], where: str) -> None:
    points = board.corners_m[ids][:, :2]
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] < LEAST_SPREAD * spread[0]:
        raise NoBoardError(
            f"{where}: all {len(ids)} corners lie on one line; show more of the board"
        )
