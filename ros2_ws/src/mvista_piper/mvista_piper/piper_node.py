"""The driver node: CAN on one side, `joint_states`, `joint_command`, `status` on the other.

One thread takes commands and serves the operator (a multi-threaded rclpy executor was measured
0.4 s late on two busy cores); the arm's own receives, ticks, and publishes each complete set of
joints as it comes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import Trigger

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import (
    ArmNotReadyError,
    MvistaError,
    ObservationError,
    RivalWritersError,
)
from mvista_core.records import JointState
from mvista_core.timing import seconds_to_ns
from mvista_piper.arm_thread import ArmThread
from mvista_piper.bus import open_bus
from mvista_piper.driver import PiperDriver
from mvista_piper.link import PiperLink
from mvista_piper.protocol import END_POSE
from mvista_piper.report import Rates, describe, grade
from mvista_piper.settings import PiperSettings
from mvista_piper.status import Mode
from mvista_ros import convert, qos
from mvista_ros.base_node import Health, Level, run_node
from mvista_ros.managed_node import AUTOSTART, ManagedNode
from mvista_ros.parameters import declare, parameter
from mvista_ros.writers import SoleWriter

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
_SETTLED = frozenset({Mode.HOLDING, Mode.TRACKING, Mode.FAULT, Mode.REFUSED, Mode.CLOSED})


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
        self._arm = ArmThread(self._driver, clock, settings.period_s, self._log_mode)
        self._settings, self._rates = settings, Rates(clock.monotonic_ns())
        self._logged: tuple[Mode, type] | None = None
        self._waiting: list[tuple[Future, int]] = []
        self._joints = self.create_publisher(JointStateMsg, "joint_states", qos.SENSOR_OUT)
        self._status = self.create_publisher(DiagnosticStatus, "status", qos.STATUS)
        self._writers = SoleWriter(
            self, JointStateMsg, "joint_command", self._on_command, self._on_rival
        )
        # These two wait for the arm: in the node's own group the timers would wait with them.
        waiting = ReentrantCallbackGroup()
        for name, act in (("enable", self._driver.enable), ("rearm", self._driver.rearm)):
            callback = partial(self._on_enable, act)
            self.create_service(Trigger, name, callback, callback_group=waiting)
        for name, act in (
            ("quick_stop", self._driver.quick_stop),
            ("make_follower", self._driver.make_follower),
        ):
            self.create_service(Trigger, name, partial(self._on_act, act))
        self._driver.listen(self._publish_state)
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
        with self._arm.turn:
            reason = self._driver.reason
            if (
                reason
                and not self.by_itself
                and self._driver.mode in (Mode.SEARCHING, Mode.REFUSED)
            ):
                raise reason
            self._driver.activate()

    def deactivate(self) -> None:
        """Stop the arm smoothly; it holds where it stands, enabled as before."""
        with self._arm.turn:
            self._driver.deactivate()
        self._wait_for_rest()

    def release(self) -> None:
        """Stop the arm smoothly and let go of the bus: it holds, enabled, where it stands."""
        with self._arm.turn:
            self._driver.deactivate()
        if self._arm.alive:
            self._wait_for_rest()
        self._arm.stop(STOP_TIMEOUT_S)
        self._driver.close()

    def stop(self) -> None:
        """As a managed node's; then the process takes itself apart as usual."""
        super().stop()
        realtime.thaw_collector()

    def look(self) -> Health:
        """The driver's state in a sentence, and the numbers behind it."""
        self._collector.collect()
        rates = self._rates.take(self.system_clock.monotonic_ns())
        told = self._told()
        return replace(told, values=(*rates, *told.values))

    def _told(self) -> Health:
        with self._arm.turn:
            status = self._driver.status()
        level, message = grade(status, self._settings.min_frame_rate_hz)
        return self._writers.graded(Health(Level[level], message, describe(status)))

    def _answered(self) -> bool:
        """Whether an arm has said what it is, also one that must not be moved."""
        allowed_s = self._settings.identity_timeout_s + ANSWER_MARGIN_S
        return self.wait_for(lambda: self._driver.mode is not Mode.SEARCHING, allowed_s)

    def _wait_for_rest(self) -> None:
        clock = self.system_clock
        until_ns = clock.monotonic_ns() + seconds_to_ns(STOP_TIMEOUT_S)
        while self._driver.braking and clock.monotonic_ns() < until_ns:
            clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(self._settings.period_s))

    def _publish_state(self, state: JointState) -> None:
        self._joints.publish(convert.joint_state_to_msg(state))
        self._rates.states += 1

    def _on_command(self, message: JointStateMsg) -> None:
        self._rates.commands += 1
        try:
            command = convert.joint_command_from_msg(message)
            with self._arm.turn:
                self._driver.send(command)
        except (MvistaError, ObservationError) as error:
            self.get_logger().error(
                f"joint_command refused: {error}",
                throttle_duration_sec=1.0,
                throttle_time_source_type=self.steady_clock,
            )

    def _on_rival(self, reason: RivalWritersError) -> None:
        with self._arm.turn:
            self._driver.refuse()
        self.get_logger().error(
            f"joint_command refused: {reason}",
            throttle_duration_sec=1.0,
            throttle_time_source_type=self.steady_clock,
        )

    def _log_mode(self) -> None:
        mode, reason = self._driver.mode, self._driver.reason
        now = (mode, type(reason))
        if now != self._logged:
            self._logged = now
            said = f"{mode.value}: [{reason.code}] {reason}" if reason else mode.value
            # rclpy wants one severity per line of code.
            if mode in (Mode.FAULT, Mode.REFUSED):
                self.get_logger().error(said)
            else:
                self.get_logger().info(said)

    def _publish_status(self) -> None:
        self._arm.check()
        self._answer_operator()
        told = self.in_state(self._told)
        values = [KeyValue(key=key, value=value) for key, value in told.values]
        name = self.get_namespace().rpartition("/")[2] or "piper"
        self._status.publish(
            DiagnosticStatus(level=told.level.value, name=name, message=told.message, values=values)
        )

    async def _on_enable(
        self, act: Callable[[], None], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Start it, then answer when the arm is enabled or has refused; the timer goes on."""
        settings = self._settings
        try:
            with self._arm.turn:
                act()
            allowed_s = settings.identity_timeout_s + settings.enable_timeout_s
            allowed_s += 2 * settings.mode_timeout_s
            done: Future = Future()
            until_ns = self.system_clock.monotonic_ns() + seconds_to_ns(allowed_s)
            self._waiting.append((done, until_ns))
            await done
        except MvistaError as error:
            response.success, response.message = False, f"[{error.code}] {error}"
            return response
        return self._verdict(response)

    def _verdict(self, response: Trigger.Response) -> Trigger.Response:
        mode, reason = self._driver.mode, self._driver.reason
        response.success = mode in (Mode.HOLDING, Mode.TRACKING)
        why = f"[{reason.code}] {reason}" if reason else mode.value
        response.message = mode.value if response.success else why
        return response

    def _answer_operator(self) -> None:
        now_ns = self.system_clock.monotonic_ns()
        waiting, self._waiting = self._waiting, []
        for done, until_ns in waiting:
            if self._driver.mode in _SETTLED or now_ns > until_ns:
                done.set_result(None)
            else:
                self._waiting.append((done, until_ns))

    def _on_act(
        self, act: Callable[[], None], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        try:
            with self._arm.turn:
                act()
        except MvistaError as error:
            response.success, response.message = False, f"[{error.code}] {error}"
            return response
        response.success, response.message = True, "sent"
        return response


def main() -> None:
    """Entry point of the `piper_node` executable."""
    # A command must not wait for the default 5 ms while the other thread works off a burst.
    sys.setswitchinterval(THREAD_SWITCH_S)
    run_node(PiperNode, realtime_priority=REALTIME_PRIORITY)
