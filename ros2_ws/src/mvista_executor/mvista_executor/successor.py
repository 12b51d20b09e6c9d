"""A plan made beside the running stream, and what it was made from.

Planning takes tens of milliseconds; the stream has five per set-point. So the plan is made from a
`Standing` that the stream gives out, on any thread, and taken over by the stream in one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ArmNotReadyError, TrajectoryError
from mvista_core.executor_settings import GRIPPER, ExecutorSettings, per_joint
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_executor.check import start_pose
from mvista_executor.motion import Motion, MotionState
from mvista_executor.moves import needs_approach
from mvista_executor.plan import ExecutionPlan, prepare
from mvista_executor.report import Tolerances


@dataclass(frozen=True)
class Standing:
    """Where a successor begins: `state` at monotonic `at_ns` on the running `motion`.

    With nothing running `motion` is None and it begins at rest: at the set-point that is `held`,
    when the arm is there, else where the arm is measured.
    """

    at_ns: int
    motion: Motion | None
    state: MotionState | None
    held: Float64 | None
    measured: JointState


@dataclass(frozen=True)
class Successor:
    """A plan that the stream can take over, and its tolerances."""

    plan: ExecutionPlan
    standing: Standing
    tolerances: Tolerances


def make_successor(
    trajectory: ActionTrajectory,
    standing: Standing,
    arm: ArmModel,
    settings: ExecutorSettings,
    tolerances: Tolerances | None = None,
) -> Successor:
    """Check a trajectory and plan it from where the stream stands. Needs no lock.

    Raises:
        TrajectoryError: refused whole, with a numbered reason.
        ArmNotReadyError, ObservationError: the arm cannot start from where it is.
    """
    state = standing.state
    if state is None:
        state = MotionState.rest(_rest_pose(standing, trajectory.joint_names, arm, settings))
    plan = prepare(trajectory, state, arm, settings)
    tolerances = tolerances or Tolerances.default(arm, settings)
    if tolerances.end_by_s is not None and plan.duration_s > tolerances.end_by_s:
        raise TrajectoryError(
            TrajectoryError.TOO_LATE,
            f"it would end after {plan.duration_s:.2f} s (slowed {plan.stretch:.2f} times, "
            f"approach {plan.approach_s:.2f} s), the goal allows {tolerances.end_by_s:.2f} s; "
            "give it more time or a larger goal_time_tolerance",
        )
    return Successor(plan, standing, tolerances)


def check_unmoved(
    standing: Standing, measured: JointState, arm: ArmModel, settings: ExecutorSettings
) -> None:
    """The arm must still be where the plan was made for.

    Raises:
        ArmNotReadyError: it was moved meanwhile.
    """
    order = arm.joint_names
    # Against the pose measured then, not the set-point: an arm that sags has not been moved.
    moved = np.abs(measured.ordered(order) - standing.measured.ordered(order))
    allowed = per_joint(arm, settings.limit_slack_rad, settings.limit_slack_m)
    for joint in np.flatnonzero(moved > allowed):
        raise ArmNotReadyError(
            f"{order[joint]} moved by {moved[joint]:.4f} while the plan was made, at most "
            f"{allowed[joint]:.4f} (limit_slack) allowed; start from rest"
        )


def _rest_pose(
    standing: Standing, names: tuple[str, ...], arm: ArmModel, settings: ExecutorSettings
) -> Float64:
    """What is held [J] where the arm is there, else what is measured.

    A gripper that the goal does not name keeps its set-point wherever it is measured: what it holds
    keeps it from its set-point, and would fall.
    """
    measured = start_pose(standing.measured, arm, settings)
    held = standing.held
    if held is None:
        return measured
    # A chained comparison: this is the gripper, and the goal does not name it.
    left_alone = np.array([name == GRIPPER not in names for name in arm.joint_names])
    here = np.where(left_alone, held, measured)
    # From the held set-point where it can be: what is sent does not step from goal to goal.
    return here if needs_approach(here, held, arm, settings) else held
