"""Rigs drawn from a seed: the paper's twelve azimuths, and everything else left to chance.

The paper's simulated cameras stand 30 degrees apart round the table, and every view of a sample has
another within 90 (App. A). Which places are drawn and which are held out is
`mvista_core.camera_range`'s; here they are drawn, and redrawn where a camera would stand in the arm
or see too little of the workspace.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mvista_core.arm import ArmModel
from mvista_core.camera_range import TRAINED, CameraRange, direction, gaps_deg, sees_a_neighbour
from mvista_core.errors import ConfigError, RigError
from mvista_core.geometry import (
    exp_so3,
    invert,
    look_at,
    pose_from,
    project,
    transform_points,
)
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraCalibration, Float64, RigCalibration
from mvista_core.vantage import Vantage
from mvista_sim.rig_file import INTRINSICS

STATIONS_DEG = 30.0
"""Between the azimuths of App. A's cameras; each is moved by up to half of it."""
FOCAL_SPREAD = 0.15
CLEARANCE_M = 0.15
"""Between a camera and the arm at rest: its housing, and the elbow's swing."""
LINK_RADIUS_M = 0.05
SMALLEST_VIEW = 0.8
"""Share of the workspace that a camera has to see past the arm at rest, inside the window."""
MOST_CAMERAS = 5
DRAWS = 4000
"""Tries for one rig; some twenty are needed where nothing is held out."""
TOLD_ANGLE_RAD = np.deg2rad(0.3)
TOLD_SHIFT_M = 0.002
"""Root mean square of what calibration leaves wrong in a pose."""


class RigDraw:
    """Draws rigs for one arm and one model window; a rig is a function of (seed, count) alone."""

    def __init__(
        self,
        arm: ArmModel,
        window: ModelWindow,
        held_out: bool = False,
        allowed: CameraRange = TRAINED,
    ) -> None:
        self._window = window
        self._held_out = held_out
        self._allowed = allowed
        self._arm_m = arm_points(arm, arm.home)
        x, y, z = np.meshgrid([0.22, 0.34, 0.46], [-0.2, -0.1, 0.0, 0.1, 0.2], [0.0, 0.1])
        self._workspace_m = np.stack([x, y, z], axis=-1).reshape(-1, 3)

    def rig(self, seed: int, count: int) -> RigCalibration:
        """`count` cameras cam0.. of one episode, where they truly are.

        All of them are of training's range or, with `held_out`, held out of it.

        Raises:
            ConfigError: a number of cameras that no rig has.
            RigError: no such rig was found.
        """
        if not 1 <= count <= MOST_CAMERAS:
            raise ConfigError(f"{count} cameras to draw; a rig has 1 to {MOST_CAMERAS}")
        rng = np.random.default_rng((seed, 11))
        cameras: list[CameraCalibration] = []
        taken: set[int] = set()
        for _ in range(DRAWS):
            station = int(rng.integers(round(360 / STATIONS_DEG)))
            drawn = self._camera(f"cam{len(cameras)}", station, rng)
            if station in taken or not self._fits(drawn, cameras):
                continue
            taken.add(station)
            cameras.append(drawn)
            if len(cameras) == count:
                return RigCalibration(f"drawn_{seed}", "piper_base", tuple(cameras), "", "pass")
        raise RigError(f"no {count} cameras in {DRAWS} draws from seed {seed}; see {__name__}")

    def _camera(self, name: str, station: int, rng: np.random.Generator) -> CameraCalibration:
        allowed, centre = self._allowed, np.array(self._allowed.centre_m)
        azimuth_deg = STATIONS_DEG * (station + rng.uniform(-0.5, 0.5))
        toward = direction(azimuth_deg, rng.uniform(*allowed.pitch_deg))
        eye = centre + rng.uniform(*allowed.distance_m) * toward
        aimed = look_at(eye, centre + rng.uniform(-allowed.aim_m, allowed.aim_m, 3))
        roll = exp_so3(np.array([0.0, 0.0, np.deg2rad(rng.uniform(*allowed.roll_deg))]))
        zoom = rng.uniform(1.0 - FOCAL_SPREAD, 1.0 + FOCAL_SPREAD)
        lens = replace(INTRINSICS, fx_px=INTRINSICS.fx_px * zoom, fy_px=INTRINSICS.fy_px * zoom)
        return CameraCalibration(name, aimed @ pose_from(roll, np.zeros(3)), lens)

    def _fits(self, drawn: CameraCalibration, others: list[CameraCalibration]) -> bool:
        """Whether it is in the range asked for, sees enough, and has the neighbour App. A wants."""
        pose, lens = drawn.base_from_camera, self._window.intrinsics(drawn.intrinsics)
        if self._allowed.why_beyond(pose, lens):
            return False
        if bool(self._allowed.why_held_out(pose)) != self._held_out:
            return False
        poses = np.stack([*(camera.base_from_camera for camera in others), pose])
        # The newest against all before: each then has a neighbour, whichever came first.
        if not sees_a_neighbour(gaps_deg(poses, np.array(self._allowed.centre_m)))[-1]:
            return False
        return self.seen_share(drawn) >= SMALLEST_VIEW

    def seen_share(self, camera: CameraCalibration) -> float:
        """Share of the workspace inside the window and not behind the arm; 0 within the arm."""
        eye = camera.base_from_camera[:3, 3]
        if np.linalg.norm(self._arm_m - eye, axis=1).min() < CLEARANCE_M:
            return 0.0
        lens = self._window.intrinsics(camera.intrinsics)
        points = transform_points(invert(camera.base_from_camera), self._workspace_m)
        u, v = project(points, lens.matrix).T
        inside = (u >= 0) & (u <= lens.width_px - 1) & (v >= 0) & (v <= lens.height_px - 1)
        return float((inside & ~self._behind_arm(eye)).mean())

    def _behind_arm(self, eye: Float64) -> NDArray[np.bool_]:
        """Which workspace points [P] the arm at rest hides from `eye`."""
        line = self._workspace_m - eye
        along = np.einsum("px,ax->pa", line, self._arm_m - eye) / (line**2).sum(axis=1)[:, None]
        nearest = eye + np.clip(along, 0.0, 1.0)[..., None] * line[:, None]
        gap = np.linalg.norm(nearest - self._arm_m, axis=-1).min(axis=1)
        return np.asarray(gap < LINK_RADIUS_M)


def arm_points(arm: ArmModel, positions: Float64) -> Float64:
    """Points [N, 3] along the arm's links, base to finger tip, in the base frame."""
    joints = [np.zeros(3)]
    for count in range(1, len(arm.dh) + 1):
        chain = replace(arm, dh=arm.dh[:count], flange_from_tip_m=0.0)
        joints.append(np.array(chain.tip_position(positions)))
    joints.append(np.array(arm.tip_position(positions)))
    share = np.linspace(0.0, 1.0, 8)[:, None]
    pieces = [a + share * (b - a) for a, b in pairwise(joints)]
    return np.concatenate(pieces)


def with_vantage(
    true: RigCalibration, told: RigCalibration, vantage: Vantage, window: ModelWindow
) -> tuple[RigCalibration, RigCalibration]:
    """Both with one camera more: where the first one's picture is brought to.

    What is wrong with the first one's told pose is wrong with this one's too, since there is no
    other calibration that it could come from.
    """
    first = told.cameras[0]
    brought = vantage.of(first, TRAINED, window)
    error = true.cameras[0].base_from_camera @ invert(first.base_from_camera)
    there = replace(brought, base_from_camera=error @ brought.base_from_camera)
    return (
        replace(true, cameras=(*true.cameras, there)),
        replace(told, cameras=(*told.cameras, brought)),
    )


def as_told(rig: RigCalibration, seed: int) -> RigCalibration:
    """The rig as calibration would have it: each pose wrong by `TOLD_ANGLE_RAD`, `TOLD_SHIFT_M`."""
    rng = np.random.default_rng((seed, 13))
    told = []
    for camera in rig.cameras:
        turn = exp_so3(rng.normal(0.0, TOLD_ANGLE_RAD / np.sqrt(3.0), 3))
        shift = rng.normal(0.0, TOLD_SHIFT_M / np.sqrt(3.0), 3)
        pose = camera.base_from_camera @ pose_from(turn, shift)
        told.append(replace(camera, base_from_camera=pose))
    return replace(rig, cameras=tuple(told))
