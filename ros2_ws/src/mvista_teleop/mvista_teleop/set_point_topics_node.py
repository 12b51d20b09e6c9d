"""The two arms' topics: the leader's poses and the follower's in, set-points out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from mvista_interfaces.msg import SetPointSource
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import RivalWritersError
from mvista_core.records import JointCommand, JointState
from mvista_core.timing import read_clocks, seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.convert import joint_command_to_msg, joint_state_from_msg, ns_to_stamp
from mvista_ros.listening import message_from_bytes
from mvista_teleop.coupling import Coupling
from mvista_teleop.teleop_parameters import HOST, TeleopParameters

LOOK_S = 0.02
MOST_WAITING = 3


class SetPointTopics:
    """Steps the coupling with what comes, and sends what it gives. Others step it holding `lock`.

    `leader_topic` is where the leader's poses come from; `sent` counts set-points.
    """

    def __init__(
        self,
        node: HouseNode,
        coupling: Coupling,
        names: tuple[str, ...],
        settings: TeleopParameters,
        stepped: Callable[[], None],
    ) -> None:
        """`stepped` is called after each step, holding the lock."""
        self._node, self._clock, self._coupling = node, node.system_clock, coupling
        self._names, self._stepped = names, stepped
        self.lock = threading.Lock()
        self.sent = 0
        self._stepped_ns = self._looked_ns = 0
        self._repeat_ns = seconds_to_ns(1.0 / settings.repeat_rate_hz)
        self._waiting: deque[JointState] = deque(maxlen=MOST_WAITING)
        self._pose_stamp_ns = 0
        self.leader_topic = f"{settings.leader}/joint_states"
        self._poses = node.listening.queue(
            JointStateMsg, self.leader_topic, self._read_state, qos.SENSOR_IN
        )
        self._measured = node.listening.queue(
            JointStateMsg,
            f"{settings.follower}/joint_states",
            self._read_state,
            qos.SENSOR_NEWEST_IN,
        )
        self._commands = None
        self._sources = node.create_publisher(SetPointSource, "teleop/set_point_source", qos.STATUS)
        if settings.wiring == HOST:
            topic = f"{settings.follower}/joint_command"
            self._commands = node.create_publisher(JointStateMsg, topic, qos.COMMAND)

    def tick(self) -> None:
        """Forward what has come of the leader; while nothing does, repeat what is held."""
        self._waiting.extend(self._poses.take())
        with self.lock:
            # One a tick: the driver's end of the topic keeps the newest command only.
            if self._waiting:
                self._forward(self._waiting.popleft())
            if self._clock.monotonic_ns() - self._stepped_ns >= self._repeat_ns:
                self.step()

    def step(self) -> None:
        """Holding the lock: look at the follower, send what is due."""
        self._look_at_follower()
        self._stepped_ns = self._clock.monotonic_ns()
        moving = self._coupling.step(self._stepped_ns)
        if moving is not None and self._commands is not None:
            now_ns = self._clock.now_ns()
            command = JointCommand(self._names, moving.positions, moving.velocities, now_ns)
            message = joint_command_to_msg(command)
            self._commands.publish(message)
            self._tell_source(message)
            self.sent += 1
        self._stepped()

    def refuse_rivals(self) -> None:
        """Let nobody couple the arms while another node sends the follower set-points.

        Raises:
            RivalWritersError: one does.
        """
        if self._commands is None:
            return
        topic = self._commands.topic_name
        count = self._node.count_publishers(topic)
        if count > 1:
            raise RivalWritersError(
                f"{count} publishers of {topic}; one is allowed: end the others (an executor?), "
                f"see `ros2 topic info -v {topic}`"
            )

    def _forward(self, pose: JointState) -> None:
        self._pose_stamp_ns = pose.stamp_ns
        self._coupling.lead(pose.positions, pose.velocities, self._heard_ns(pose.stamp_ns))
        self.step()

    def _tell_source(self, command: JointStateMsg) -> None:
        # 200 a second that only a measurement reads: made for listeners.
        if self._pose_stamp_ns and self._sources.get_subscription_count():
            leader_stamp = ns_to_stamp(self._pose_stamp_ns)
            told = SetPointSource(header=command.header, leader_stamp=leader_stamp)
            self._sources.publish(told)

    def _look_at_follower(self) -> None:
        """Often enough to notice its loss; each look takes as long as a step of the motion."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < seconds_to_ns(LOOK_S):
            return
        self._looked_ns = now_ns
        for state in self._measured.take():
            # A state that was taken late is as old as its stamp says.
            at_ns = self._heard_ns(state.stamp_ns)
            self._coupling.measure(state.positions, state.velocities, at_ns)

    def _heard_ns(self, stamp_ns: int) -> int:
        """The stamp's moment on the steady clock; one that is still to come is now.

        However old: what came late, or by a clock that differs, is nothing to move by.
        """
        monotonic_ns, wall_ns = read_clocks(self._clock)
        return monotonic_ns - max(wall_ns - stamp_ns, 0)

    def _read_state(self, data: bytes) -> JointState:
        state = joint_state_from_msg(message_from_bytes(data, JointStateMsg))
        if state.names == self._names:
            return state
        order = [state.names.index(name) for name in self._names if name in state.names]
        positions = state.ordered(self._names)
        return JointState(self._names, positions, state.velocities[order], state.stamp_ns)
