"""Arm files (`config/arms/<arm>.yaml`): joint names, limits, home and modified-DH kinematics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvista_core.documents import Document, read_document
from mvista_core.errors import ConfigError
from mvista_core.geometry import Array, pose_from
from mvista_core.records import Float64


@dataclass(frozen=True)
class DhRow:
    """One row of a modified (Craig) DH table: a_m, alpha_rad, d_m, theta_offset_rad."""

    a_m: float
    alpha_rad: float
    d_m: float
    theta_offset_rad: float


@dataclass(frozen=True)
class ArmModel:
    """Limits are per joint [J], in the order of `joint_names` (rad; m for the gripper).

    `max_velocity`, `max_acceleration` and `max_jerk` are magnitudes per s, s^2 and s^3.
    """

    name: str
    joint_names: tuple[str, ...]
    lower: Float64
    upper: Float64
    max_velocity: Float64
    max_acceleration: Float64
    max_jerk: Float64
    home: Float64
    dh: tuple[DhRow, ...]
    flange_from_tip_m: float

    def base_from_flange(self, positions: NDArray[np.floating]) -> Array:
        """Forward kinematics of the flange (modified DH); extra joints (gripper) are ignored."""
        pose = np.eye(4)
        for row, angle in zip(self.dh, positions, strict=False):
            pose = pose @ _dh_transform(row, float(angle))
        return pose

    def base_from_tip(self, positions: NDArray[np.floating]) -> Array:
        """Forward kinematics of the point between the finger tips."""
        tip = pose_from(np.eye(3), np.array([0.0, 0.0, self.flange_from_tip_m]))
        return self.base_from_flange(positions) @ tip

    def tip_position(self, positions: NDArray[np.floating]) -> tuple[float, float, float]:
        """`base_from_tip`'s translation for one pose [J], m: fast enough for every set-point."""
        x, y, z = 0.0, 0.0, self.flange_from_tip_m
        for row, angle in reversed(list(zip(self.dh, positions.tolist(), strict=False))):
            theta = angle + row.theta_offset_rad
            cos, sin = math.cos(theta), math.sin(theta)
            ca, sa = math.cos(row.alpha_rad), math.sin(row.alpha_rad)
            turned, height = sin * x + cos * y, z + row.d_m
            x = cos * x - sin * y + row.a_m
            y, z = ca * turned - sa * height, sa * turned + ca * height
        return x, y, z

    def tip_positions(self, positions: NDArray[np.floating]) -> Array:
        """Where the point between the finger tips is, base frame, m: [N, J] -> [N, 3].

        `base_from_tip` for many poses at once; the point is carried from the flange to the base.
        """
        points = np.zeros((len(positions), 3))
        points[:, 2] = self.flange_from_tip_m
        for joint in reversed(range(min(len(self.dh), positions.shape[1]))):
            row = self.dh[joint]
            theta = positions[:, joint] + row.theta_offset_rad
            cos, sin = np.cos(theta), np.sin(theta)
            x = cos * points[:, 0] - sin * points[:, 1] + row.a_m
            turned = sin * points[:, 0] + cos * points[:, 1]
            height = points[:, 2] + row.d_m
            ca, sa = np.cos(row.alpha_rad), np.sin(row.alpha_rad)
            points = np.stack([x, ca * turned - sa * height, sa * turned + ca * height], axis=1)
        return points


def load_arm(path: Path | str) -> ArmModel:
    """Read and check an arm file.

    Raises:
        ConfigError: no such file, malformed, or limits that are empty or unordered.
    """
    document = read_document(path, ConfigError, "config/arms/piper.yaml shows one")
    arm = _parse(document)
    positive = np.concatenate([arm.max_velocity, arm.max_acceleration, arm.max_jerk]) > 0
    if not ((arm.lower < arm.upper).all() and positive.all()):
        raise ConfigError(
            f"{path}: every joint needs lower < upper and positive velocity, acceleration and "
            "jerk limits"
        )
    if not ((arm.lower <= arm.home) & (arm.home <= arm.upper)).all():
        raise ConfigError(f"{path}: home {arm.home.tolist()} is outside the joint limits")
    return arm


def _parse(document: Document) -> ArmModel:
    joints = document["joints"].entries()
    if not joints:
        raise document.refuse("names no joint")

    def column(key: str) -> Float64:
        return np.array([joint[key].number() for joint in joints.values()])

    rows = tuple(
        DhRow(
            row["a_m"].number(),
            float(np.deg2rad(row["alpha_deg"].number())),
            row["d_m"].number(),
            float(np.deg2rad(row["theta_offset_deg"].number())),
        )
        for row in document["modified_dh"].items()
    )
    return ArmModel(
        document["name"].text(),
        tuple(joints),
        column("lower"),
        column("upper"),
        column("max_velocity"),
        column("max_acceleration"),
        column("max_jerk"),
        column("home"),
        rows,
        document["flange_from_tip_m"].number(),
    )


def _dh_transform(row: DhRow, angle_rad: float) -> Array:
    theta = angle_rad + row.theta_offset_rad
    ct, st = np.cos(theta), np.sin(theta)
    ca, sa = np.cos(row.alpha_rad), np.sin(row.alpha_rad)
    return np.array(
        [
            [ct, -st, 0.0, row.a_m],
            [st * ca, ct * ca, -sa, -sa * row.d_m],
            [st * sa, ct * sa, ca, ca * row.d_m],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
