"""Stage 4c: the box that the tip may be in, base frame. Before it moves, and while it does."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import Float64

SAMPLE_S = 0.01
"""At 3 rad/s and 5 rad/s^2 the tip strays less than 1 mm from the chord between two samples."""
_ROUNDING_M = 1e-3


class Workspace:
    """An axis-aligned box in the base frame for the point between the finger tips."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self._arm = arm
        self._lower_m = settings.workspace_lower_m
        self._upper_m = settings.workspace_upper_m

    def outside_m(self, positions: Float64) -> Float64:
        """How far outside the tip is, [N], for joint positions [N, J]; 0 inside."""
        tips_m = self._arm.tip_positions(positions)
        # The largest over the axes: beyond an edge of the box that is less than the distance to it.
        beyond_m = np.maximum(np.array(self._lower_m) - tips_m, tips_m - np.array(self._upper_m))
        return np.asarray(np.maximum(beyond_m, 0.0).max(axis=1))

    def pose_outside_m(self, positions: Float64) -> float:
        """The same for one pose [J], without arrays: for the stream."""
        tip_m = self._arm.tip_position(positions)
        return max(
            0.0,
            *(low - at for low, at in zip(self._lower_m, tip_m, strict=True)),
            *(at - high for high, at in zip(self._upper_m, tip_m, strict=True)),
        )

    def check(
        self, positions: Float64, times_s: Float64, outside_before_m: float = np.inf
    ) -> float:
        """Refuse a path [N, J] that leaves the box.

        One that begins outside (a parked arm) may come in, and must never go farther out. A path
        may be given piece by piece: the answer is the next piece's `outside_before_m`, the least
        distance outside so far.

        Raises:
            TrajectoryError: `WORKSPACE`.
        """
        outside_m = self.outside_m(positions)
        # The least so far, so that once inside is inside for good.
        allowed_m = np.minimum.accumulate(np.minimum(outside_m, outside_before_m))
        bad = np.flatnonzero(outside_m > allowed_m + _ROUNDING_M)
        if len(bad):
            at = int(bad[0])
            raise TrajectoryError(
                TrajectoryError.WORKSPACE,
                f"{times_s[at]:.2f} s in, {self.describe(positions[at])}",
            )
        return float(allowed_m[-1])

    def describe(self, positions: Float64) -> str:
        """Where the tip is at joint positions [J], and where it may be."""
        x, y, z = self._arm.tip_position(positions)
        box = ", ".join(
            f"{axis} {low:.2f} to {high:.2f}"
            for axis, low, high in zip("xyz", self._lower_m, self._upper_m, strict=True)
        )
        return (
            f"the tip is at ({x:.3f}, {y:.3f}, {z:.3f}) m in the base frame, allowed: {box} "
            "(workspace_lower_m, workspace_upper_m)"
        )
