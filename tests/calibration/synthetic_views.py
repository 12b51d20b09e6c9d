"""Board views from known poses: corners through true lenses with noise, and lenses as reported."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mvista_calibration.records import Board, BoardView, GripperPose, Session, SessionCamera
from mvista_calibration.twists import moved
from mvista_core.geometry import invert, look_at, pose_from, transform_points
from mvista_core.records import Float64, Intrinsics

A4 = Board(7, 5, 0.03, 0.022)
LARGE = Board(14, 9, 0.04, 0.03)
LENS = Intrinsics(3840, 2160, 2288.0, 2288.0, 1919.5, 1079.5, (0.08, -0.11, 4e-4, -3e-4, 0.045))
CENTRE_M = np.array([0.35, 0.0, 0.1])
AZIMUTHS_DEG = (20.0, 66.7, 113.3, 160.0)
HEIGHT_M, DISTANCE_M = 0.65, 1.0


@dataclass(frozen=True)
class Scene:
    """A session and what it was made from."""

    session: Session
    reference_from_camera: Float64
    base_from_reference: Float64
    base_from_board: Float64
    lenses: tuple[Intrinsics, ...]


def scene(
    seed: int,
    shots: int = 15,
    board: Board = A4,
    noise_px: float = 0.3,
    focal_error: float = 0.0,
    centre_error_px: float = 0.0,
    printed: float = 1.0,
    arm_m: float = 0.0,
    arm_rad: float = 0.0,
    tilt_rad: float = 0.6,
) -> Scene:
    """Four cameras 1 m from the centre (field notes B.1), the board carried about by the gripper.

    `printed` is the real over the nominal size of a square; `arm_m`, `arm_rad` the arm's error.
    """
    rng = np.random.default_rng(seed)
    cameras, boards = cameras_m(), board_poses(rng, shots, tilt_rad)
    true = [
        replace(LENS, cx_px=LENS.cx_px + x, cy_px=LENS.cy_px + y)
        for x, y in rng.normal(0.0, 10.0, (len(cameras), 2))
    ]
    views = [
        view
        for k, pose in enumerate(cameras)
        for shot, base_from_board in enumerate(boards)
        if (view := seen(f"cam{k}", shot, invert(pose) @ base_from_board, true[k], board, printed))
        is not None
    ]
    noisy = tuple(
        replace(v, corners_px=v.corners_px + rng.normal(0.0, noise_px, v.corners_px.shape))
        for v in views
    )
    reported = tuple(
        SessionCamera(f"cam{k}", lens, lens)
        for k, lens in enumerate(wrong(lens, focal_error, centre_error_px, rng) for lens in true)
    )
    mount = pose_from(Rotation.from_euler("xyz", [0.1, -0.2, 1.0]).as_matrix(), np.full(3, 0.03))
    gripper = tuple(
        GripperPose(
            shot,
            pose
            @ invert(mount)
            @ moved(
                np.eye(4), np.concatenate([rng.normal(0, arm_m, 3), rng.normal(0, arm_rad, 3)])
            ),
        )
        for shot, pose in enumerate(boards)
    )
    session = Session(f"seed {seed}", board, reported, noisy, gripper=gripper)
    return Scene(session, invert(cameras[0]) @ cameras, cameras[0], boards, tuple(true))


def cameras_m() -> Float64:
    """`base_from_camera` [4, 4, 4]."""
    flat = np.sqrt(DISTANCE_M**2 - (HEIGHT_M - CENTRE_M[2]) ** 2)
    eyes = [
        CENTRE_M + np.array([flat * np.sin(a), -flat * np.cos(a), HEIGHT_M - CENTRE_M[2]])
        for a in np.deg2rad(AZIMUTHS_DEG)
    ]
    return np.stack([look_at(eye, CENTRE_M) for eye in eyes])


def board_poses(rng: np.random.Generator, shots: int, tilt_rad: float) -> Float64:
    """`base_from_board` [S, 4, 4]: about 0.3 m around the centre, face up, tilted."""
    up = Rotation.from_euler("x", np.pi).as_matrix()
    poses = []
    for _ in range(shots):
        turn = Rotation.from_euler("xyz", rng.uniform(-tilt_rad, tilt_rad, 3)).as_matrix()
        place = CENTRE_M + rng.uniform(-1, 1, 3) * [0.2, 0.2, 0.12]
        poses.append(pose_from(turn @ up, place))
    return np.stack(poses)


def seen(
    camera: str,
    shot: int,
    camera_from_board: Float64,
    lens: Intrinsics,
    board: Board,
    printed: float = 1.0,
) -> BoardView | None:
    """Exact corners that fall into the image, or None when the board's back shows."""
    points = transform_points(camera_from_board, board.corners_m * printed)
    away = points.mean(axis=0)
    if camera_from_board[:3, 2] @ away < 0.25 * np.linalg.norm(away):
        return None
    pixels = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion)
    )[0].reshape(-1, 2)
    ids = np.nonzero(((pixels > 5) & (pixels < [lens.width_px - 5, lens.height_px - 5])).all(1))[0]
    return BoardView(camera, shot, ids, pixels[ids], source=f"shots/{shot}/{camera}.png")


def wrong(lens: Intrinsics, focal: float, centre_px: float, rng: np.random.Generator) -> Intrinsics:
    """The lens as a factory would report it: f off by a fraction, the centre by pixels."""
    both = 1.0 + rng.normal(0.0, focal)
    x, y = rng.normal(0.0, centre_px, 2)
    return replace(
        lens,
        fx_px=lens.fx_px * both,
        fy_px=lens.fy_px * both,
        cx_px=lens.cx_px + x,
        cy_px=lens.cy_px + y,
    )
