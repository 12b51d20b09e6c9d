"""The arm's topics: set-points in, joint states out."""

from __future__ import annotations

from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import MvistaError, ObservationError, RivalWritersError
from mvista_core.records import JointState
from mvista_piper.arm_thread import ArmThread
from mvista_piper.driver import PiperDriver
from mvista_piper.report import Rates
from mvista_ros import convert, qos
from mvista_ros.base_node import Health, HouseNode
from mvista_ros.writers import SoleWriter


class ArmTopics:
    """Every set-point goes to the driver, each complete set of joints to whoever listens."""

    def __init__(self, node: HouseNode, arm: ArmThread, driver: PiperDriver) -> None:
        self._node, self._arm, self._driver = node, arm, driver
        self.rates = Rates(node.system_clock.monotonic_ns())
        self._joints = node.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self._writers = SoleWriter(
            node, JointStateMsg, "joint_command", self._on_command, self._on_rival
        )
        driver.listen(self._publish)

    def graded(self, health: Health) -> Health:
        """An ERROR while there is more than one writer of set-points."""
        return self._writers.graded(health)

    def _publish(self, state: JointState) -> None:
        """On the arm's thread."""
        self._joints.publish(convert.joint_state_to_msg(state))
        self.rates.states += 1

    def _on_command(self, message: JointStateMsg) -> None:
        self.rates.commands += 1
        try:
            command = convert.joint_command_from_msg(message)
            with self._arm.turn:
                self._driver.send(command)
        except (MvistaError, ObservationError) as error:
            self._log_refused(error)

    def _on_rival(self, reason: RivalWritersError) -> None:
        with self._arm.turn:
            self._driver.refuse()
        self._log_refused(reason)

    def _log_refused(self, reason: MvistaError) -> None:
        # Set-points come 200 times a second: one refusal a second is said, on no wall clock.
        self._node.get_logger().error(
            f"joint_command refused: {reason}",
            throttle_duration_sec=1.0,
            throttle_time_source_type=self._node.steady_clock,
        )
