"""Where the board is in one view, by its corners and the camera's lens."""

from __future__ import annotations

import cv2
import numpy as np

from mvista_calibration.records import Board, BoardView, SessionCamera
from mvista_core.errors import CalibrationError
from mvista_core.geometry import pose_from
from mvista_core.records import Float64, Intrinsics


def view_pose(view: BoardView, camera: SessionCamera, board: Board) -> tuple[Float64, float]:
    """`camera_from_board` [4, 4] of one view by PnP, and its RMS in pixels."""
    points = board.corners_m[view.corner_ids]
    lens = distortion(camera.intrinsics)
    matrix = camera.intrinsics.matrix
    pixels = view.corners_px.reshape(-1, 1, 2)
    count, turns, shifts, _ = cv2.solvePnPGeneric(
        points, pixels, matrix, lens, flags=cv2.SOLVEPNP_IPPE
    )
    best: tuple[Float64, float] | None = None
    # A plane has two poses that look alike, and IPPE gives both: each is refined, then judged.
    for k in range(count):
        turn, shift = cv2.solvePnPRefineLM(points, pixels, matrix, lens, turns[k], shifts[k])
        pose = pose_from(cv2.Rodrigues(turn)[0], shift.reshape(3))
        seen = cv2.projectPoints(points, turn, shift, matrix, lens)[0].reshape(-1, 2)
        residual = seen - view.corners_px
        rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
        if pose[2, 3] > 0 and (best is None or rms < best[1]):
            best = pose, rms
    if best is None:
        raise CalibrationError(
            f"{view.camera}, shot {view.shot} {view.source}: no pose of the board fits its "
            f"{len(points)} corners; leave this view out"
        )
    return best


def distortion(lens: Intrinsics) -> Float64:
    """The lens's coefficients [K] in OpenCV's order; five zeros where it has none."""
    return np.array(lens.distortion or (0.0,) * 5)
