"""Simulated calibration sessions with known truth: geometry only, no images, about a second each.

Board corners are projected through each unit's true lens and get pixel noise; the session holds a
lens that is wrong by what a factory leaves. Depth is cast at the true lens and spoilt as a
time-of-flight unit would. The random streams of rig, board, corners, depth and spoiler are apart:
the same seed with another noise setting shows the same rig. The table is bare while the board is
shown; the objects come with the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from mvista_calibration.records import (
    Board,
    BoardView,
    DepthImage,
    GripperPose,
    Session,
    SessionCamera,
    WorkspaceBox,
)
from mvista_calibration_sim.poses import (
    COLOUR_PX,
    GREATEST_TILT_RAD,
    gripper_from_board,
    held_by_arm,
    held_by_hand,
    mounted,
    nominal_intrinsics,
    notes_cameras,
    scattered,
    sim_cell_cameras,
    tilts_rad,
)
from mvista_calibration_sim.shapes import Box, PixelRays, Solid, cast, cast_onto, table_and_objects
from mvista_calibration_sim.tof_depth import DepthSettings, TofUnit, measure
from mvista_calibration_sim.world import SPOILERS, World, spoil_session, spoil_world
from mvista_core.arm import ArmModel
from mvista_core.errors import CalibrationError
from mvista_core.geometry import exp_so3, invert, pose_from, transform_points
from mvista_core.records import Float64, Intrinsics

A4_BOARD = Board(7, 5, 0.030, 0.022)
LARGE_BOARD = Board(14, 9, 0.040, 0.030)
BOARD_MARGIN_M = 0.01
FEWEST_CORNERS = 8
SHOT_NS = 2_000_000_000


@dataclass(frozen=True)
class SessionSettings:
    """What is simulated; the defaults are an A4 board, 4K images and factory intrinsics errors.

    `rig` is "notes" (1 m away, 140 deg wide) or "sim_cell" (the demo cell's own). With `arm` the
    board is bolted to its flange and the session has gripper poses with the arm's error;
    without, it is held by hand. Intrinsics errors: `focal_error` is relative, `centre_error_px` at
    3840 wide. `depth_width_px` is 640 for speed; a Femto Bolt's usual one is 1280.
    """

    rig: str = "notes"
    board: Board = A4_BOARD
    shots: int = 15
    arm: ArmModel | None = None
    corner_noise_px: float = 0.3
    focal_error: float = 0.001
    centre_error_px: float = 2.0
    unit_scatter: float = 0.003
    board_scale_sd: float = 0.0003
    arm_error_m: float = 0.001
    arm_error_rad: float = float(np.deg2rad(0.1))
    depth_width_px: int = 640
    depth: DepthSettings = field(default_factory=DepthSettings)

    def __post_init__(self) -> None:
        if self.rig not in ("notes", "sim_cell"):
            raise CalibrationError(f"no simulated rig '{self.rig}'; there are notes, sim_cell")
        if COLOUR_PX[0] % self.depth_width_px or COLOUR_PX[1] * self.depth_width_px % COLOUR_PX[0]:
            raise CalibrationError(
                f"depth {self.depth_width_px} px wide does not divide 3840x2160; use 640 or 1280"
            )


@dataclass(frozen=True)
class SimulationTruth:
    """What the session was made from.

    `reference_from_camera` [C, 4, 4] and `base_from_reference` hold while the board was shown;
    `scene_reference_from_camera` when the scene was taken (other only where a camera was bumped).
    `depth_offset_m` and `depth_scale` [C] are the units' own, in the sense of `DepthBias`.
    `intrinsics` are the true lenses, at colour resolution.
    """

    reference_from_camera: Float64
    scene_reference_from_camera: Float64
    base_from_reference: Float64
    base_from_board: Float64
    gripper_from_board: Float64 | None
    depth_offset_m: Float64
    depth_scale: Float64
    intrinsics: tuple[Intrinsics, ...]
    shapes: tuple[Solid, ...]
    spoil: str
    detail: str


@dataclass(frozen=True)
class SimulatedSession:
    """A session as calibration gets it, and the truth to judge the answer by."""

    session: Session
    truth: SimulationTruth


def simulate_session(
    seed: int, settings: SessionSettings | None = None, spoil: str | None = None
) -> SimulatedSession:
    """Make one session; `spoil` is one of `SPOILERS` or None.

    Raises:
        CalibrationError: an unknown spoiler, or no board poses that the cameras can see.
    """
    settings = settings or SessionSettings()
    if spoil is not None and spoil not in SPOILERS:
        raise CalibrationError(f"no spoiler '{spoil}'; there are {', '.join(SPOILERS)}")
    rigs, boards, corners, depths, spoils = (
        np.random.default_rng([seed, stream]) for stream in range(5)
    )
    world, mount, flanges = _world(settings, rigs, boards)
    if spoil is not None:
        spoil_world(world, spoil, spoils)
    cameras = _reported_cameras(world, settings, rigs)
    views = _views(world, settings, cameras, corners)
    shapes = table_and_objects(depths, np.array([0.35, 0.0]))
    units = [TofUnit.drawn(settings.depth, depths) for _ in cameras]
    board_depth, scene = _depth(world, settings, cameras, units, shapes, views, depths)
    session = Session(
        f"simulated {seed}", settings.board, cameras, views, board_depth, scene,
        _gripper_poses(flanges, world, settings, boards), None,
        WorkspaceBox((0.05, -0.3, 0.0), (0.65, 0.3, 0.3)), 60.0,
    )  # fmt: skip
    session, detail = spoil_session(session, spoil or "", spoils)
    truth = _truth(world, mount, units, shapes, world.detail or detail)
    return SimulatedSession(session, truth)


def _world(
    settings: SessionSettings, rigs: np.random.Generator, boards: np.random.Generator
) -> tuple[World, Float64 | None, Float64 | None]:
    planned = notes_cameras() if settings.rig == "notes" else sim_cell_cameras()
    cameras = mounted(planned, rigs)
    lens = nominal_intrinsics(settings.rig)
    lenses = tuple(scattered(lens, settings.unit_scatter, 15.0, rigs) for _ in cameras)
    mount: Float64 | None = None
    flanges: Float64 | None = None
    if settings.arm is not None:
        mount = gripper_from_board(settings.board, boards)
        flanges = held_by_arm(settings.arm, mount, settings.board, cameras, settings.shots, boards)
        base_from_board = flanges @ mount
    else:
        base_from_board = held_by_hand(settings.board, cameras, settings.shots, boards)
    count, shots = len(cameras), settings.shots
    scale = 1.0 + boards.normal(0.0, settings.board_scale_sd)
    world = World(
        lenses, cameras, cameras.copy(), np.tile(base_from_board, (count, 1, 1, 1)),
        np.full(shots, scale), np.ones((count, shots), dtype=bool),
        np.full(count, settings.corner_noise_px), boards.uniform(1.6, 2.6, count),
    )  # fmt: skip
    return world, mount, flanges


def _reported_cameras(
    world: World, settings: SessionSettings, rng: np.random.Generator
) -> tuple[SessionCamera, ...]:
    factor = settings.depth_width_px / COLOUR_PX[0]
    cameras = []
    for index, true in enumerate(world.intrinsics):
        reported = scattered(true, settings.focal_error, settings.centre_error_px, rng)
        cameras.append(
            SessionCamera(f"cam{index}", reported, reported.scaled(factor), f"SIM{index}")
        )
    return tuple(cameras)


def _views(
    world: World,
    settings: SessionSettings,
    cameras: tuple[SessionCamera, ...],
    rng: np.random.Generator,
) -> tuple[BoardView, ...]:
    views = []
    for index, camera in enumerate(cameras):
        poses = world.base_from_board[index]
        tilt = tilts_rad(poses, settings.board, world.base_from_camera[index : index + 1])[:, 0]
        for shot in range(len(poses)):
            ids, pixels = _corners(world, settings.board, index, shot)
            keep = rng.random(len(ids)) > 0.02
            noise = rng.normal(0.0, world.corner_noise_px[index], pixels.shape)
            blur = float(world.blur_px[index] * rng.uniform(0.9, 1.1))
            usable = world.seen[index, shot] and tilt[shot] < GREATEST_TILT_RAD
            if usable and keep.sum() >= FEWEST_CORNERS:
                view = BoardView(
                    camera.name, shot, ids[keep], (pixels + noise)[keep], blur, shot * SHOT_NS
                )
                views.append(view)
    return tuple(views)


def _corners(
    world: World, board: Board, camera: int, shot: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Float64]:
    """Ids and true pixels [N, 2] of the corners that fall into the image."""
    lens = world.intrinsics[camera]
    camera_from_board = invert(world.base_from_camera[camera]) @ world.base_from_board[camera, shot]
    points = transform_points(camera_from_board, board.corners_m * world.square_scale[shot])
    ahead = (points[:, 2] > 0.1) & (np.abs(points[:, :2]).max(axis=1) < points[:, 2])
    points = np.where(ahead[:, None], points, [0.0, 0.0, 1.0])
    pixels, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion)
    )
    pixels = pixels.reshape(-1, 2)
    edge = 6.0
    inside = (pixels > edge).all(axis=1) & (
        pixels < [lens.width_px - edge, lens.height_px - edge]
    ).all(axis=1)
    ids = np.nonzero(ahead & inside)[0].astype(np.int64)
    return ids, np.asarray(pixels[ids], dtype=np.float64)


def _gripper_poses(
    flanges: Float64 | None, world: World, settings: SessionSettings, rng: np.random.Generator
) -> tuple[GripperPose, ...]:
    """What the arm reports: the true flange with the arm's own error."""
    if flanges is None:
        return ()
    reported = []
    for shot, flange in enumerate(flanges):
        turn = exp_so3(rng.normal(0.0, settings.arm_error_rad, 3))
        shift = rng.normal(0.0, settings.arm_error_m, 3)
        if world.seen[:, shot].any():
            pose = pose_from(turn @ flange[:3, :3], flange[:3, 3] + shift)
            reported.append(GripperPose(shot, pose))
    return tuple(reported)


def _depth(
    world: World,
    settings: SessionSettings,
    cameras: tuple[SessionCamera, ...],
    units: list[TofUnit],
    shapes: tuple[Solid, ...],
    views: tuple[BoardView, ...],
    rng: np.random.Generator,
) -> tuple[tuple[DepthImage, ...], tuple[DepthImage, ...]]:
    factor = settings.depth_width_px / COLOUR_PX[0]
    board_depth, scene = [], []
    for index, camera in enumerate(cameras):
        lens = world.intrinsics[index].scaled(factor)
        rays = pixel_rays(lens)
        fixed = settings.depth.fixed_pattern_m * rng.standard_normal(rays.shape[:2])
        before = PixelRays(world.base_from_camera[index], rays, lens.matrix)
        exact = cast(before, shapes[:1])
        empty = measure(exact, rays, units[index], settings.depth, rng, fixed)
        for view in (view for view in views if view.camera == camera.name):
            whole, shot = exact.copy(), view.shot
            plate = _plate(world.base_from_board[index, shot], settings.board)
            window = cast_onto(whole, before, plate)
            image = empty.copy()
            if window is not None:
                near = np.where(whole[window] < exact[window], 1.0, 0.0)
                dark = near * _ink(world, settings.board, index, shot, before, window)
                image[window] = measure(
                    whole[window], rays[window], units[index], settings.depth, rng, fixed[window],
                    dark,
                )  # fmt: skip
            board_depth.append(DepthImage(camera.name, shot, image, settings.depth.frames))
        after = PixelRays(world.scene_base_from_camera[index], rays, lens.matrix)
        depth = measure(cast(after, shapes), rays, units[index], settings.depth, rng, fixed)
        scene.append(DepthImage(camera.name, -1, depth, settings.depth.frames))
    return tuple(board_depth), tuple(scene)


def pixel_rays(lens: Intrinsics) -> Float64:
    """Rays [H, W, 3] with z = 1 through all pixel centres of a distorting lens."""
    u, v = np.meshgrid(np.arange(lens.width_px), np.arange(lens.height_px))
    pixels = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float64)
    distortion = np.array(lens.distortion) if lens.distortion else None
    flat = cv2.undistortPoints(pixels.reshape(-1, 1, 2), lens.matrix, distortion).reshape(-1, 2)
    rays = np.column_stack([flat, np.ones(len(flat))])
    return np.asarray(rays.reshape(lens.height_px, lens.width_px, 3))


def _plate(base_from_board: Float64, board: Board) -> Box:
    """The board as a plate of 3 mm, its printed face at the board frame's z = 0."""
    width, height = board.size_m
    half = np.array([width / 2 + BOARD_MARGIN_M, height / 2 + BOARD_MARGIN_M, 0.0015])
    middle = pose_from(np.eye(3), np.array([width / 2, height / 2, half[2]]))
    return Box(base_from_board @ middle, half)


def _ink(
    world: World, board: Board, camera: int, shot: int, view: PixelRays, window: tuple[slice, slice]
) -> Float64:
    """Share of black in each pixel of the window: 1 in black squares, 0.5 in markers."""
    board_from_camera = invert(world.base_from_board[camera, shot]) @ view.base_from_camera
    rays = view.rays[window] @ board_from_camera[:3, :3].T
    start = board_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        points = start[:2] - start[2] / rays[..., 2:] * rays[..., :2]
    squares = points / (board.square_m * world.square_scale[shot])
    inside = ((squares > 0) & (squares < [board.squares_x, board.squares_y])).all(axis=-1)
    cell = np.floor(np.where(inside[..., None], squares, 0.0))
    black = cell.sum(axis=-1) % 2 == 0
    within = np.abs(squares - cell - 0.5).max(axis=-1) < board.marker_m / board.square_m / 2
    return np.where(inside, np.where(black, 1.0, np.where(within, 0.5, 0.0)), 0.0)


def _truth(
    world: World,
    mount: Float64 | None,
    units: list[TofUnit],
    shapes: tuple[Solid, ...],
    detail: str,
) -> SimulationTruth:
    reference = world.base_from_camera[0]
    return SimulationTruth(
        invert(reference) @ world.base_from_camera,
        invert(world.scene_base_from_camera[0]) @ world.scene_base_from_camera,
        reference,
        world.base_from_board[0],
        mount,
        np.array([unit.offset_m for unit in units]),
        np.array([1.0 + unit.scale_error for unit in units]),
        world.intrinsics,
        shapes,
        world.spoil,
        detail,
    )
