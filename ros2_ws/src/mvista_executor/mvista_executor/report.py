"""What the stream says of itself: per tick, and of the whole execution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError
from mvista_core.records import Float64, JointCommand
from mvista_executor.plan import ExecutionPlan
from mvista_executor.settings import GRIPPER, ExecutorSettings, per_joint


class Status(str, Enum):
    """Where the stream is. DONE and ABORTED are final: the last set-point goes on being sent."""

    IDLE = "idle"
    APPROACHING = "approaching"
    RUNNING = "running"
    HOLDING = "holding"
    STOPPING = "stopping"
    DONE = "done"
    ABORTED = "aborted"

    @property
    def final(self) -> bool:
        """Nothing moves any more."""
        return self in (Status.IDLE, Status.DONE, Status.ABORTED)


@dataclass(frozen=True)
class Tolerances:
    """How far measured joints may stray [J]: on the way, at the end, and how long to get there.

    Infinite for the gripper by default: an object between the fingers is what it is for.
    """

    path: Float64
    goal: Float64
    goal_time_s: float

    @staticmethod
    def default(arm: ArmModel, settings: ExecutorSettings) -> Tolerances:
        """The settings' tolerances for every revolute joint."""
        return Tolerances(
            per_joint(arm, settings.path_tolerance_rad, np.inf),
            per_joint(arm, settings.goal_tolerance_rad, np.inf),
            settings.goal_time_s,
        )


@dataclass(frozen=True)
class Tick:
    """One tick's outcome. `command` is None while idle; `tracking_error` [J] measured - sent."""

    status: Status
    command: JointCommand | None
    progress: float
    tracking_error: Float64 | None
    error: MvistaError | None


@dataclass(frozen=True)
class ExecutionReport:
    """What really happened. Times count from the first command.

    times_s [N]; sent, sent_velocities, measured [N, J] (NaN where there was no fresh feedback),
    in the order of joint_names. `pauses` counts restarts from rest after the stream was not called
    for longer than `stall_after_s`; `plan` is the plan as first made.
    """

    status: Status
    error: MvistaError | None
    plan: ExecutionPlan
    pauses: int
    joint_names: tuple[str, ...]
    commands: Sequence[JointCommand]
    times_s: Float64
    sent: Float64
    sent_velocities: Float64
    measured: Float64

    @property
    def max_tracking_error_rad(self) -> float:
        """Largest distance of a revolute joint from its set-point; 0 without feedback."""
        revolute = [name != GRIPPER for name in self.joint_names]
        error = np.abs(self.measured - self.sent)[:, revolute]
        return float(np.nanmax(error)) if np.isfinite(error).any() else 0.0

    @property
    def summary(self) -> str:
        """One line: what was done and how it differs from what was asked."""
        plan = self.plan
        words = [
            f"{self.status.value} after {self.times_s[-1]:.2f} s" if len(self.times_s) else "-"
        ]
        if plan.approach_s:
            words.append(f"approached the start for {plan.approach_s:.2f} s")
        if plan.stretch > 1.0:
            words.append(f"slowed {plan.stretch:.3f} times to keep the limits")
        if plan.lead_s:
            words.append(f"first point {plan.lead_s:.3f} s later")
        off = plan.off_points[[name != GRIPPER for name in self.joint_names]].max()
        if off > 1e-6:
            words.append(f"jitter smoothed by up to {off:.4f} rad")
        if self.pauses:
            words.append(f"{self.pauses} times begun again after a stall")
        words.append(f"tracking within {self.max_tracking_error_rad:.4f} rad")
        return "; ".join(words) + (f"; {self.error}" if self.error else "")
