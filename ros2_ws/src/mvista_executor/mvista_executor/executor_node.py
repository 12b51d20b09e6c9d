"""The executor node: goals in, `joint_command` at `rate_hz` out. No maths.

The ticker's thread does what has a deadline: it takes the newest joint state, ticks the stream and
publishes the set-point. The executor's (one: a multi-threaded rclpy executor was measured to be
0.4 s late on two busy cores) wakes up for goals and for what there is to tell. The queue's has
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
from mvista_core.errors import CancelledError, RivalWritersError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_core.ticker import Ticker
from mvista_executor import rivals
from mvista_executor.gaps import GAP_PERIODS, GapMeter
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
LOOK_TICKS = 20
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
        self._stream, self._lock = ExecutionStream(arm, settings, clock), threading.Lock()
        self._gaps, self._intake = GapMeter(settings.period_s), JointIntake(arm)
        self._collector = realtime.YoungCollector()
        self._failure: BaseException | None = None
        self._rival: RivalWritersError | None = None
        self._ticks = 0
        self._slow = ""
        news = self.create_guard_condition(self._tell)
        self._commands = self.create_publisher(JointStateMsg, rivals.COMMAND, qos.COMMAND)
        self._command_message = CommandMessage()
        topics = Topics(
            self.create_publisher(SetPointReport, "set_point_report", qos.EVENTS),
            self.create_publisher(JointTrajectory, "executed", qos.STATIC),
        )
        self._teller, self._wake = Teller(topics, news.trigger), news.trigger
        self._states = self.listening.queue(
            JointStateMsg, "joint_states", self._read_state, qos.SENSOR_IN
        )
        self._rivals = rivals.Rivals(
            # The graph is asked by full names: it knows no remapping.
            partial(self.count_publishers, self._commands.topic_name),
            partial(self.count_publishers, self.resolve_topic_name(STATUS_TOPIC)),
        )
        log = self.get_logger().error
        self._planning = PlanningProcess(arm, settings, clock, log)
        self._goals = GoalQueue(
            *(self._stream, self._lock, arm, settings, clock, lambda: self._intake.newest),
            plan=self._planning.plan,
            allowed=self._rivals.look,
            on_ended=news.trigger,
            log=log,
        )
        self._servers = GoalServers(self, self._goals)
        self._ticker = Ticker(clock, settings.period_s, self._tick, self._claim)
        realtime.claim(GOALS_PRIORITY)  # of the queue's thread and, later, the executor's
        self._goals.start()
        realtime.switch_threads_soon()
        self._ticker.start()
        realtime.freeze_collector()

    def health(self) -> Health:
        """The stream's status, gaps between set-points, who else commands."""
        self._collector.collect()
        gap_s, said = self._gaps.take_s(), self._stream.status.value
        values = (
            ("largest gap between ticks (s)", f"{gap_s:.4f}"),
            (f"gaps over {GAP_PERIODS} periods", str(self._gaps.total)),
            ("other publishers of joint_command", str(self._rivals.writers)),
            ("other executors", str(self._rivals.servers)),
            ("scheduling", self._slow or f"SCHED_FIFO {TICKER_PRIORITY}"),
        )
        if self._rival is not None:
            return Health(Level.ERROR, f"[{self._rival.code}] {self._rival}", values)
        late = gap_s > self._stall_after_s or self._slow
        return Health(Level.WARN if late else Level.OK, said, values)

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
        try:
            self._states.take()
            if self._ticks % LOOK_TICKS == 0:
                self._look_for_rivals()
            self._ticks += 1
            with self._lock:
                if self._rival is not None:
                    self._stream.let_go()
                tick = self._stream.tick(self._intake.newest)
                self._goals.note(tick)
                # Together: a plan may be taken over as soon as the lock is free.
                plan_id, running = self._goals.plan_id, self._goals.active is not None
                recording = None if tick.command is None else self._stream.recording
            if tick.command is not None and recording is not None:
                self._gaps.tick(self.system_clock.monotonic_ns(), tick.command.stamp_ns)
                self._commands.publish(self._command_message.of(tick.command))
                self._teller.note(tick, plan_id, recording, running)
        except BaseException as error:
            self._failure = error
            self._wake()
            raise

    def _read_state(self, data: bytes) -> JointState:
        return self._intake.take(joint_state_from_msg(message_from_bytes(data, JointStateMsg)))

    def _look_for_rivals(self) -> None:
        rival = self._rivals.look()
        if rival is not None:
            if self._rival is None:
                self.get_logger().error(str(rival))
            # At every look: a goal may have been taken over between two.
            self._goals.stop_for(rival)
        self._rival = rival

    def _tell(self) -> None:
        """On the executor's thread: tell what was sent, and conclude goals."""
        if self._failure is not None:
            raise self._failure
        gaps = self._gaps.take_long()
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
