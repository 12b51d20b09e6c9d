"""What each depth sensor adds to the truth, from depth at the board against the board's plane.

Units differ by 5 to 15 mm, which is more than anything else in a fused cloud. The board's plane is
where the coarse stage put it, so the offset is the one that makes depth agree with the rig. Only
paper is read: ink returns light of another phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.board.pose import distortion
from mvista_calibration.records import (
    Board,
    CoarseResult,
    DepthBias,
    DepthImage,
    Session,
    SessionCamera,
)
from mvista_calibration.solve.clouds import JUMP_M, points_of
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64

LARGEST_OFFSET_M = 0.025
RANGE_FOR_SCALE_M = 0.4
"""A scale is fitted only over such a range of distances: over less it trades against the offset."""
SCALE_SD = 0.003
"""What scale errors units have (0.2 %, and some): the prior of a fitted one."""
FOCAL_SD = 0.001
"""Relative focal error of factory intrinsics: the board's own distance is wrong by as much."""
WIGGLE_SD_M = 5e-4
"""Cyclic error over distance, which an offset cannot follow."""
VIEW_SD_M = 5e-4
LEAST_PIXELS = 25
LEAST_RATIO, LARGEST_RATIO = 0.8, 1.25
EDGE_SHARE = 0.12
"""Of a square's side, kept clear of its edges: pixels there mix paper and ink."""
OUTLIER_SIGMAS = 4.0


def estimate_depth_bias(session: Session, coarse: CoarseResult) -> tuple[DepthBias, ...]:
    """One bias per camera, in session order; empty for a session without any depth.

    `offset_sd_m` is that of the correction at the board's mean distance, with what the board's own
    distance (focal length) and the cyclic error add. An offset beyond `LARGEST_OFFSET_M` is held
    there: what is left shows in `plane_rms_m`.

    Raises:
        CalibrationError: a camera without usable depth of the board, or depth in the wrong unit.
    """
    if not session.board_depth and not session.scene:
        return ()
    return tuple(_bias(session, coarse, camera) for camera in session.cameras)


@dataclass(frozen=True)
class _View:
    """Paper pixels of one shot: expected depth and measured minus expected [N], m."""

    shot: int
    expected: Float64
    error: Float64

    @property
    def middle(self) -> tuple[float, float]:
        """Median expected depth and median error, m."""
        return float(np.median(self.expected)), float(np.median(self.error))


def _bias(session: Session, coarse: CoarseResult, camera: SessionCamera) -> DepthBias:
    shots = {view.shot for view in coarse.views if view.camera == camera.name}
    images = [i for i in session.board_depth if i.camera == camera.name and i.shot in shots]
    rays: Float64 | None = None
    views = []
    for image in images:
        if rays is None:
            flat = np.ones(image.depth_m.shape, dtype=np.float32)
            rays = points_of(flat, camera.depth_intrinsics)
        view = _paper(session.board, camera, coarse, image, rays)
        if view is not None:
            views.append(view)
    if not views:
        raise CalibrationError(
            f"{camera.name}: no usable depth on the board ({len(images)} images of {len(shots)} "
            f"shots); each needs {LEAST_PIXELS} valid pixels on white squares: is the depth stream "
            "on, registered to colour, and the board within its range?"
        )
    return _fitted(camera.name, views)


def _paper(
    board: Board, camera: SessionCamera, coarse: CoarseResult, image: DepthImage, rays: Float64
) -> _View | None:
    """The board's paper pixels in one image; None where there are too few."""
    if image.depth_m.shape != rays.shape[:2]:
        raise CalibrationError(
            f"{camera.name}, shot {image.shot}: depth is {image.depth_m.shape[::-1]}, the other "
            f"shots are {rays.shape[1::-1]}; record all at one resolution"
        )
    board_pose = coarse.reference_from_board[coarse.shots.index(image.shot)]
    camera_from_board = invert(coarse.rig.pose(camera.name)) @ board_pose
    window = _window(board, camera, camera_from_board)
    if window is None:
        return None
    depth = image.depth_m[window].astype(np.float64)
    sight = rays[window]
    normal, point = camera_from_board[:3, 2], camera_from_board[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        # Ray s z meets the plane n^T (s z - p) = 0 at z = n^T p / n^T s.
        expected = float(normal @ point) / (sight @ normal)
    on_board = transform_points(invert(camera_from_board), sight * expected[..., None])
    paper = _is_paper(board, on_board[..., :2]) & (depth > 0)
    if paper.any():
        _check_unit(camera.name, image.shot, float(np.median(depth[paper] / expected[paper])))
    chosen = paper & _steady(image.depth_m[window])
    if chosen.sum() < LEAST_PIXELS:
        return None
    measured, expected = depth[chosen], expected[chosen]
    error = measured - expected
    kept = _inliers(error, VIEW_SD_M)
    return _View(image.shot, expected[kept], error[kept])


def _check_unit(camera: str, shot: int, ratio: float) -> None:
    if not LEAST_RATIO < ratio < LARGEST_RATIO:
        raise CalibrationError(
            f"{camera}, shot {shot}: depth at the board is {ratio:.3g} times its distance, "
            f"allowed {LEAST_RATIO} to {LARGEST_RATIO}; is it in metres, and registered to colour?"
        )


def _window(
    board: Board, camera: SessionCamera, camera_from_board: Float64
) -> tuple[slice, slice] | None:
    """Pixels that the board's outline spans."""
    width, height = board.size_m
    outline = np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]], dtype=float)
    points = transform_points(camera_from_board, outline)
    if points[:, 2].min() < 0.05:
        return None
    lens = camera.depth_intrinsics
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), lens.matrix, distortion(lens))
    pixels = pixels.reshape(-1, 2)
    size = np.array([lens.width_px, lens.height_px])
    low = np.floor(pixels.min(axis=0)).clip(0, size).astype(int)
    high = (np.ceil(pixels.max(axis=0)) + 1).clip(0, size).astype(int)
    if (high - low < 2).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def _is_paper(board: Board, on_board: Float64) -> NDArray[np.bool_]:
    """Which points [H, W, 2] of the board's plane, m, lie in white squares, off their edges.

    OpenCV's boards begin with a black square at the origin; older ones with an even number of rows
    begin with a white one.
    """
    squares = on_board / (board.square_m * board.measured_scale)
    counts = np.array([board.squares_x, board.squares_y])
    inside = np.asarray(((squares > 0) & (squares < counts)).all(axis=-1))
    cell = np.floor(np.where(inside[..., None], squares, 0.0))
    white_first = bool(board.legacy) and board.squares_y % 2 == 0
    white = np.asarray((cell.sum(axis=-1) % 2 == 0) == white_first)
    clear = (np.abs(squares - cell - 0.5) < 0.5 - EDGE_SHARE).all(axis=-1)
    return np.asarray(inside & white & clear)


def _steady(depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Valid pixels beside no jump in depth (flying pixels) and no hole."""
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.dilate(depth_m, kernel) - cv2.erode(depth_m, kernel)
    return np.asarray((depth_m > 0) & (step < JUMP_M))


def _fitted(camera: str, views: Sequence[_View]) -> DepthBias:
    """Offset, and scale where the distances allow it, over the views' medians."""
    middles = np.array([view.middle for view in views])
    # One number per shot: pixels of a shot share its pose error and are no witnesses of their own.
    middles = middles[_inliers(middles[:, 1] - np.median(middles[:, 1]), 4 * VIEW_SD_M)]
    distance, error = middles.T
    mean_m = float(distance.mean())
    design = np.stack([np.ones(len(distance)), distance - mean_m], axis=1)
    # The prior 1 / scale_sd^2 keeps the scale at 1 where distances hardly differ.
    scale_sd = SCALE_SD if np.ptp(distance) >= RANGE_FOR_SCALE_M else 1e-9
    scatter = max(_robust_sd(error - np.median(error)), VIEW_SD_M)
    information = design.T @ design / scatter**2 + np.diag([0.0, 1.0 / scale_sd**2])
    at_mean, slope = np.linalg.solve(information, design.T @ error / scatter**2)
    at_mean = float(np.clip(at_mean, -LARGEST_OFFSET_M, LARGEST_OFFSET_M))
    formal = float(np.linalg.inv(information)[0, 0])
    spread = 0.0 if scale_sd == SCALE_SD else SCALE_SD * float(distance.std())
    # Independent causes add as variances: fit, the board's own distance, wiggle, a scale not
    # fitted.
    sd = np.sqrt(formal + (FOCAL_SD * mean_m) ** 2 + WIGGLE_SD_M**2 + spread**2)
    expected = np.concatenate([view.expected for view in views])
    left = np.concatenate([view.error for view in views]) - at_mean - slope * (expected - mean_m)
    return DepthBias(
        camera,
        at_mean - float(slope) * mean_m,
        float(sd),
        1.0 + float(slope),
        float(np.sqrt((left**2).mean())),
        len(views),
    )


def _inliers(values: Float64, least_sd: float) -> NDArray[np.bool_]:
    """Values within `OUTLIER_SIGMAS` robust sigmas of their median."""
    away = np.abs(values - np.median(values))
    return np.asarray(away <= OUTLIER_SIGMAS * max(1.4826 * float(np.median(away)), least_sd))


def _robust_sd(values: Float64) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
