"""The executor node: goals in, `joint_command` at `rate_hz` out. No maths.

The ticker's thread does what has a deadline: it ticks the stream, publishes the set-point, and then
takes the newest joint state. The executor's (one: a multi-threaded rclpy executor was measured to
be 0.4 s late on two busy cores) wakes up for goals and for what there is to tell. The queue's has
plans made, in a process of their own.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

from mvista_interfaces.msg import SetPointReport
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import CancelledError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointCommand, JointState
from mvista_core.ticker import Ticker
from mvista_executor import rivals
from mvista_executor.command_loop import CommandLoop
from mvista_executor.goal_queue import GoalQueue
from mvista_executor.goal_servers_node import GoalServers
from mvista_executor.intake import JointIntake
from mvista_executor.planning_process import PlanningProcess
from mvista_executor.stream import ExecutionStream
from mvista_executor.teller import CommandMessage, Teller, Topics
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import joint_state_from_msg
from mvista_ros.listening import message_from_bytes
from mvista_ros.parameters import declare, parameter

FIXED = "motions are planned and checked by it in advance, also the one under way"
"""Why its parameters do not change at run time."""
STOP_TIMEOUT_S = 3.0
STATUS_TOPIC = f"{rivals.SERVER}/_action/status"
GOALS_PRIORITY, PROCESS_PRIORITY, TICKER_PRIORITY = 20, 30, 40
"""All threads of this process share the interpreter: each that may hold it runs when it is due. The
middleware's (the process's) go before those that take goals: reading a large one lasts a second,
and a publisher that waits for a lock of a thread which is kept waiting gives up after 0.1 s."""


@dataclass(frozen=True)
class ExecutorParameters(ExecutorSettings):
    """The node's parameters: the stream's settings and the arm they are for."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")


class ExecutorNode(HouseNode):
    """Carries trajectories out on the arm of its namespace, then holds."""

    def __init__(self) -> None:
        super().__init__("executor")
        settings = declare(self, ExecutorParameters, fixed=FIXED)
        arm, clock = load_arm(settings.arm_file), self.system_clock
        self._stall_after_s = settings.stall_after_s
        stream, lock = ExecutionStream(arm, settings, clock), threading.Lock()
        self._intake = JointIntake(arm)
        self._collector = realtime.YoungCollector()
        self._slow = ""
        news = self.create_guard_condition(self._tell)
        self._commands = self.create_publisher(JointStateMsg, rivals.COMMAND, qos.COMMAND)
        self._command_message = CommandMessage()
        topics = Topics(
            self.create_publisher(SetPointReport, "set_point_report", qos.EVENTS),
            self.create_publisher(JointTrajectory, "executed", qos.STATIC),
        )
        self._teller = Teller(topics, news.trigger)
        self._states = self.listening.queue(
            JointStateMsg, "joint_states", self._read_state, qos.SENSOR_IN
        )
        others = rivals.Rivals(
            # The graph is asked by full names: it knows no remapping.
            partial(self.count_publishers, self._commands.topic_name),
            partial(self.count_publishers, self.resolve_topic_name(STATUS_TOPIC)),
        )
        log, measured = self.get_logger().error, lambda: self._intake.newest
        self._planning = PlanningProcess(arm, settings, clock, log)
        self._goals = GoalQueue(
            *(stream, lock, arm, settings, clock, measured),
            *(self._planning.plan, others.look, news.trigger, log),
        )
        self._servers = GoalServers(self, self._goals)
        self._loop = CommandLoop(stream, lock, self._goals, measured, others, settings, clock, log)
        self._ticker = Ticker(clock, settings.period_s, self._tick, self._claim, news.trigger)
        realtime.claim(GOALS_PRIORITY)  # of the queue's thread and, later, the executor's
        self._goals.start()
        realtime.switch_threads_soon()
        self._ticker.start()
        realtime.freeze_collector()

    def health(self) -> Health:
        """The stream's status, gaps between set-points, who else commands."""
        self._collector.collect()
        level, said, values = self._loop.look(self._stall_after_s, self._slow)
        scheduling = self._slow or f"SCHED_FIFO {TICKER_PRIORITY}"
        return Health(Level[level], said, (*values, ("scheduling", scheduling)), self._loop.rival)

    def stop(self) -> None:
        """Stop the arm smoothly; the last set-point is a hold."""
        self._goals.close(CancelledError("the executor is shutting down; the arm holds"))
        self._goals.idle.wait(STOP_TIMEOUT_S)
        self._ticker.stop()
        self._planning.stop()
        realtime.thaw_collector()

    def _claim(self) -> None:
        """On the ticker's thread, once."""
        self._slow = realtime.claim(TICKER_PRIORITY)
        if self._slow:
            self.get_logger().warning(self._slow)

    def _tick(self) -> None:
        """On the ticker's thread."""
        turn = self._loop.step(self._states.take, self._send)
        if turn is not None:
            self._teller.note(turn.tick, turn.plan_id, turn.recording, turn.running)

    def _send(self, command: JointCommand) -> None:
        self._commands.publish(self._command_message.of(command))

    def _read_state(self, data: bytes) -> JointState:
        return self._intake.take(joint_state_from_msg(message_from_bytes(data, JointStateMsg)))

    def _tell(self) -> None:
        """On the executor's thread: tell what was sent, and conclude goals."""
        self._ticker.check()
        gaps = self._loop.gaps.take_long()
        for gap in gaps:
            self.get_logger().warning(f"{gap}; the machine is overloaded")
        self._teller.tell(gaps, self._servers.tell)
        for ended in self._goals.take_ended():
            if ended.recording is not None:
                self.get_logger().info(self._teller.tell_ended(ended.recording))
            self._servers.conclude(ended)


def main() -> None:
    """Entry point of the `executor_node` executable."""
    run_node(ExecutorNode, realtime_priority=PROCESS_PRIORITY)
