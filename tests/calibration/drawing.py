"""Pictures of boards seen by a camera, for tests: drawn from the pattern, truth known."""

from __future__ import annotations

import cv2
import numpy as np

from mvista_calibration.board.pattern import board_image
from mvista_calibration.records import Board
from mvista_core.geometry import transform_points
from mvista_core.records import Float32, Float64, Intrinsics, UInt8

LENS = Intrinsics(1280, 720, 748.0, 748.0, 638.7, 361.2)


def corners_px(board: Board, lens: Intrinsics, camera_from_board: Float64) -> Float64:
    """Where a lens without distortion sees all inner corners, [N, 2]."""
    points = transform_points(camera_from_board, board.corners_m)
    return np.asarray((points @ lens.matrix.T)[:, :2] / points[:, 2:])


def board_picture(
    board: Board,
    lens: Intrinsics,
    camera_from_board: Float64,
    blur_px: float = 0.0,
    seed: int = 0,
) -> UInt8:
    """Gray uint8 [H, W]: the board on white paper before a gray wall, with 2 gray values of noise.

    Drawn at three times the size and averaged; `blur_px` is the sigma of a further Gaussian.
    """
    over, pixels = 3, 48
    pattern = np.pad(board_image(board, pixels), pixels // 2, constant_values=230)
    side = board.square_m * board.measured_scale
    metres_from_texel = np.array(
        [
            [side / pixels, 0.0, (0.5 - pixels // 2) * side / pixels],
            [0.0, side / pixels, (0.5 - pixels // 2) * side / pixels],
            [0.0, 0.0, 1.0],
        ]
    )
    fine = np.array([[over, 0.0, (over - 1) / 2], [0.0, over, (over - 1) / 2], [0.0, 0.0, 1.0]])
    onto = fine @ lens.matrix @ camera_from_board[:3, [0, 1, 3]] @ metres_from_texel
    size = (lens.width_px * over, lens.height_px * over)
    large = cv2.warpPerspective(
        pattern, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=110
    )
    picture = cv2.resize(large, (lens.width_px, lens.height_px), interpolation=cv2.INTER_AREA)
    if blur_px > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    noise = np.random.default_rng(seed).normal(0.0, 2.0, picture.shape)
    return np.clip(picture * 0.8 + 20 + noise, 0, 255).astype(np.uint8)


def board_depth(board: Board, lens: Intrinsics, camera_from_board: Float64) -> Float32:
    """Depth [H, W] m of the board's plane within its outline (0 outside)."""
    x, y = np.meshgrid(np.arange(lens.width_px), np.arange(lens.height_px))
    rays = np.stack([(x - lens.cx_px) / lens.fx_px, (y - lens.cy_px) / lens.fy_px, x * 0 + 1.0], -1)
    normal, origin = camera_from_board[:3, 2], camera_from_board[:3, 3]
    depth = (normal @ origin) / (rays @ normal)
    inside = (rays * depth[..., None] - origin) @ camera_from_board[:3, :2]
    width, height = board.size_m
    ok = (inside >= 0).all(-1) & (inside[..., 0] <= width) & (inside[..., 1] <= height)
    return np.where(ok, depth, 0.0).astype(np.float32)
