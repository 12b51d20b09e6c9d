"""Where the arm is, against where it should be: on the way, in the workspace, at the end."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import GoalToleranceError, MvistaError, PathToleranceError, WorkspaceError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import Float64, JointState
from mvista_executor.feedback import velocities_of
from mvista_executor.motion import MotionState
from mvista_executor.report import Tolerances
from mvista_executor.workspace import Workspace


class Tracking:
    """Judges the measured joints of one trajectory after another."""

    def __init__(self, arm: ArmModel, settings: ExecutorSettings) -> None:
        self._arm, self._settings = arm, settings
        self._workspace = Workspace(arm, settings)
        self._outside_m = 0.0

    def begin(self, start: Float64) -> None:
        """A trajectory begins at rest at `start` [J], which may lie outside the workspace."""
        self._outside_m = self._workspace.pose_outside_m(start)

    def strayed(
        self, fresh: JointState, last: MotionState, allowed: Tolerances
    ) -> MvistaError | None:
        """What is wrong with where the arm is, against the last set-point and the workspace."""
        names = self._arm.joint_names
        actual = fresh.ordered(names)
        # Against the set-point of the tick before: this one's is not sent yet.
        distance = np.abs(actual - last.positions)
        for joint in np.flatnonzero(distance > allowed.path):
            return PathToleranceError(
                f"{names[joint]} is {distance[joint]:.3f} from its set-point, at most "
                f"{allowed.path[joint]:.3f} allowed; is something in the way?"
            )
        if np.isfinite(allowed.path_velocity).any():
            speed = np.abs(velocities_of(fresh, names) - last.velocities)
            for joint in np.flatnonzero(speed > allowed.path_velocity):
                return PathToleranceError(
                    f"{names[joint]} is {speed[joint]:.3f}/s off its set-point's velocity, at "
                    f"most {allowed.path_velocity[joint]:.3f}/s allowed"
                )
        # An arm parked outside may come in; how far out it may be shrinks with how far it was.
        outside_m = self._workspace.pose_outside_m(actual)
        if outside_m > self._outside_m + self._settings.workspace_margin_m:
            where = self._workspace.describe(actual)
            return WorkspaceError(f"{outside_m:.3f} m outside the workspace: {where}")
        self._outside_m = min(self._outside_m, outside_m)
        return None

    def not_there(
        self, fresh: JointState, end: Float64, allowed: Tolerances, late: bool
    ) -> GoalToleranceError | None:
        """What keeps the arm from having arrived, at rest, at `end` [J]; `late`: time is over."""
        goal = allowed.goal if not late or allowed.late_goal is None else allowed.late_goal
        names = self._arm.joint_names
        distance = np.abs(fresh.ordered(names) - end)
        speed = np.abs(velocities_of(fresh, names))
        # As joint_trajectory_controller's goal and stopped-velocity tolerances.
        away = (distance > goal) | (speed > allowed.goal_velocity)
        for joint in np.flatnonzero(away):
            return GoalToleranceError(
                f"{names[joint]} is {distance[joint]:.4f} from the last point and moves at "
                f"{speed[joint]:.4f}/s, at most {goal[joint]:.4f} and "
                f"{allowed.goal_velocity[joint]:.4f}/s within {allowed.goal_time_s:.2f} s "
                "allowed; the arm holds"
            )
        return None
