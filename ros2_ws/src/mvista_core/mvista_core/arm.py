"""Arm files (`config/arms/<arm>.yaml`): joint names, limits, home and modified-DH kinematics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

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
    """Limits are per joint [J], in the order of `joint_names` (rad; m for the gripper)."""

    name: str
    joint_names: tuple[str, ...]
    lower: Float64
    upper: Float64
    max_velocity: Float64
    max_acceleration: Float64
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


def load_arm(path: Path | str) -> ArmModel:
    """Read and check an arm file.

    Raises:
        ConfigError: no such file, malformed, or limits that are empty or unordered.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no arm file at {path}; see config/arms/")
    try:
        arm = _parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: not an arm file ({error!r}); see config/arms/piper.yaml"
        raise ConfigError(message) from None
    if not ((arm.lower < arm.upper).all() and (arm.max_velocity > 0).all()):
        raise ConfigError(f"{path}: every joint needs lower < upper and a positive velocity limit")
    if not ((arm.lower <= arm.home) & (arm.home <= arm.upper)).all():
        raise ConfigError(f"{path}: home {arm.home.tolist()} is outside the joint limits")
    return arm


def _parse(document: dict[str, Any]) -> ArmModel:
    joints: dict[str, dict[str, float]] = document["joints"]

    def column(key: str) -> Float64:
        return np.array([float(joint[key]) for joint in joints.values()])

    rows = tuple(
        DhRow(
            float(row["a_m"]),
            float(np.deg2rad(row["alpha_deg"])),
            float(row["d_m"]),
            float(np.deg2rad(row["theta_offset_deg"])),
        )
        for row in document["modified_dh"]
    )
    return ArmModel(
        str(document["name"]),
        tuple(joints),
        column("lower"),
        column("upper"),
        column("max_velocity"),
        column("max_acceleration"),
        column("home"),
        rows,
        float(document["flange_from_tip_m"]),
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
