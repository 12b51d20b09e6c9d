"""The leader's node: its bus on one side, `joint_states` and `status` on the other.

Run it in the leader's namespace; its name is `reader`. It moves nothing: the only frame it sends is
a question, and with `listen_only` not even that.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

from mvista_interfaces.msg import LeaderStatus
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import LeaderLostError
from mvista_core.records import JointState
from mvista_piper.arm_thread import ArmThread
from mvista_piper.bus import open_bus
from mvista_piper.leader import SKIPPED, LeaderCondition, PiperLeader
from mvista_piper.link import PiperLink
from mvista_piper.piper_node import REALTIME_PRIORITY, STOP_TIMEOUT_S, THREAD_SWITCH_S
from mvista_piper.settings import LeaderSettings
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import header, joint_state_to_msg, outcome_from_error, outcome_ok
from mvista_ros.parameters import declare, parameter

FIXED = "the bus is open with it"
STATUS_PERIOD_S = 0.1
TICK_S = 0.01


@dataclass(frozen=True)
class LeaderParameters(LeaderSettings):
    """The node's parameters: the reader's settings, the arm, and its follower on the same bus."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joint names of the leader")
    follower: str = parameter(
        "", "listen_only: publish the joint states of the follower on this bus in this namespace"
    )


class LeaderNode(HouseNode):
    """Tells where the leader of its namespace stands, and whether it is there."""

    def __init__(self) -> None:
        super().__init__("reader")
        settings = declare(self, LeaderParameters, fixed=FIXED)
        clock = self.system_clock
        link = PiperLink(partial(open_bus, settings, SKIPPED), clock)
        self._leader = PiperLeader(link, load_arm(settings.arm_file), settings, clock)
        self._thread = ArmThread(self._leader, clock, TICK_S, self._notice)
        self._poses = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self._follower: Publisher | None = None
        if settings.listen_only and settings.follower:
            topic = f"{_outer(self.get_namespace())}/{settings.follower}/joint_states"
            self._follower = self.create_publisher(JointStateMsg, topic, qos.SENSOR_OUT)
        self._statuses = self.create_publisher(LeaderStatus, "status", qos.STATUS)
        self._said: LeaderCondition | None = None
        # A change is seen on the thread that reads the bus and told on the node's own, where what
        # ended the other comes up.
        self._changed = self.create_guard_condition(self._publish_status)
        self._leader.listen(self._publish_pose, self._publish_follower)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self._collector = realtime.YoungCollector()
        self._leader.open()
        self._thread.start()
        realtime.freeze_collector()

    def health(self) -> Health:
        """Whether the leader can be followed."""
        self._collector.collect()
        condition, trouble = self._leader.condition, self._leader.trouble()
        counters, (heard, dropped) = self._leader.counters, self._leader.counts
        values = (
            ("set-points heard", str(heard)),
            ("frames dropped", str(dropped)),
            ("since the last answer (s)", f"{self._leader.answered_s:.2f}"),
            ("error frames", str(counters.error_frames)),
            ("frames sent", str(counters.sent)),
        )
        if trouble is None:
            return Health(Level.OK, condition.name.lower(), values)
        # Lost is a fault; a pose that is not known yet will be, once a hand moves the leader.
        level = Level.ERROR if isinstance(trouble, LeaderLostError) else Level.WARN
        return Health(level, f"[{trouble.code}] {trouble}", values)

    def stop(self) -> None:
        """Let go of the bus."""
        self._thread.stop(STOP_TIMEOUT_S)
        self._leader.close()
        realtime.thaw_collector()

    def _publish_pose(self, pose: JointState) -> None:
        """On the thread that reads the bus."""
        self._poses.publish(joint_state_to_msg(pose))

    def _publish_follower(self, state: JointState) -> None:
        if self._follower is not None:
            self._follower.publish(joint_state_to_msg(state))

    def _notice(self) -> None:
        """On the thread that reads the bus, at each tick: a change is told at once."""
        condition = self._leader.condition
        if condition is not self._said:
            self._said = condition
            self._changed.trigger()

    def _publish_status(self) -> None:
        self._thread.check()
        trouble, (heard, dropped) = self._leader.trouble(), self._leader.counts
        self._statuses.publish(
            LeaderStatus(
                header=header(self.system_clock.now_ns(), ""),
                state=self._leader.condition.value,
                outcome=outcome_ok() if trouble is None else outcome_from_error(trouble),
                answered_s=self._leader.answered_s,
                set_points=heard,
                dropped=dropped,
                error_frames=self._leader.counters.error_frames,
            )
        )


def _outer(namespace: str) -> str:
    """The namespace around this one: "/cell_a" of "/cell_a/leader", "" of "/leader"."""
    return namespace.rpartition("/")[0]


def main() -> None:
    """Entry point of the `leader_node` executable."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    run_node(LeaderNode, realtime_priority=REALTIME_PRIORITY)
