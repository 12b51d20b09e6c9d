"""Which pose of the follower a pose of the leader means, joint by joint. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.records import Float64


@dataclass(frozen=True)
class GripperMapping:
    """`scale` x (leader's opening beyond `dead_band_m`) + `offset_m`.

    Strokes differ (0.07 and 0.1 m): a leader of 0.1 m and a follower of 0.07 m have scale 0.7. A
    negative scale with the stroke as offset reverses it. Within the dead band the leader counts
    as shut: a trigger that is let go seldom comes back to zero.
    """

    scale: float = 1.0
    offset_m: float = 0.0
    dead_band_m: float = 0.0

    def opening_m(self, leader_m: float) -> float:
        """What the follower is to open, before its limits; continuous in `leader_m`."""
        return self.scale * max(leader_m - self.dead_band_m, 0.0) + self.offset_m


class Mapping:
    """Leader to follower: `sign` x `scale` x angle + `offset` per joint, the gripper by its own.

    All arrays are [J] in the order of the follower's joints; the last joint is the gripper where
    the arm has one.
    """

    def __init__(
        self,
        arm: ArmModel,
        signs: Sequence[float],
        scales: Sequence[float],
        offsets_rad: Sequence[float],
        gripper: GripperMapping,
    ) -> None:
        """Raises ConfigError: not one value per joint, a sign that is not 1 or -1, a scale of 0."""
        self.names = arm.joint_names
        self._lower, self._upper, self._gripper = arm.lower, arm.upper, gripper
        self._has_gripper = "gripper" in arm.joint_names
        joints = len(arm.joint_names) - self._has_gripper
        for name, values in (
            ("joint_signs", signs),
            ("joint_scales", scales),
            ("joint_offsets_rad", offsets_rad),
        ):
            if len(values) != joints:
                raise ConfigError(
                    f"{name} has {len(values)} values; {arm.name} has {joints} joints"
                )
        if any(abs(sign) != 1.0 for sign in signs):
            raise ConfigError(f"joint_signs are {list(signs)}; allowed: 1 and -1")
        if 0.0 in (*scales, gripper.scale):
            raise ConfigError("a scale of 0 would not let the leader move that joint")
        self._factors = np.array(signs, dtype=np.float64) * np.array(scales, dtype=np.float64)
        self._offsets = np.array(offsets_rad, dtype=np.float64)

    def follower_from_leader(self, leader: Float64) -> Float64:
        """The pose [J] that the leader's pose [J] means, wherever the follower's limits are."""
        joints = len(self._factors)
        mapped = leader.copy()
        mapped[:joints] = self._factors * leader[:joints] + self._offsets
        if self._has_gripper:
            mapped[joints] = self._gripper.opening_m(float(leader[joints]))
        return mapped

    def follower_speeds(self, leader: Float64, speeds: Float64) -> Float64:
        """The speeds [J] that the leader's speeds [J] mean at its pose [J]."""
        joints = len(self._factors)
        mapped = speeds.copy()
        mapped[:joints] *= self._factors
        if self._has_gripper:
            # The mapped opening stands still within the dead band, so its slope there is zero.
            beyond = leader[joints] > self._gripper.dead_band_m
            mapped[joints] *= self._gripper.scale if beyond else 0.0
        return mapped

    def saturated(self, mapped: Float64) -> tuple[Float64, tuple[str, ...]]:
        """The nearest pose [J] within the follower's limits, and the joints that were beyond."""
        inside = np.clip(mapped, self._lower, self._upper)
        names = tuple(name for name, out in zip(self.names, inside != mapped, strict=True) if out)
        return inside, names
