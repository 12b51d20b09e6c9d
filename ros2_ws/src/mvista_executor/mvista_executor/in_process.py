"""Execution without ROS: the same stream driven against an `Arm` port in this process."""

from __future__ import annotations

from collections.abc import Callable

from mvista_core.arm import ArmModel
from mvista_core.errors import StaleFeedbackError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.ports import Arm, Clock, Progress
from mvista_core.records import ActionTrajectory, JointCommand
from mvista_core.timing import seconds_to_ns
from mvista_executor.report import ExecutionReport, Tick, Tolerances
from mvista_executor.stream import ExecutionStream


def execute_in_process(
    arm: Arm,
    trajectory: ActionTrajectory,
    arm_model: ArmModel,
    clock: Clock,
    settings: ExecutorSettings | None = None,
    tolerances: Tolerances | None = None,
    progress: Progress | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> ExecutionReport:
    """Carry a trajectory out on an arm and wait until it rests.

    Ticks at `rate_hz` of the clock: with a simulator's clock, `sleep_until` steps the simulation.
    `progress(status, fraction)` returning False stops the arm smoothly. What goes wrong after the
    first command is told by the report (`status`, `error`), not raised.

    Raises:
        TrajectoryError, StaleFeedbackError, ArmNotReadyError, ObservationError: refused whole;
            nothing was sent.
    """
    settings = settings or ExecutorSettings()
    stream = ExecutionStream(arm_model, settings, clock)
    stream.start(trajectory, arm.state(), tolerances)
    period_ns = seconds_to_ns(settings.period_s)
    due_ns = clock.monotonic_ns()
    try:
        while not stream.status.final:
            tick = stream.tick(arm.state())
            if tick.command is not None:
                _send(arm, tick.command, stream)
            if on_tick is not None:
                on_tick(tick)
            if progress is not None and not progress(tick.status.value, tick.progress):
                stream.cancel()
            due_ns = max(due_ns + period_ns, clock.monotonic_ns())
            clock.sleep_until(due_ns)
    except BaseException:
        arm.hold()
        raise
    return stream.report()


def _send(arm: Arm, command: JointCommand, stream: ExecutionStream) -> None:
    try:
        arm.send(command)
    except StaleFeedbackError as error:
        stream.cancel(error)
