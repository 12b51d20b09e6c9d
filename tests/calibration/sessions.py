"""A small session on disk that the gate passes: cameras on the table, drawn images, no depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvista_calibration.records import Board, SessionCamera
from mvista_calibration.session.layout import BoardShot, SessionHeader, ShotImage
from mvista_calibration.session.writer import write_session
from mvista_core.geometry import exp_so3, invert, look_at, pose_from
from mvista_core.records import Float64, Intrinsics
from tests.calibration.drawing import board_picture

BOARD = Board(7, 5, 0.03, 0.022)
LENS = Intrinsics(1280, 720, 748.0, 748.0, 639.5, 359.5)
CENTRE = np.array([0.35, 0.0, 0.15])


def cameras_m(count: int) -> Float64:
    """`base_from_camera` [C, 4, 4], half a metre away."""
    sides = np.linspace(-0.25, 0.25, count) if count > 1 else np.zeros(1)
    return np.stack([look_at(np.array([0.75, y, 0.5]), CENTRE) for y in sides])


def boards_m(shots: int) -> Float64:
    """`base_from_board` [S, 4, 4], tilted this way and that."""
    towards = cameras_m(1)[0][:3, :3]
    poses = []
    rng = np.random.default_rng(4)
    for _ in range(shots):
        turn = towards @ exp_so3(rng.uniform(-0.5, 0.5, 3))
        place = CENTRE + rng.uniform(-1, 1, 3) * [0.06, 0.08, 0.05]
        poses.append(pose_from(turn, place - turn @ np.array([*BOARD.size_m, 0.0]) / 2))
    return np.stack(poses)


def small_session(folder: Path, cameras: int = 2, shots: int = 8) -> Path:
    """Write it; the first board's place in the robot's frame is known."""
    poses, boards = cameras_m(cameras), boards_m(shots)
    settings = SessionHeader(
        "small",
        BOARD,
        tuple(SessionCamera(f"cam{k}", LENS, LENS, f"SN{k}") for k in range(cameras)),
        warm_up_minutes=60.0,
        base_from_board=boards[0],
        depth=False,
    )
    taken = [
        BoardShot(
            tuple(
                ShotImage(
                    f"cam{k}",
                    board_picture(BOARD, LENS, invert(pose) @ board, seed=100 * shot + k),
                    None,
                    1_000_000_000 * (shot + 1),
                )
                for k, pose in enumerate(poses)
            )
        )
        for shot, board in enumerate(boards)
    ]
    return write_session(folder, settings, taken).folder
