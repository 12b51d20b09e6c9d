"""The executor node: `follow_joint_trajectory` in, `joint_command` at `rate_hz` out. No maths.

Three threads. The ticker does one thing, at a deadline: it ticks the stream and publishes the
set-point. The executor's thread (one: a multi-threaded rclpy executor was measured to be 0.4 s late
on two busy cores) takes feedback and goals in and tells what was done. The queue's makes the plans.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from functools import partial

from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import CancelledError, ObservationError
from mvista_core.records import JointState
from mvista_executor import action_messages
from mvista_executor.gaps import GAP_PERIODS, GapMeter
from mvista_executor.goal_queue import Ended, GoalQueue
from mvista_executor.report import Tick
from mvista_executor.settings import ExecutorSettings
from mvista_executor.stream import ExecutionStream
from mvista_executor.ticker import Ticker
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg
from mvista_ros.parameters import declare, parameter

PUMP_PERIOD_S = 0.02
FEEDBACK_EVERY_PUMPS = 3
STOP_TIMEOUT_S = 3.0
PROCESS_PRIORITY, TICKER_PRIORITY = 30, 40
"""All threads of this process share the interpreter: each that may hold it runs when it is due."""


@dataclass(frozen=True)
class ExecutorParameters(ExecutorSettings):
    """The node's parameters: the stream's settings and the arm they are for."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")


class ExecutorNode(HouseNode):
    """Carries trajectories out on the arm of its namespace, then holds."""

    def __init__(self) -> None:
        super().__init__("executor")
        self._settings = declare(self, ExecutorParameters)
        arm, clock = load_arm(self._settings.arm_file), self.system_clock
        self._stream, self._lock = ExecutionStream(arm, self._settings, clock), threading.Lock()
        self._measured: JointState | None = None
        self._failure: BaseException | None = None
        self._gaps, self._ticks, self._pumps = GapMeter(self._settings.period_s), deque[Tick](), 0
        self._told_why = ""
        self._commands = self.create_publisher(JointStateMsg, "joint_command", qos.COMMAND)
        self._sent = self.create_publisher(JointStateMsg, "sent", qos.STATUS)
        self._why = self.create_publisher(DiagnosticStatus, "why", qos.STATIC)
        self._executed = self.create_publisher(JointTrajectory, "executed", qos.STATIC)
        self._goals = GoalQueue(
            self._stream, self._lock, arm, self._settings, clock, lambda: self._measured
        )
        self.listen(JointStateMsg, "joint_states", self._on_state, qos.SENSOR_IN)
        self.create_timer(PUMP_PERIOD_S, self._pump)
        self._server = ActionServer(
            self,
            FollowJointTrajectory,
            "follow_joint_trajectory",
            execute_callback=self._conclude,
            goal_callback=self._accept,
            handle_accepted_callback=self._goals.offer,
            cancel_callback=self._cancel,
        )
        self._slow = ""
        self._ticker = Ticker(clock, self._settings.period_s, self._tick, self._claim)
        self._goals.start()
        realtime.switch_threads_soon()
        self._ticker.start()
        realtime.freeze_collector()

    def health(self) -> Health:
        """The stream's status, gaps between set-points, and what the scheduler allows."""
        realtime.collect_young()
        gap_s, said = self._gaps.take_s(), self._stream.status.value
        values = (
            ("largest gap between ticks (s)", f"{gap_s:.4f}"),
            (f"gaps over {GAP_PERIODS} periods", str(self._gaps.total)),
            ("scheduling", self._slow or f"SCHED_FIFO {TICKER_PRIORITY}"),
        )
        late = gap_s > self._settings.stall_after_s or self._slow
        return Health(Level.WARN if late else Level.OK, said, values)

    def stop(self) -> None:
        """Stop the arm smoothly; the last set-point is a hold."""
        self._goals.close(CancelledError("the executor is shutting down; the arm holds"))
        self._goals.idle.wait(STOP_TIMEOUT_S)
        self._ticker.stop()
        realtime.thaw_collector()

    def _claim(self) -> None:
        """On the ticker's thread, once."""
        self._slow = realtime.claim(TICKER_PRIORITY)
        if self._slow:
            self.get_logger().warning(self._slow)

    def _tick(self) -> None:
        """On the ticker's thread."""
        try:
            with self._lock:
                tick = self._stream.tick(self._measured)
                self._goals.note(tick)
            if tick.command is not None:
                self._gaps.tick(self.system_clock.monotonic_ns(), tick.command.stamp_ns)
                self._commands.publish(joint_command_to_msg(tick.command))
                self._ticks.append(tick)
        except BaseException as error:
            self._failure = error
            raise

    def _pump(self) -> None:
        """On the executor's thread: tell what was sent, and conclude goals."""
        failure = self._failure or self._goals.failure
        if failure is not None:
            raise failure
        self._pumps += 1
        for gap in self._gaps.take_long():
            self.get_logger().warning(
                f"{gap.seconds * 1e3:.1f} ms between two set-points, stamp {gap.stamp_ns}; "
                "the machine is overloaded"
            )
        ticks = [self._ticks.popleft() for _ in range(len(self._ticks))]
        for tick in ticks if self._sent.get_subscription_count() else ():
            self._sent.publish(action_messages.sent_to_msg(tick))
        if ticks and self._told_why != (told := action_messages.reasons(ticks[-1])):
            self._told_why = told
            self._why.publish(action_messages.why_to_msg(ticks[-1], self._stream.recording))
        goal = self._goals.active
        if ticks and goal is not None and self._pumps % FEEDBACK_EVERY_PUMPS == 0:
            asked, now = goal.request.trajectory, self._stream.recording
            goal.publish_feedback(action_messages.feedback_to_msg(ticks[-1], asked, now))
        for ended in self._goals.take_ended():
            if ended.recording is not None:
                report = ended.recording.report()
                self._executed.publish(action_messages.executed_to_msg(report))
                self.get_logger().info(report.summary)
            ended.handle.execute(partial(self._conclude, ended=ended))

    def _on_state(self, message: JointStateMsg) -> None:
        try:
            self._measured = joint_state_from_msg(message)
        except ObservationError as error:
            self.get_logger().warning(f"joint_states: {error}", throttle_duration_sec=1.0)

    def _accept(self, _request: FollowJointTrajectory.Goal) -> GoalResponse:
        return GoalResponse.REJECT if self._goals.closed else GoalResponse.ACCEPT

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self._goals.cancel(goal)
        return CancelResponse.ACCEPT

    def _conclude(
        self, goal: ServerGoalHandle, ended: Ended | None = None
    ) -> FollowJointTrajectory.Result:
        error = None if ended is None else ended.error
        if error is None:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            self.get_logger().error(f"{type(error).__name__}: {error}")
            goal.abort()
        self._goals.concluded()
        return action_messages.result_to_msg(error)


def main() -> None:
    """Entry point of the `executor_node` executable."""
    run_node(ExecutorNode, realtime_priority=PROCESS_PRIORITY)
