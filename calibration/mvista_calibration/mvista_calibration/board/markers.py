"""The board's markers in an image: looked for in a reduced picture, then where some are missing.

Four fifths of detection was the search for markers, and most of that in places without any. A large
picture is searched at a quarter of its size; what the board's layout says must be in sight and was
not read is looked for at half and at full size in its own window only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.board.pattern import cv_board, cv_dictionary
from mvista_calibration.records import Board
from mvista_core.records import Float64

WHOLE_BELOW_PX = 1600
"""Images whose longer side is no longer than this are searched at full size at once."""

REDUCED_PX = 1100
"""Larger ones are first halved until their longer side is about so long."""

LAYOUT_SHARE = 0.6
"""Of the markers found, so many at least must lie where the board has them."""

LAYOUT_TOLERANCE = 0.5
"""A marker's corner is in its place within this part of the marker's side (lenses bend boards)."""

MOST_WINDOWS = 8
"""Of so few markers each has a window of its own; more share one."""

LEAST_KNOWN = 3
"""Markers in their places that foretell where the others are."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two not included."""


@dataclass(frozen=True)
class Markers:
    """Markers found in an image: ids int [M], outlines [M, 4, 2] px."""

    ids: NDArray[np.int64]
    outlines_px: Float64

    def joined(self, other: Markers) -> Markers:
        """With those of `other` whose ids are not known yet."""
        new = ~np.isin(other.ids, self.ids)
        return Markers(
            np.concatenate([self.ids, other.ids[new]]),
            np.concatenate([self.outlines_px, other.outlines_px[new]]),
        )


@dataclass(frozen=True)
class BoardLayout:
    """Where one homography puts the board's markers in the image, and how far that is true.

    `share` of the markers found lie in their places (0: no homography); outlines [K, 4, 2] px of
    the board's `ids` [K].
    """

    share: float
    ids: NDArray[np.int64]
    outlines_px: Float64


def find_markers(gray: NDArray[np.uint8], board: Board) -> Markers:
    """The markers of the board's dictionary in a gray image, with the least searching.

    Ids that the board does not have are among them: they tell that it is another board.
    """
    dictionary, factor = cv_dictionary(board), 1
    if max(gray.shape) > WHOLE_BELOW_PX:
        while max(gray.shape) / factor > REDUCED_PX:
            factor *= 2
    found = NONE
    windows: tuple[Rectangle, ...] = ((0, 0, gray.shape[1], gray.shape[0]),)
    while windows:
        for window in windows:
            found = found.joined(_searched(gray, dictionary, factor, window))
        # What half the size shows nothing of, the full size does not show either.
        if factor == 1 or (factor == 2 and len(found.ids) == 0):
            break
        factor //= 2
        if len(found.ids) > 0:
            windows = _unread(found, board, gray.shape)
    return found


def markers_anywhere(gray: NDArray[np.uint8], dictionary: Any) -> Markers:
    """All markers of an OpenCV dictionary, at half size where the image is large."""
    factor = 1 if max(gray.shape) <= WHOLE_BELOW_PX else 2
    return _searched(gray, dictionary, factor, (0, 0, gray.shape[1], gray.shape[0]))


def layout_of(board: Board, markers: Markers) -> BoardLayout:
    """How the markers found lie on the board, of the pattern that `board.legacy` says."""
    made = cv_board(board)
    outlines = np.asarray(made.getObjPoints(), dtype=np.float64).reshape(-1, 4, 3)[:, :, :2]
    order = np.asarray(made.getIds(), dtype=np.int64).reshape(-1)
    nowhere = BoardLayout(0.0, order, np.zeros((0, 4, 2)))
    places = {int(marker): outline for marker, outline in zip(order, outlines, strict=True)}
    known = [i for i, marker in enumerate(markers.ids) if int(marker) in places]
    if not known:
        return nowhere
    on_board = np.concatenate([places[int(markers.ids[i])] for i in known])
    in_image = markers.outlines_px[known]
    side = float(np.median(np.linalg.norm(np.diff(in_image, axis=1), axis=2)))
    fit, _ = cv2.findHomography(
        on_board, in_image.reshape(-1, 2), cv2.RANSAC, LAYOUT_TOLERANCE * side
    )
    if fit is None:
        return nowhere
    placed = cv2.perspectiveTransform(on_board[:, None], fit).reshape(-1, 4, 2)
    close = np.linalg.norm(placed - in_image, axis=2).max(axis=1) < LAYOUT_TOLERANCE * side
    every = cv2.perspectiveTransform(outlines.reshape(-1, 1, 2), fit).reshape(-1, 4, 2)
    return BoardLayout(float(close.sum() / len(markers.ids)), order, every)


def _unread(found: Markers, board: Board, shape: tuple[int, ...]) -> tuple[Rectangle, ...]:
    """Windows that hold every marker that should be in sight and was not read.

    All of the image where the markers found do not tell where the others are.
    """
    height, width = shape[:2]
    whole = ((0, 0, width, height),)
    patterns = (False, True) if board.legacy is None and board.squares_y % 2 == 0 else (None,)
    tried = [layout_of(board if p is None else replace(board, legacy=p), found) for p in patterns]
    layout = max(tried, key=lambda one: one.share)
    known = np.isin(found.ids, layout.ids).sum()
    if known >= len(layout.ids):
        return ()
    if layout.share < LAYOUT_SHARE or known < LEAST_KNOWN:
        return whole
    outlines = layout.outlines_px
    sides = np.linalg.norm(outlines - np.roll(outlines, 1, axis=1), axis=2).max(axis=1)
    # A lens bends the board by less than a marker's side over its length.
    spare = sides[:, None, None] / 2
    inside = ((outlines >= -spare) & (outlines < np.array([width, height]) + spare)).all((1, 2))
    wanted = inside & ~np.isin(layout.ids, found.ids)
    if not np.isfinite(outlines).all() or (sides[wanted] > max(width, height) / 2).any():
        return whole
    groups = [np.array([k]) for k in np.flatnonzero(wanted)]
    if len(groups) > MOST_WINDOWS:
        groups = [np.flatnonzero(wanted)]
    return tuple(_window(outlines[k], float(sides[k].max()), width, height) for k in groups)


def _window(outlines: Float64, room_px: float, width: int, height: int) -> Rectangle:
    low = np.floor(outlines.min(axis=(0, 1)) - room_px).clip(0, (width, height))
    high = np.ceil(outlines.max(axis=(0, 1)) + room_px).clip(0, (width, height))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _searched(gray: NDArray[np.uint8], dictionary: Any, factor: int, window: Rectangle) -> Markers:
    """Markers within a window, searched at a `factor`th of the size; pixels of the full one."""
    left, top, right, bottom = window
    part = gray[top:bottom, left:right]
    if factor > 1:
        size = (max(part.shape[1] // factor, 1), max(part.shape[0] // factor, 1))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    outlines, ids, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(np.ascontiguousarray(part))
    if ids is None or len(outlines) == 0:
        return NONE
    stacked = np.asarray(outlines, dtype=np.float64).reshape(-1, 4, 2)
    scale = np.array([(right - left) / part.shape[1], (bottom - top) / part.shape[0]])
    placed = (stacked + 0.5) * scale - 0.5 + (left, top)
    return Markers(np.asarray(ids, dtype=np.int64).reshape(-1), placed)


NONE = Markers(np.zeros(0, dtype=np.int64), np.zeros((0, 4, 2)))
