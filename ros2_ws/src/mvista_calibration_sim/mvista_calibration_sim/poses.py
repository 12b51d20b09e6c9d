"""Where the cameras of a simulated calibration stand, and where its board is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mvista_calibration.records import Board
from mvista_core.arm import ArmModel
from mvista_core.errors import CalibrationError
from mvista_core.geometry import exp_so3, invert, look_at, pose_from, transform_points
from mvista_core.records import Float64, Intrinsics
from mvista_sim.rig_file import CENTRE_M, sim_rig

COLOUR_PX = (3840, 2160)
# A wide lens of a Femto Bolt kind; the unit's own values scatter around it.
NOTES_FOCAL_PX = 2288.0
DISTORTION = (0.079, -0.108, 0.0003, -0.0002, 0.046)
GREATEST_TILT_RAD = np.deg2rad(68.0)
BOARD_BEYOND_FLANGE_M = 0.17
WELL_INSIDE = (0.65, 0.36)  # tangents of 80 degrees by 50, less a quarter


def notes_cameras() -> Float64:
    """`base_from_camera` [4, 4, 4]: 1 m from the workspace's centre, 0.65 m high, 140 deg wide.

    Azimuths 20 to 160 deg, turned so that the robot looks at the middle of the arc.
    """
    centre = np.array([0.35, 0.0, 0.1])
    height = 0.65
    reach = float(np.sqrt(1.0 - (height - centre[2]) ** 2))
    poses = []
    for azimuth in np.deg2rad(np.linspace(20.0, 160.0, 4) - 90.0):
        eye = np.array(
            [centre[0] + reach * np.cos(azimuth), centre[1] + reach * np.sin(azimuth), height]
        )
        poses.append(look_at(eye, centre))
    return np.stack(poses)


def sim_cell_cameras() -> Float64:
    """`base_from_camera` [4, 4, 4] of the simulated cell's own rig."""
    return np.stack([camera.base_from_camera for camera in sim_rig("").cameras])


def nominal_intrinsics(rig: str) -> Intrinsics:
    """The lens both rigs have at 3840x2160, before a unit's own scatter."""
    focal = NOTES_FOCAL_PX
    if rig == "sim_cell":
        focal = sim_rig("").cameras[0].intrinsics.fx_px * 12
    width, height = COLOUR_PX
    return Intrinsics(width, height, focal, focal, width / 2, height / 2, DISTORTION)


def gripper_from_board(board: Board, rng: np.random.Generator) -> Float64:
    """A board bolted in front of the flange, its face looking away from it, not quite straight."""
    facing = np.diag([1.0, -1.0, -1.0]) @ exp_so3(rng.normal(0.0, np.deg2rad(3.0), 3))
    centre = np.array([0.0, 0.0, BOARD_BEYOND_FLANGE_M]) + rng.normal(0.0, 0.005, 3)
    return pose_from(facing, centre - facing @ _middle(board))


def held_by_arm(
    arm: ArmModel, mount: Float64, board: Board, cameras: Float64, count: int,
    rng: np.random.Generator,
) -> Float64:  # fmt: skip
    """`base_from_gripper` [count, 4, 4] within the joint limits; the first is seen best by all."""

    def draw() -> Float64:
        return _flanges(arm, rng.uniform(arm.lower[:6], arm.upper[:6], (4000, 6))) @ mount

    return _chosen(draw, board, cameras, count, rng) @ invert(mount)


def joints_holding(
    arm: ArmModel, mount: Float64, board: Board, cameras: Float64, count: int,
    rng: np.random.Generator,
) -> Float64:  # fmt: skip
    """Joint positions [count, 6] of poses chosen as `held_by_arm` does."""
    drawn: list[Float64] = []

    def draw() -> Float64:
        drawn.append(rng.uniform(arm.lower[:6], arm.upper[:6], (4000, 6)))
        return _flanges(arm, drawn[-1]) @ mount

    chosen = _chosen(draw, board, cameras, count, rng)
    joints = np.concatenate(drawn)
    boards = _flanges(arm, joints) @ mount
    found = [int(np.abs(boards - pose).max(axis=(1, 2)).argmin()) for pose in chosen]
    return np.asarray(joints[found])


def held_by_hand(board: Board, cameras: Float64, count: int, rng: np.random.Generator) -> Float64:
    """`base_from_board` [count, 4, 4] over the workspace; the first is seen best by all."""
    towards = _unit(cameras[:, :3, 3] - np.array(CENTRE_M)).mean(axis=0)

    def draw() -> Float64:
        return np.stack([_by_hand(board, towards, rng) for _ in range(12 * count)])

    return _chosen(draw, board, cameras, count, rng)


def _chosen(
    draw: Callable[[], Float64], board: Board, cameras: Float64, count: int,
    rng: np.random.Generator,
) -> Float64:  # fmt: skip
    """`count` well spread poses that three cameras see, or two where three cannot."""
    wanted = min(3, len(cameras))
    poses, seen = np.zeros((0, 4, 4)), np.zeros(0, dtype=np.int64)
    for _ in range(30):
        more = draw()
        poses = np.concatenate([poses, more])
        seen = np.concatenate([seen, _cameras_seeing(more, board, cameras)])
        if (seen >= wanted).sum() >= 8 * count:
            break
    enough = wanted if (seen >= wanted).sum() >= 3 * count else min(2, len(cameras))
    kept = poses[seen >= enough]
    if len(kept) < count:
        raise CalibrationError(
            f"only {len(kept)} of {count} board poses found that {enough} cameras see; use a "
            "smaller board or fewer shots"
        )
    return np.asarray(kept[_spread(kept, board, cameras, count, rng)])


def tilts_rad(base_from_board: Float64, board: Board, cameras: Float64) -> Float64:
    """Angle between the board's face and the direction to each camera, [N, C]."""
    centres = transform_points_many(base_from_board, _middle(board))
    sight = _unit(cameras[None, :, :3, 3] - centres[:, None])
    face = -base_from_board[:, None, :3, 2]
    return np.arccos((sight * face).sum(axis=-1).clip(-1.0, 1.0))


def transform_points_many(poses: Float64, point: Float64) -> Float64:
    """One point [3] by many poses [N, 4, 4]: [N, 3]."""
    return np.asarray(poses[:, :3, :3] @ point + poses[:, :3, 3])


def _by_hand(board: Board, towards: Float64, rng: np.random.Generator) -> Float64:
    """A pose that faces the cameras' middle, tilted by up to about 40 deg and rolled at will."""
    away = -_unit(towards)
    side = _unit(np.cross(away, [0.0, 0.0, 1.0]))
    upright = np.column_stack([side, np.cross(away, side), away])
    roll = exp_so3(np.array([0.0, 0.0, rng.uniform(-np.pi, np.pi)]))
    turn = exp_so3(rng.normal(0.0, np.deg2rad(22.0), 3))
    centre = np.array([0.35, 0.0, 0.22]) + rng.uniform(-1, 1, 3) * [0.2, 0.22, 0.14]
    rotation = turn @ upright @ roll
    return pose_from(rotation, centre - rotation @ _middle(board))


def _cameras_seeing(
    base_from_board: Float64, board: Board, cameras: Float64
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How many cameras see each pose [N] from the front, well inside the image.

    Poses outside the workspace or cutting the table count as seen by none.
    """
    width, height = board.size_m
    outline = np.array([[0, 0, 0], [width, 0, 0], [0, height, 0], [width, height, 0]])
    corners = np.stack([transform_points_many(base_from_board, p) for p in outline], axis=1)
    centres = corners.mean(axis=1)
    inside = (centres > [0.12, -0.35, 0.05]).all(axis=1) & (centres < [0.62, 0.35, 0.5]).all(axis=1)
    inside &= corners[:, :, 2].min(axis=1) > 0.02
    seen = tilts_rad(base_from_board, board, cameras) < GREATEST_TILT_RAD - np.deg2rad(6.0)
    for index, pose in enumerate(cameras):
        points = transform_points(invert(pose), centres)
        with np.errstate(divide="ignore", invalid="ignore"):
            tangents = np.abs(points[:, :2] / points[:, 2:])
        seen[:, index] &= (points[:, 2] > 0.2) & (tangents < WELL_INSIDE).all(axis=1)
    return np.asarray(np.where(inside, seen.sum(axis=1), 0))


def _spread(
    poses: Float64, board: Board, cameras: Float64, count: int, rng: np.random.Generator
) -> list[int]:
    """The pose that all cameras see best, then each time the one farthest from those chosen."""
    candidates = rng.permutation(len(poses))[: 8 * count]
    worst = tilts_rad(poses[candidates], board, cameras).max(axis=1)
    chosen = [int(candidates[np.argmin(worst)])]
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < count:
        last = poses[chosen[-1]]
        cosine = (np.einsum("nij,ij->n", poses[candidates, :3, :3], last[:3, :3]) - 1) / 2
        away = np.linalg.norm(poses[candidates, :3, 3] - last[:3, 3], axis=1)
        nearest = np.minimum(nearest, np.arccos(cosine.clip(-1, 1)) + away / 0.3)
        chosen.append(int(candidates[np.argmax(nearest)]))
    return chosen


def _flanges(arm: ArmModel, joints: Float64) -> Float64:
    """Forward kinematics of many configurations [N, 6]: [N, 4, 4]."""
    poses = np.tile(np.eye(4), (len(joints), 1, 1))
    for index, row in enumerate(arm.dh):
        theta = joints[:, index] + row.theta_offset_rad
        ct, st = np.cos(theta), np.sin(theta)
        ca, sa = np.cos(row.alpha_rad), np.sin(row.alpha_rad)
        step = np.zeros((len(joints), 4, 4))
        step[:, 0, 0], step[:, 0, 1], step[:, 0, 3] = ct, -st, row.a_m
        step[:, 1, 0], step[:, 1, 1] = st * ca, ct * ca
        step[:, 1, 2], step[:, 1, 3] = -sa, -sa * row.d_m
        step[:, 2, 0], step[:, 2, 1] = st * sa, ct * sa
        step[:, 2, 2], step[:, 2, 3] = ca, ca * row.d_m
        step[:, 3, 3] = 1.0
        poses = poses @ step
    return poses


def _middle(board: Board) -> Float64:
    width, height = board.size_m
    return np.array([width / 2, height / 2, 0.0])


def _unit(vectors: Float64) -> Float64:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def mounted(planned: Float64, rng: np.random.Generator) -> Float64:
    """Cameras [C, 4, 4] as they are put up: nobody mounts one exactly where it was planned."""
    cameras = planned.copy()
    for pose in cameras:
        pose[:3, :3] = exp_so3(rng.normal(0.0, np.deg2rad(1.5), 3)) @ pose[:3, :3]
        pose[:3, 3] += rng.normal(0.0, 0.01, 3)
    return cameras


def scattered(
    lens: Intrinsics, focal: float, centre_px: float, rng: np.random.Generator
) -> Intrinsics:
    """The lens with relative focal and absolute centre errors (fx and fy nearly together)."""
    both, apart = rng.normal(0.0, focal), rng.normal(0.0, focal / 5)
    return replace(
        lens,
        fx_px=lens.fx_px * (1 + both + apart),
        fy_px=lens.fy_px * (1 + both - apart),
        cx_px=lens.cx_px + float(rng.normal(0.0, centre_px)),
        cy_px=lens.cy_px + float(rng.normal(0.0, centre_px)),
    )
