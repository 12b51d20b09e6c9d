"""The simulated arm's topics: set-points in, states and status out; or another arm followed."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.arm import ArmModel
from mvista_core.errors import RivalWritersError
from mvista_core.records import JointState
from mvista_core.timing import seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.base_node import Health, HouseNode, Level
from mvista_ros.convert.joint_bytes import JointStateBytes
from mvista_ros.listening import message_from_bytes
from mvista_ros.writers import SoleWriter
from mvista_sim.live_cell import LiveCell

COMMAND_FRESH_S = 0.1


class ServedArm:
    """The cell's own arm behind a driver's topics in namespace `arm`.

    `publish` may be called on another thread than the node's.
    """

    def __init__(self, node: HouseNode, live: LiveCell, model: ArmModel, arm: str) -> None:
        self._node, self._live = node, live
        self._bytes = JointStateBytes(model.joint_names)
        self._joints = node.create_publisher(JointStateMsg, f"{arm}/joint_states", qos.SENSOR_OUT)
        self._status = node.create_publisher(DiagnosticStatus, f"{arm}/status", qos.STATUS)
        self._commanded_ns, self._refusing = 0, False
        self._writers = SoleWriter(
            node, JointStateMsg, f"{arm}/joint_command", self._on_command, self._on_rivals
        )

    def publish(self, state: JointState) -> None:
        """Tell the measured joints."""
        self._joints.publish(self._bytes.of(state))

    def tell(self, scene: str) -> None:
        """Publish the status; call it at 10 Hz."""
        self._writers.look()
        age_ns = self._node.system_clock.monotonic_ns() - self._commanded_ns
        mode = "tracking" if age_ns < seconds_to_ns(COMMAND_FRESH_S) else "holding"
        if self._writers.writers.refusal is not None:
            mode = "refusing set-points: more than one writer"
        values = [KeyValue(key="scene", value=scene), KeyValue(key="mode", value=mode)]
        status = DiagnosticStatus(level=Level.OK.value, name="piper", message=mode, values=values)
        self._status.publish(status)

    def graded(self, health: Health) -> Health:
        """An ERROR while there is more than one writer of set-points."""
        return self._writers.graded(health)

    def _on_command(self, message: JointStateMsg) -> None:
        self._refusing = False
        self._live.send(convert.joint_command_from_msg(message))
        self._commanded_ns = self._node.system_clock.monotonic_ns()

    def _on_rivals(self, reason: RivalWritersError) -> None:
        """Two writers: neither is obeyed, the arm holds where the first refusal found it."""
        if not self._refusing:
            self._refusing = True
            self._live.hold()
        words = f"[{reason.code}] {reason}"
        self._node.get_logger().error(
            words,
            throttle_duration_sec=5.0,
            throttle_time_source_type=self._node.steady_clock,
        )


class FollowedArm:
    """Another one's arm: the cell moves as its joint states say, and serves none itself."""

    def __init__(self, node: HouseNode, live: LiveCell, arm: str) -> None:
        self._live = live
        # Taken once a period: a callback each would wake the node 200 times a second more.
        self._measured = node.listening.queue(
            JointStateMsg, f"{arm}/joint_states", self._follow, qos.SENSOR_NEWEST_IN
        )

    def publish(self, state: JointState) -> None:
        """The joints are the other one's to tell: what it told since is followed."""
        self._measured.take()

    def tell(self, scene: str) -> None:
        """So is the status."""

    def graded(self, health: Health) -> Health:
        """Nothing to add."""
        return health

    def _follow(self, data: bytes) -> JointState:
        state = convert.joint_state_from_msg(message_from_bytes(data, JointStateMsg))
        self._live.follow(state)
        return state
