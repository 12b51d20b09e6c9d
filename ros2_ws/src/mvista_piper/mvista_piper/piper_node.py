"""The driver node: CAN on one side, `joint_states`, `joint_command`, `status` on the other.

One thread takes commands and serves the operator (a multi-threaded rclpy executor was measured
0.4 s late on two busy cores); the arm's own receives, ticks, and publishes each complete set of
joints as it comes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial

from diagnostic_msgs.msg import DiagnosticStatus

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import ArmNotReadyError, MvistaError
from mvista_piper.arm_thread import ArmThread, bring_to_rest
from mvista_piper.arm_topics_node import ArmTopics
from mvista_piper.bus import open_bus
from mvista_piper.driver import PiperDriver
from mvista_piper.link import PiperLink
from mvista_piper.operator_services_node import ModeLog, OperatorServices
from mvista_piper.protocol import END_POSE
from mvista_piper.report import describe, grade
from mvista_piper.settings import PiperSettings
from mvista_piper.status import Mode
from mvista_ros import qos
from mvista_ros.base_node import Health, Level, run_node, status_to_msg
from mvista_ros.managed_node import AUTOSTART, ManagedNode
from mvista_ros.parameters import declare, parameter

STATUS_PERIOD_S = 0.1
REALTIME_PRIORITY = 20
STOP_TIMEOUT_S = 1.5
THREAD_SWITCH_S = 0.0005
FIXED = "limits and times are agreed with the arm before it is enabled, never while it may move"
"""Why its parameters do not change at run time."""
UNREAD = frozenset(END_POSE)
"""What the arm says and nobody reads: a fifth of its frames (0x2A2-0x2A4)."""
ANSWER_MARGIN_S = 0.5
"""Beyond `identity_timeout_s`, for the search to say what was missing."""


@dataclass(frozen=True)
class PiperParameters(PiperSettings):
    """The node's parameters: the driver's settings and the arm they are for."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints, limits, DH table")
    autostart: bool = parameter(True, AUTOSTART)


class PiperNode(ManagedNode):
    """Drives the arm of its namespace. A command that stops coming is a hold, and so is an exit.

    Inactive, it says where the arm stands and lets nobody move it; active, it takes `enable` and
    set-points. No step of the lifecycle disables the motors, and none but `enable_at_start` with
    activation enables them.
    """

    def __init__(self) -> None:
        super().__init__("driver")
        settings = declare(self, PiperParameters, fixed=FIXED)
        self.autostart, clock = settings.autostart, self.system_clock
        link = PiperLink(partial(open_bus, settings, UNREAD), clock)
        self._driver = PiperDriver(link, load_arm(settings.arm_file), settings, clock)
        self._arm = ArmThread(self._driver, clock, settings.period_s, ModeLog(self, self._driver))
        self._settings = settings
        self._status = self.create_publisher(DiagnosticStatus, "status", qos.STATUS)
        self._topics = ArmTopics(self, self._arm, self._driver)
        self._operator = OperatorServices(self, self._arm, self._driver, settings)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        # A full collection takes tens of milliseconds: ten set-points.
        self._collector = realtime.YoungCollector()
        realtime.freeze_collector()

    def configure(self) -> None:
        """Open the bus and ask the arm what it is; where it stands is told from now on.

        A silent arm is refused, but a node that is its own manager goes on looking for it.
        """
        self._driver.deactivate()
        self._driver.open()
        self._arm.start()
        try:
            if not self.by_itself and not self._answered():
                raise self._driver.reason or ArmNotReadyError(self._driver.mode.value)
        except MvistaError:
            self.release()
            raise

    def activate(self) -> None:
        """Take set-points and the services that enable; refused for an arm not to be moved."""
        driver = self._driver
        with self._arm.turn:
            unfit = driver.mode in (Mode.SEARCHING, Mode.REFUSED)
            if unfit and driver.reason and not self.by_itself:
                raise driver.reason
            driver.activate()

    def deactivate(self) -> None:
        """Stop the arm smoothly; it holds where it stands, enabled as before."""
        bring_to_rest(self._arm, self._driver, self.system_clock, STOP_TIMEOUT_S)

    def release(self) -> None:
        """Stop the arm smoothly and let go of the bus: it holds, enabled, where it stands."""
        bring_to_rest(self._arm, self._driver, self.system_clock, STOP_TIMEOUT_S)
        self._arm.stop(STOP_TIMEOUT_S)
        self._driver.close()

    def stop(self) -> None:
        """As a managed node's; then the process takes itself apart as usual."""
        super().stop()
        realtime.thaw_collector()

    def look(self) -> Health:
        """The driver's state in a sentence, and the numbers behind it."""
        self._collector.collect()
        rates = self._topics.rates.take(self.system_clock.monotonic_ns())
        told = self._told()
        return replace(told, values=(*rates, *told.values))

    def _told(self) -> Health:
        with self._arm.turn:
            status = self._driver.status()
        level, message = grade(status, self._settings.min_frame_rate_hz)
        return self._topics.graded(Health(Level[level], message, describe(status), status.reason))

    def _answered(self) -> bool:
        """Whether an arm has said what it is, also one that must not be moved."""
        allowed_s = self._settings.identity_timeout_s + ANSWER_MARGIN_S
        return self.wait_for(lambda: self._driver.mode is not Mode.SEARCHING, allowed_s)

    def _publish_status(self) -> None:
        self._arm.check()
        self._operator.answer()
        told = self.in_state(self._told)
        name = self.get_namespace().rpartition("/")[2] or "piper"
        self._status.publish(status_to_msg(name, told))


def main() -> None:
    """Entry point of the `piper_node` executable."""
    # A command must not wait for the default 5 ms while the other thread works off a burst.
    sys.setswitchinterval(THREAD_SWITCH_S)
    run_node(PiperNode, realtime_priority=REALTIME_PRIORITY)
