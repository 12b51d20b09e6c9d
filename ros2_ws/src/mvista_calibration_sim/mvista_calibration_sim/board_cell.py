"""A calibration session rendered in the cell: the board in the gripper, 4K colour, ToF depth.

    mvista calibrate simulate build/calibration/session --seed 0

Unlike `sessions`, which projects corners, this one draws images, so that detection is
in the chain. Every unit has a lens of its own, known to the session only with the factory's error,
and a depth sensor of its own. `truth.yaml` beside the session says what was true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.random import Generator

from mvista_calibration.board.pattern import board_image
from mvista_calibration.records import Board, DepthImage, SessionCamera
from mvista_calibration.session.layout import BoardShot, SessionHeader, ShotImage, write_yaml
from mvista_calibration.session.writer import write_session
from mvista_calibration_sim.poses import (
    COLOUR_PX,
    gripper_from_board,
    joints_holding,
    mounted,
    nominal_intrinsics,
    scattered,
    sim_cell_cameras,
)
from mvista_calibration_sim.sessions import A4_BOARD, SHOT_NS, pixel_rays
from mvista_calibration_sim.tof_depth import DepthSettings, TofUnit, measure
from mvista_core.arm import ArmModel
from mvista_core.errors import CalibrationError
from mvista_core.geometry import exp_so3, invert, pose_from, quaternion_xyzw
from mvista_core.records import CameraCalibration, Float32, Float64, Intrinsics, UInt8
from mvista_sim.rig_file import sim_rig
from mvista_sim.scene import scene_xml
from mvista_sim.tasks import make_layout

TEXTURE_PX = 128
"""Of one square; a square of 30 mm at 0.7 m is 96 px of a 4K image."""
MARGIN_M = 0.01
THICKNESS_M = 0.003
GRIPPER, TABLE = "gripper", "table"
AWAY = (0.0, 0.0, -1.0)
"""Where the board is when it is away: under the floor, which hides it."""


@dataclass(frozen=True)
class CellSession:
    """What to render. `colour_width_px` 3840 is the paper's; smaller ones serve quick tests.

    `board_at` is gripper (eye-to-hand) or table (somewhere flat, no gripper poses).
    """

    seed: int = 0
    board: Board = A4_BOARD
    shots: int = 15
    board_at: str = GRIPPER
    colour_width_px: int = COLOUR_PX[0]
    depth_width_px: int = 1280
    focal_error: float = 0.001
    centre_error_px: float = 2.0
    arm_error_m: float = 0.001
    arm_error_rad: float = float(np.deg2rad(0.1))
    image_noise: float = 1.5
    depth: DepthSettings = field(default_factory=DepthSettings)

    def __post_init__(self) -> None:
        if self.board_at not in (GRIPPER, TABLE):
            raise CalibrationError(f"board_at is '{self.board_at}'; allowed: gripper, table")
        for width in (self.colour_width_px, self.depth_width_px):
            if width < 320 or COLOUR_PX[0] % width or COLOUR_PX[1] * width % COLOUR_PX[0]:
                raise CalibrationError(
                    f"images {width} px wide do not divide 3840x2160; use 3840, 1920, 1280 or 640"
                )
        if self.shots < 1:
            raise CalibrationError(f"{self.shots} shots; at least 1")


@dataclass(frozen=True)
class CellTruth:
    """True lenses at colour resolution, poses, depth units; joints [shots, 6] at the shots."""

    lenses: tuple[Intrinsics, ...]
    base_from_camera: Float64
    base_from_board: Float64
    gripper_from_board: Float64 | None
    joints: Float64
    units: tuple[TofUnit, ...]


class BoardCell:
    """The cell with a board that can be put anywhere, drawn at any resolution."""

    def __init__(self, arm: ArmModel, board: Board, seed: int, poses: Float64) -> None:
        self._board, self._arm = board, arm
        names = sim_rig("").names
        self.names = names
        lens = nominal_intrinsics("sim_cell")
        cameras = tuple(CameraCalibration(n, p, lens) for n, p in zip(names, poses, strict=True))
        xml = scene_xml(make_layout("put_orange", seed), arm, replace(sim_rig(""), cameras=cameras))
        self.model = mujoco.MjModel.from_xml_string(_with_board(xml, board), _assets(board))
        self.data = mujoco.MjData(self.model)
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        # Finding where each pixel comes from takes longer than drawing the picture: once per lens.
        self._sources: dict[Intrinsics, tuple[Float32, Float32]] = {}
        self._joints = [int(self.model.joint(n).qposadr[0]) for n in arm.joint_names[:-1]]
        self.put(None, arm.home[:6])

    def put(self, base_from_board: Float64 | None, joints: Float64) -> None:
        """Place the board (None: out of sight) and the arm's joints [6]."""
        index = int(self.model.body("board").mocapid[0])
        pose = pose_from(np.eye(3), np.array(AWAY)) if base_from_board is None else base_from_board
        x, y, z, w = quaternion_xyzw(pose[:3, :3])
        self.data.mocap_pos[index] = pose[:3, 3]
        self.data.mocap_quat[index] = (w, x, y, z)
        self.data.qpos[self._joints] = joints
        mujoco.mj_forward(self.model, self.data)

    def color(self, camera: str, lens: Intrinsics) -> UInt8:
        """uint8 RGB [H, W, 3] through `lens`, its distortion included."""
        renderer = self._renderer(camera, lens)
        return np.asarray(self._distorted(renderer.render(), lens, cv2.INTER_CUBIC), dtype=np.uint8)

    def depth(self, camera: str, lens: Intrinsics) -> Float64:
        """Exact depth along the optical axis [H, W], m."""
        renderer = self._renderer(camera, lens)
        renderer.enable_depth_rendering()
        try:
            exact = renderer.render().astype(np.float32)
        finally:
            renderer.disable_depth_rendering()
        return np.asarray(self._distorted(exact, lens, cv2.INTER_NEAREST), dtype=np.float64)

    def close(self) -> None:
        """Free the GL contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _distorted(self, image: Any, lens: Intrinsics, how: int) -> Any:
        """A pinhole image as a distorting lens with the same matrix shows it."""
        if not lens.distortion:
            return image
        if lens not in self._sources:
            self._sources[lens] = _pinhole_pixels(lens)
        u, v = self._sources[lens]
        return cv2.remap(image, u, v, how, borderMode=cv2.BORDER_REPLICATE)

    def _renderer(self, camera: str, lens: Intrinsics) -> mujoco.Renderer:
        size = (lens.height_px, lens.width_px)
        if size not in self._renderers:
            renderer = mujoco.Renderer(self.model, *size)
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[flag] = False
            self._renderers[size] = renderer
        index = self.model.camera(camera).id
        sensor = self.model.cam_sensorsize[index]
        pixel = sensor / (lens.width_px, lens.height_px)
        self.model.cam_intrinsic[index] = (
            *(np.array([lens.fx_px, lens.fy_px]) * pixel),
            ((lens.width_px - 1) / 2 - lens.cx_px) * pixel[0],
            ((lens.height_px - 1) / 2 - lens.cy_px) * pixel[1],
        )
        self.model.cam_resolution[index] = (lens.width_px, lens.height_px)
        self._renderers[size].update_scene(self.data, camera)
        return self._renderers[size]


def render_session(folder: Path | str, wanted: CellSession, arm: ArmModel) -> CellTruth:
    """Render a session into `folder` and the truth into `folder`/truth.yaml.

    Raises:
        CalibrationError: no board poses that the cameras can see, or the folder is another one's.
    """
    truth, cameras, rng = draw_truth(wanted, arm)
    settings = SessionHeader(f"cell {wanted.seed}", wanted.board, cameras, warm_up_minutes=60.0)
    if wanted.board_at == TABLE:
        settings = replace(settings, base_from_board=truth.base_from_board[0])
    cell = BoardCell(arm, wanted.board, wanted.seed, truth.base_from_camera)
    sensors = depth_sensors(wanted, truth)
    try:
        shots = _shots(cell, wanted, truth, arm, sensors, rng)
        writer = write_session(folder, settings, shots)
        cell.put(None, arm.home[:6])
        scene = [
            DepthImage(
                name,
                -1,
                sensor.measure(cell.depth(name, sensor.lens), wanted.depth, rng),
                wanted.depth.frames,
            )
            for name, sensor in zip(cell.names, sensors, strict=True)
        ]
        writer.write_scene(scene)
    finally:
        cell.close()
    write_truth(Path(folder) / "truth.yaml", truth)
    return truth


def draw_truth(
    wanted: CellSession, arm: ArmModel
) -> tuple[CellTruth, tuple[SessionCamera, ...], Generator]:
    """What is so, the cameras as their factories describe them, and the generator to go on with.

    Raises:
        CalibrationError: no board poses that the cameras can see.
    """
    rng = np.random.default_rng([wanted.seed, 3])
    truth = _truth(wanted, arm, rng)
    factor = wanted.depth_width_px / wanted.colour_width_px
    cameras = tuple(
        SessionCamera(f"cam{index}", reported, reported.scaled(factor), f"SIM{index}")
        for index, lens in enumerate(truth.lenses)
        for reported in [_reported(lens, wanted, rng)]
    )
    return truth, cameras, rng


def write_truth(path: Path, truth: CellTruth) -> None:
    """The truth as YAML."""
    write_yaml(path, _document(truth))


def _truth(wanted: CellSession, arm: ArmModel, rng: Generator) -> CellTruth:
    cameras = mounted(sim_cell_cameras(), rng)
    nominal = nominal_intrinsics("sim_cell")
    lenses = tuple(
        scattered(nominal, 0.003, 15.0, rng).scaled(wanted.colour_width_px / COLOUR_PX[0])
        for _ in cameras
    )
    units = tuple(TofUnit.drawn(wanted.depth, rng) for _ in cameras)
    if wanted.board_at == TABLE:
        joints = np.tile(arm.home[:6], (wanted.shots, 1))
        boards = np.stack([_on_table(wanted.board, rng) for _ in range(wanted.shots)])
        return CellTruth(lenses, cameras, boards, None, joints, units)
    mount = gripper_from_board(wanted.board, rng)
    joints = joints_holding(arm, mount, wanted.board, cameras, wanted.shots, rng)
    boards = np.stack([arm.base_from_flange(q) @ mount for q in joints])
    return CellTruth(lenses, cameras, boards, mount, joints, units)


def _on_table(board: Board, rng: Generator) -> Float64:
    """Flat, face up, 5 mm above the table: the board frame's z looks down."""
    facing = exp_so3(np.array([0.0, 0.0, rng.uniform(-np.pi, np.pi)])) @ np.diag([1.0, -1.0, -1.0])
    width, height = board.size_m
    place = np.array([*rng.uniform([0.28, -0.12], [0.42, 0.12]), 0.005])
    return pose_from(facing, place - facing @ np.array([width / 2, height / 2, 0.0]))


def _shots(
    cell: BoardCell,
    wanted: CellSession,
    truth: CellTruth,
    arm: ArmModel,
    sensors: tuple[CellSensor, ...],
    rng: Generator,
) -> Iterator[BoardShot]:
    for shot, (board, joints) in enumerate(zip(truth.base_from_board, truth.joints, strict=True)):
        cell.put(board, joints)
        images = []
        for name, lens, sensor in zip(cell.names, truth.lenses, sensors, strict=True):
            color = cell.color(name, lens).astype(np.float32)
            color += wanted.image_noise * rng.standard_normal(color.shape, dtype=np.float32)
            depth = sensor.measure(cell.depth(name, sensor.lens), wanted.depth, rng)
            seen = np.clip(color, 0, 255).astype(np.uint8)
            images.append(ShotImage(name, seen, depth, shot * SHOT_NS, wanted.depth.frames))
        gripper = None
        if truth.gripper_from_board is not None:
            flange = arm.base_from_flange(joints)
            turn = exp_so3(rng.normal(0.0, wanted.arm_error_rad, 3))
            shift = rng.normal(0.0, wanted.arm_error_m, 3)
            gripper = pose_from(turn @ flange[:3, :3], flange[:3, 3] + shift)
        named = tuple((n, float(q)) for n, q in zip(arm.joint_names, joints, strict=False))
        yield BoardShot(tuple(images), gripper, named)


@dataclass(frozen=True)
class CellSensor:
    """One camera's depth sensor: its rays [H, W, 3], its errors, the pattern [H, W] of its own."""

    lens: Intrinsics
    rays: Float64
    unit: TofUnit
    fixed_m: Float64

    def measure(self, exact_m: Float64, settings: DepthSettings, rng: Generator) -> Float32:
        """What it makes of exact depth [H, W] m: the mean of `settings.frames`."""
        return measure(exact_m, self.rays, self.unit, settings, rng, self.fixed_m)


def depth_sensors(wanted: CellSession, truth: CellTruth) -> tuple[CellSensor, ...]:
    """The depth sensors of all cameras."""
    factor = wanted.depth_width_px / wanted.colour_width_px
    sensors = []
    for index, (lens, unit) in enumerate(zip(truth.lenses, truth.units, strict=True)):
        small = lens.scaled(factor)
        shape = (small.height_px, small.width_px)
        pattern = np.random.default_rng([wanted.seed, 5, index]).standard_normal(shape)
        fixed_m = wanted.depth.fixed_pattern_m * pattern
        sensors.append(CellSensor(small, pixel_rays(small), unit, fixed_m))
    return tuple(sensors)


def _reported(lens: Intrinsics, wanted: CellSession, rng: Generator) -> Intrinsics:
    """What the factory says of the true lens; `centre_error_px` is at 3840 px."""
    scale = lens.width_px / COLOUR_PX[0]
    return scattered(lens, wanted.focal_error, wanted.centre_error_px * scale, rng)


def _pinhole_pixels(lens: Intrinsics) -> tuple[Float32, Float32]:
    """Where in a pinhole image with the same matrix each pixel lies: u [H, W] and v [H, W]."""
    rays = pixel_rays(lens)
    u = (rays[..., 0] * lens.fx_px + lens.cx_px).astype(np.float32)
    v = (rays[..., 1] * lens.fy_px + lens.cy_px).astype(np.float32)
    return u, v


def _assets(board: Board) -> dict[str, bytes]:
    """The pattern as a PNG."""
    done, encoded = cv2.imencode(".png", board_image(board, TEXTURE_PX))
    if not done:
        raise CalibrationError("the board's texture cannot be encoded as PNG")
    return {"board.png": encoded.tobytes()}


def _with_board(xml: str, board: Board) -> str:
    """The cell's MJCF with a board as a mocap body, room for 4K images and smooth edges."""
    width, height = board.size_m
    # The printed face, and behind it a white plate with a margin.
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    front = " ".join(f"{x:.9g} {y:.9g} 0" for x, y in corners)
    back = " ".join(f"{x:.9g} {y:.9g} {THICKNESS_M / 2}" for x, y in corners)
    flat = "0 0 1 0 1 1 0 1"
    faces = "0 2 1 0 3 2 4 5 6 4 6 7 0 1 5 0 5 4 1 2 6 1 6 5 2 3 7 2 7 6 3 0 4 3 4 7"
    assets = f"""<asset>
    <texture name="board" type="2d" file="board.png"/>
    <material name="board" texture="board" specular="0" shininess="0" reflectance="0"/>
    <mesh name="board" vertex="{front} {back}" texcoord="{flat} {flat}" face="{faces}"/>
  </asset>
  <worldbody>"""
    plate = (
        f'<body name="board" mocap="true" pos="0 0 {AWAY[2]}">'
        '<geom type="mesh" mesh="board" material="board" contype="0" conaffinity="0"/>'
        f'<geom type="box" pos="{width / 2} {height / 2} {THICKNESS_M / 2 + 0.0003}" '
        f'size="{width / 2 + MARGIN_M} {height / 2 + MARGIN_M} {THICKNESS_M / 2}" '
        'rgba="1 1 1 1" contype="0" conaffinity="0"/></body></worldbody>'
    )
    xml = xml.replace('offwidth="1280" offheight="720"', 'offwidth="3840" offheight="2160"')
    xml = xml.replace('offsamples="0"', 'offsamples="4"')
    return xml.replace("<worldbody>", assets, 1).replace("</worldbody>", plate, 1)


def _document(truth: CellTruth) -> dict[str, Any]:
    def plain(values: Float64) -> Any:
        return np.asarray(values, dtype=np.float64).tolist()

    reference = truth.base_from_camera[0]
    mount = truth.gripper_from_board
    return {
        "reference_from_camera": plain(invert(reference) @ truth.base_from_camera),
        "base_from_camera": plain(truth.base_from_camera),
        "base_from_board": plain(truth.base_from_board),
        "gripper_from_board": None if mount is None else plain(mount),
        "joints_rad": plain(truth.joints),
        "intrinsics": [
            {
                "fx_px": float(lens.fx_px), "fy_px": float(lens.fy_px),
                "cx_px": float(lens.cx_px), "cy_px": float(lens.cy_px),
                "distortion": [float(d) for d in lens.distortion],
            }
            for lens in truth.lenses
        ],
        "depth_offset_m": [float(unit.offset_m) for unit in truth.units],
        "depth_scale": [float(1.0 + unit.scale_error) for unit in truth.units],
    }  # fmt: skip
