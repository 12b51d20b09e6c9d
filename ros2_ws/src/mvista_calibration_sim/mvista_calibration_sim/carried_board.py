"""A board that is carried from place to place before four cameras, as time passes; no ROS.

    carried = CarriedBoard(CellSession(seed=0), arm, clock)
    carried.to_next()
    shot = carried.shot("cam0")

`board_cell` draws whole sessions; this is the same cell for whoever records one live.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from mvista_calibration_sim.board_cell import (
    BoardCell,
    CellSession,
    depth_sensors,
    draw_truth,
)
from mvista_core.arm import ArmModel
from mvista_core.errors import RigError
from mvista_core.geometry import pose_from
from mvista_core.ports import Clock
from mvista_core.records import Float32, Float64, Intrinsics, JointState, UInt8
from mvista_core.timing import ns_to_seconds


@dataclass(frozen=True)
class LiveShot:
    """Colour uint8 [H, W, 3] and depth float32 m at a size of its own, registered to colour."""

    color: UInt8
    depth_m: Float32
    lens: Intrinsics
    """Of the colour image, as the factory reports it."""
    stamp_ns: int


@dataclass(frozen=True)
class _Place:
    """The arm's true joints [6], what its encoders add [6], and the board (None: out of sight)."""

    joints: Float64
    encoder_error: Float64
    base_from_board: Float64 | None


@dataclass
class _Drawn:
    """Exact images of a place at which everything stands still."""

    place: _Place
    color: UInt8
    depth_m: Float64


class CarriedBoard:
    """Place after place, each reached in `move_s`; before the first `to_next` at the first.

    `shot` and `close` belong to one thread (GL); all else may be called from any. Images are drawn
    through the true lenses. `joint_error_rad` is the sd of what each encoder is off by, drawn anew
    for every place.
    """

    def __init__(
        self,
        wanted: CellSession,
        arm: ArmModel,
        clock: Clock,
        move_s: float = 1.5,
        joint_error_rad: float = float(np.deg2rad(0.05)),
    ) -> None:
        self._wanted, self._arm, self._clock = wanted, arm, clock
        self._move_s = move_s
        self.truth, cameras, self._rng = draw_truth(wanted, arm)
        self.names = tuple(camera.name for camera in cameras)
        self._reported = {camera.name: camera.intrinsics for camera in cameras}
        self._sensors = dict(zip(self.names, depth_sensors(wanted, self.truth), strict=True))
        self._lenses = dict(zip(self.names, self.truth.lenses, strict=True))
        # A live frame is one that nobody has averaged.
        self._depth = replace(wanted.depth, frames=1)
        errors = self._rng.normal(0.0, joint_error_rad, self.truth.joints.shape)
        self._places = [
            _Place(joints, error, board)
            for joints, error, board in zip(
                self.truth.joints, errors, self.truth.base_from_board, strict=True
            )
        ]
        self._away = _Place(arm.home[:6], np.zeros(6), None)
        self._lock = threading.Lock()
        self._index = 0
        self._start = self._end = self._places[0]
        self._left_ns = clock.monotonic_ns()
        self._cell: BoardCell | None = None
        self._kept: dict[str, _Drawn] = {}

    @property
    def count(self) -> int:
        """How many places there are; after the last comes the first."""
        return len(self._places)

    @property
    def index(self) -> int:
        """Number of the place that the board is at, or on its way to."""
        return self._index

    def to_next(self) -> int:
        """Carry the board on; returns the place's number."""
        with self._lock:
            self._index = (self._index + 1) % len(self._places)
            self._leave_for(self._places[self._index])
            return self._index

    def show(self, shown: bool) -> None:
        """Take the board out of the cell (the arm goes home), or bring it back to its place."""
        with self._lock:
            self._leave_for(self._places[self._index] if shown else self._away)

    def joints(self) -> JointState:
        """As the encoders measure them; the gripper is closed."""
        place = self._now()
        positions = np.append(place.joints + place.encoder_error, 0.0)
        return JointState(
            self._arm.joint_names, positions, np.zeros_like(positions), self._clock.now_ns()
        )

    def shot(self, camera: str) -> LiveShot:
        """What a camera sees now.

        Raises:
            RigError: no such camera.
        """
        if camera not in self.names:
            raise RigError(f"no camera '{camera}'; there are {list(self.names)}")
        place, stamp_ns = self._now(), self._clock.now_ns()
        drawn = self._kept.get(camera)
        if drawn is None or drawn.place is not place:
            drawn = self._kept[camera] = self._draw(camera, place)
        depth_m = self._sensors[camera].measure(drawn.depth_m, self._depth, self._rng)
        return LiveShot(self._noisy(drawn.color), depth_m, self._reported[camera], stamp_ns)

    def close(self) -> None:
        """Free the GL contexts; on the thread that drew."""
        if self._cell is not None:
            self._cell.close()

    def _leave_for(self, place: _Place) -> None:
        self._start, self._end = self._now_locked(), place
        self._left_ns = self._clock.monotonic_ns()

    def _now(self) -> _Place:
        with self._lock:
            return self._now_locked()

    def _now_locked(self) -> _Place:
        elapsed_s = ns_to_seconds(self._clock.monotonic_ns() - self._left_ns)
        if elapsed_s >= self._move_s:
            return self._end
        way = elapsed_s / self._move_s
        way = way * way * (3.0 - 2.0 * way)
        joints = (1 - way) * self._start.joints + way * self._end.joints
        error = (1 - way) * self._start.encoder_error + way * self._end.encoder_error
        return _Place(joints, error, self._board_between(joints, way))

    def _board_between(self, joints: Float64, way: float) -> Float64 | None:
        start, end = self._start.base_from_board, self._end.base_from_board
        if start is None or end is None:
            return start if way < 0.5 else end
        if self.truth.gripper_from_board is not None:
            return np.asarray(self._arm.base_from_flange(joints) @ self.truth.gripper_from_board)
        ends = Rotation.from_matrix(np.stack([start[:3, :3], end[:3, :3]]))
        turn = Slerp([0.0, 1.0], ends)(way).as_matrix()
        return pose_from(turn, (1 - way) * start[:3, 3] + way * end[:3, 3])

    def _draw(self, camera: str, place: _Place) -> _Drawn:
        if self._cell is None:
            wanted = self._wanted
            self._cell = BoardCell(
                self._arm, wanted.board, wanted.seed, self.truth.base_from_camera
            )
        self._cell.put(place.base_from_board, place.joints)
        color = self._cell.color(camera, self._lenses[camera])
        return _Drawn(place, color, self._cell.depth(camera, self._sensors[camera].lens))

    def _noisy(self, color: UInt8) -> UInt8:
        # OpenCV's generator: one image of 3840x2160 has 25 million numbers.
        noise = np.empty(color.shape, dtype=np.int16)
        cv2.randn(noise, (0.0,) * 3, (self._wanted.image_noise,) * 3)
        return np.asarray(cv2.add(color, noise, dtype=cv2.CV_8U), dtype=np.uint8)
