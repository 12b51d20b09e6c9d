"""The executor node: `follow_joint_trajectory` in, `joint_command` at `rate_hz` out. No maths.

One thread: a multi-threaded rclpy executor was measured to be 0.4 s late on two busy cores, a
single-threaded one 0.04 s. So no callback waits: ticks start goals and conclude them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import load_arm
from mvista_core.errors import CancelledError, MvistaError, ObservationError, StaleFeedbackError
from mvista_core.records import JointState
from mvista_core.timing import seconds_to_ns
from mvista_executor import action_messages
from mvista_executor.gaps import GapMeter
from mvista_executor.settings import ExecutorSettings
from mvista_executor.stream import ExecutionStream
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg
from mvista_ros.parameters import declare, parameter

FEEDBACK_EVERY_TICKS = 10
FEEDBACK_WAIT_S = 0.5
STOP_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class ExecutorParameters(ExecutorSettings):
    """The node's parameters: the stream's settings and the arm they are for."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")


class ExecutorNode(HouseNode):
    """Carries one trajectory at a time out on the arm of its namespace, then holds."""

    def __init__(self) -> None:
        super().__init__("executor")
        self._settings = declare(self, ExecutorParameters)
        self._arm = load_arm(self._settings.arm_file)
        self._stream = ExecutionStream(self._arm, self._settings, self.system_clock)
        self._stopping, self._idle = threading.Event(), threading.Event()
        self._goal: ServerGoalHandle | None = None
        self._measured: JointState | None = None
        self._start_by_ns: int | None = None
        self._ticks, self._gaps = 0, GapMeter()
        self._commands = self.create_publisher(JointStateMsg, "joint_command", qos.COMMAND)
        self._executed = self.create_publisher(JointTrajectory, "executed", qos.STATIC)
        self.create_subscription(JointStateMsg, "joint_states", self._on_state, qos.SENSOR_IN)
        self.create_timer(self._settings.period_s, self._tick)
        self._server = ActionServer(
            self,
            FollowJointTrajectory,
            "follow_joint_trajectory",
            execute_callback=self._conclude,
            goal_callback=self._accept,
            handle_accepted_callback=self._begin,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def health(self) -> Health:
        """The stream's status, and the largest gap between two ticks in the last second."""
        gap_s, said = self._gaps.take_s(), self._stream.status.value
        level = Level.WARN if gap_s > self._settings.stall_after_s else Level.OK
        return Health(level, said, (("largest gap between ticks (s)", f"{gap_s:.4f}"),))

    def stop(self) -> None:
        """Stop the arm smoothly; the last set-point is a hold."""
        self._stopping.set()
        if self._goal is not None:
            self._idle.wait(STOP_TIMEOUT_S)

    def _on_state(self, message: JointStateMsg) -> None:
        try:
            self._measured = joint_state_from_msg(message)
        except ObservationError as error:
            self.get_logger().warning(f"joint_states: {error}", throttle_duration_sec=1.0)

    def _accept(self, _request: FollowJointTrajectory.Goal) -> GoalResponse:
        if self._goal is None and not self._stopping.is_set():
            return GoalResponse.ACCEPT
        self.get_logger().warning("a goal was rejected: another is being executed")
        return GoalResponse.REJECT

    def _begin(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        self._idle.clear()
        self._start_by_ns = self.system_clock.monotonic_ns() + seconds_to_ns(FEEDBACK_WAIT_S)

    def _start(self, goal: ServerGoalHandle, last_try: bool) -> None:
        arm, settings, measured = self._arm, self._settings, self._measured
        try:
            wanted = action_messages.goal_from_msg(goal.request, measured, arm, settings)
            self._stream.start(wanted.trajectory, measured, wanted.tolerances)
        except MvistaError as error:
            if isinstance(error, StaleFeedbackError) and not last_try:
                return  # the next tick tries again
            goal.execute(partial(self._conclude, error=error))
        self._start_by_ns = None

    def _tick(self) -> None:
        self._ticks, now_ns = self._ticks + 1, self.system_clock.monotonic_ns()
        self._gaps.tick(now_ns)
        if self._start_by_ns is not None and self._goal is not None:
            self._start(self._goal, last_try=now_ns > self._start_by_ns)
        moving = not self._stream.status.final
        if self._stopping.is_set():
            self._stream.cancel(CancelledError("the executor is shutting down; the arm holds"))
        elif moving and self._goal is not None and self._goal.is_cancel_requested:
            self._stream.cancel()
        tick = self._stream.tick(self._measured)
        if tick.command is not None:
            self._commands.publish(joint_command_to_msg(tick.command))
        if moving and self._goal is not None:
            if self._ticks % FEEDBACK_EVERY_TICKS == 0:
                self._goal.publish_feedback(action_messages.feedback_to_msg(tick))
            if tick.status.final:
                report = self._stream.report()
                self._executed.publish(action_messages.executed_to_msg(report))
                self.get_logger().info(report.summary)
                self._goal.execute(partial(self._conclude, error=report.error))

    def _conclude(
        self, goal: ServerGoalHandle, error: MvistaError | None = None
    ) -> FollowJointTrajectory.Result:
        if error is None:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            self.get_logger().error(f"{type(error).__name__}: {error}")
            goal.abort()
        self._goal = None
        self._idle.set()
        return action_messages.result_to_msg(error)


def main() -> None:
    """Entry point of the `executor_node` executable."""
    run_node(ExecutorNode)
