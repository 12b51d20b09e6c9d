"""What one run leaves behind: the records that the report is made from. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mvista_core.records import (
    ActionTrajectory,
    CameraFrame,
    Doubt,
    Float32,
    Float64,
    Rollout,
    UInt8,
)
from mvista_eval.facts import Fact

OK = "ok"


@dataclass(frozen=True)
class StageTime:
    """One stage: how long it took and, when it failed, why."""

    name: str
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class JointSeries:
    """Joints over time: times_s [N] from the plan's start, positions [N, J] (rad; gripper m)."""

    joint_names: tuple[str, ...]
    times_s: Float64
    positions: Float64


@dataclass(frozen=True)
class Reality:
    """What the rollout's views really showed at its times, through the same window.

    color uint8 [V, T, H, W, 3]; depth_m float32 [V, T, H, W]; late_s [V, T] is how far from the
    wanted time the image was taken, NaN where there is none.
    """

    color: UInt8
    depth_m: Float32
    late_s: Float64

    @property
    def present(self) -> NDArray[np.bool_]:
        """Mask [V, T] of the images there are."""
        return np.isfinite(self.late_s)


@dataclass(frozen=True)
class ImaginedCloud:
    """The imagined scene at one time: points_m [N, 3] in the base frame, color uint8 [N, 3]."""

    time_s: float
    points_m: Float32
    color: UInt8


@dataclass(frozen=True)
class RunRecord:
    """One run. What a failed run never reached is None or empty."""

    task: str
    instruction: str
    seed: int
    arm: str = "simulated"
    outcome: str = OK
    message: str = ""
    stages: tuple[StageTime, ...] = ()
    success: bool | None = None
    success_detail: str = ""
    weights_sha256: str = ""
    before: tuple[CameraFrame, ...] = ()
    final: tuple[CameraFrame, ...] = ()
    imagined: int = 0
    rollout: Rollout | None = None
    reality: Reality | None = None
    clouds: tuple[ImaginedCloud, ...] = ()
    prior: ActionTrajectory | None = None
    refined: ActionTrajectory | None = None
    sent: JointSeries | None = None
    measured: JointSeries | None = None
    losses: Float64 = field(default_factory=lambda: np.zeros(0))
    head_disagreement_rad: float | None = None
    doubts: tuple[Doubt, ...] = ()
    versions: tuple[Fact, ...] = ()
    machine: tuple[Fact, ...] = ()
