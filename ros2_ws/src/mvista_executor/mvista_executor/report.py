"""What the stream says of itself: per tick, and of the whole execution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError
from mvista_core.executor_settings import GRIPPER, ExecutorSettings, per_joint
from mvista_core.records import Float64, JointCommand
from mvista_executor.motion import Why
from mvista_executor.plan import ExecutionPlan


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

    Positions in rad (m), velocities per s, infinite where nothing is checked. Positions are not
    checked for the gripper by default: an object between the fingers is what it is for.
    `goal_time_s` counts from the last set-point; `end_by_s`, where given, from the start: a plan
    that cannot end by then is refused. `late_goal` [J], where given, is what is accepted instead of
    `goal` once that time is over.
    """

    path: Float64
    goal: Float64
    goal_time_s: float
    path_velocity: Float64
    goal_velocity: Float64
    end_by_s: float | None = None
    late_goal: Float64 | None = None

    @staticmethod
    def default(arm: ArmModel, settings: ExecutorSettings) -> Tolerances:
        """The settings' tolerances for every revolute joint."""
        return Tolerances(
            per_joint(arm, settings.path_tolerance_rad, np.inf),
            per_joint(arm, settings.goal_tolerance_rad, np.inf),
            settings.goal_time_s,
            np.full(len(arm.joint_names), np.inf),
            per_joint(arm, settings.rest_speed_rad_s, np.inf),
        )

    def of_plan(self, arm: ArmModel, settings: ExecutorSettings) -> Tolerances:
        """The same for an imagined motion, which may end in contact: an arm that presses on what it
        opened or touched rests short of its last point, and nothing brings it nearer."""
        return replace(self, late_goal=per_joint(arm, settings.plan_goal_tolerance_rad, np.inf))


@dataclass(frozen=True)
class Tick:
    """One tick's outcome. `command` is None while idle; `tracking_error` [J] measured - sent.

    `why` says how the command differs from what was asked.
    """

    status: Status
    command: JointCommand | None
    progress: float
    tracking_error: Float64 | None
    error: MvistaError | None
    why: tuple[Why, ...] = ()


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
        # What a gripper holds keeps it from its set-point: that is no error of tracking.
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
        if plan.off_points_rad > 1e-6:
            words.append(f"smoothed by up to {plan.off_points_rad:.4f} rad")
        if self.pauses:
            words.append(f"{self.pauses} times begun again after a stall")
        words.append(f"tracking within {self.max_tracking_error_rad:.4f} rad")
        return "; ".join(words) + (f"; {self.error}" if self.error else "")


class Recording:
    """What is sent and measured for one trajectory, as it goes; `report` may be read at its end."""

    def __init__(self, plan: ExecutionPlan, joint_names: tuple[str, ...]) -> None:
        self.plan = plan
        self.status = Status.RUNNING
        self.error: MvistaError | None = None
        self.pauses = 0
        self._joint_names = joint_names
        self._commands: list[JointCommand] = []
        self._times_s: list[float] = []
        self._measured: list[Float64] = []

    def note(self, time_s: float, command: JointCommand, actual: Float64 | None) -> None:
        """One set-point, and the measured positions [J] if they are fresh."""
        self._commands.append(command)
        self._times_s.append(time_s)
        self._measured.append(np.full_like(command.positions, np.nan) if actual is None else actual)

    def report(self) -> ExecutionReport:
        """All of it, as arrays."""
        shape = (len(self._times_s), len(self._joint_names))
        return ExecutionReport(
            self.status,
            self.error,
            self.plan,
            self.pauses,
            self._joint_names,
            tuple(self._commands),
            np.array(self._times_s),
            _rows([command.positions for command in self._commands], shape),
            _rows([command.velocities for command in self._commands], shape),
            _rows(self._measured, shape),
        )


def _rows(values: Sequence[Float64], shape: tuple[int, int]) -> Float64:
    """One array [N, J], row by row: one call for all would keep the interpreter from the ticker."""
    rows = np.empty(shape)
    for index, value in enumerate(values):
        rows[index] = value
    return rows
