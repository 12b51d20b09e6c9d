"""The executor node: `follow_joint_trajectory` in, `joint_command` at `rate_hz` out. No maths.

One thread does everything: a multi-threaded rclpy executor was measured to be up to 0.4 s late on
a busy two-core machine, a single-threaded one 0.04 s. So no callback waits: a goal is started
where it is accepted, and concluded (`goal.execute`) by the tick that finds it finished.
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
from mvista_core.errors import CancelledError, MvistaError, ObservationError
from mvista_core.records import JointState
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_executor import action_messages
from mvista_executor.settings import ExecutorSettings
from mvista_executor.stream import ExecutionStream
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg
from mvista_ros.parameters import declare, parameter

FEEDBACK_EVERY_TICKS = 10
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
        self._stopping = threading.Event()
        self._goal: ServerGoalHandle | None = None
        self._measured: JointState | None = None
        self._ticks = self._last_ns = self._largest_gap_ns = 0
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
        largest_s, self._largest_gap_ns = ns_to_seconds(self._largest_gap_ns), 0
        level = Level.WARN if largest_s > self._settings.stall_after_s else Level.OK
        values = (("largest gap between ticks (s)", f"{largest_s:.4f}"),)
        return Health(level, self._stream.status.value, values)

    def stop(self) -> None:
        """Stop the arm smoothly; the last set-point is a hold."""
        clock = self.system_clock
        self._stopping.set()
        deadline_ns = clock.monotonic_ns() + seconds_to_ns(STOP_TIMEOUT_S)
        while self._goal is not None and clock.monotonic_ns() < deadline_ns:
            clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(self._settings.period_s))

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
        measured = self._measured
        try:
            trajectory, tolerances = action_messages.goal_from_msg(
                goal.request, measured, self._arm, self._settings
            )
            self._stream.start(trajectory, measured, tolerances)
        except MvistaError as error:
            goal.execute(partial(self._conclude, error=error))

    def _tick(self) -> None:
        now_ns = self.system_clock.monotonic_ns()
        gap_ns, self._last_ns = now_ns - (self._last_ns or now_ns), now_ns
        self._largest_gap_ns = max(self._largest_gap_ns, gap_ns)
        moving = not self._stream.status.final
        if self._stopping.is_set():
            self._stream.cancel(CancelledError("the executor is shutting down; the arm holds"))
        elif moving and self._goal is not None and self._goal.is_cancel_requested:
            self._stream.cancel()
        tick = self._stream.tick(self._measured)
        if tick.command is not None:
            self._commands.publish(joint_command_to_msg(tick.command))
        self._ticks += 1
        if moving and self._goal is not None:
            if self._ticks % FEEDBACK_EVERY_TICKS == 0:
                self._goal.publish_feedback(action_messages.feedback_to_msg(tick))
            if tick.status.final:
                self._finish(self._goal)

    def _finish(self, goal: ServerGoalHandle) -> None:
        report = self._stream.report()
        self._executed.publish(action_messages.executed_to_msg(report))
        self.get_logger().info(report.summary)
        goal.execute(partial(self._conclude, error=report.error))

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
        return action_messages.result_to_msg(error)


def main() -> None:
    """Entry point of the `executor_node` executable."""
    run_node(ExecutorNode)
