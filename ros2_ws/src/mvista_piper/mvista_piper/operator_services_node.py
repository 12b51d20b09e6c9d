"""For the operator: enable, rearm, quick_stop, make_follower; each change of mode in the log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from mvista_core.errors import MvistaError
from mvista_core.timing import seconds_to_ns
from mvista_piper.arm_thread import ArmThread
from mvista_piper.driver import PiperDriver
from mvista_piper.report import sentence
from mvista_piper.settings import PiperSettings
from mvista_piper.status import ARMED, Mode
from mvista_ros.base_node import HouseNode

_SETTLED = frozenset({*ARMED, Mode.FAULT, Mode.REFUSED, Mode.CLOSED})


class OperatorServices:
    """Each is answered with how it went; call `answer` often, it ends the waiting ones."""

    def __init__(
        self, node: HouseNode, arm: ArmThread, driver: PiperDriver, settings: PiperSettings
    ) -> None:
        self._arm, self._driver, self._clock = arm, driver, node.system_clock
        # The longest that an arm may take to say what it is, to enable and to take its mode.
        self._allowed_ns = seconds_to_ns(
            settings.identity_timeout_s + settings.enable_timeout_s + 2 * settings.mode_timeout_s
        )
        self._waiting: list[tuple[Future, int]] = []
        # These two wait for the arm: in the node's own group the timers would wait with them.
        waiting = ReentrantCallbackGroup()
        for name, act in (("enable", driver.enable), ("rearm", driver.rearm)):
            callback = partial(self._on_enable, act)
            node.create_service(Trigger, name, callback, callback_group=waiting)
        for name, act in (
            ("quick_stop", driver.quick_stop),
            ("make_follower", driver.make_follower),
        ):
            node.create_service(Trigger, name, partial(self._on_act, act))

    def answer(self) -> None:
        """Answer those whose arm is enabled, has refused, or took too long."""
        now_ns = self._clock.monotonic_ns()
        waiting, self._waiting = self._waiting, []
        for done, until_ns in waiting:
            if self._driver.mode in _SETTLED or now_ns > until_ns:
                done.set_result(None)
            else:
                self._waiting.append((done, until_ns))

    async def _on_enable(
        self, act: Callable[[], None], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Start it, then answer when the arm is enabled or has refused; the timer goes on."""
        try:
            with self._arm.turn:
                act()
            done: Future = Future()
            self._waiting.append((done, self._clock.monotonic_ns() + self._allowed_ns))
            await done
        except MvistaError as error:
            return _refused(response, error)
        mode, reason = self._driver.mode, self._driver.reason
        if mode not in ARMED and reason is not None:
            return _refused(response, reason)
        response.success, response.message = mode in ARMED, mode.value
        return response

    def _on_act(
        self, act: Callable[[], None], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        try:
            with self._arm.turn:
                act()
        except MvistaError as error:
            return _refused(response, error)
        response.success, response.message = True, "sent"
        return response


class ModeLog:
    """Says each change of the driver's mode and of its reason, once; call it at every tick."""

    def __init__(self, node: HouseNode, driver: PiperDriver) -> None:
        self._node, self._driver = node, driver
        self._said: tuple[Mode, type] | None = None

    def __call__(self) -> None:
        mode, reason = self._driver.mode, self._driver.reason
        if (now := (mode, type(reason))) == self._said:
            return
        self._said = now
        # rclpy wants one severity per line of code.
        if mode in (Mode.FAULT, Mode.REFUSED):
            self._node.get_logger().error(sentence(mode, reason))
        else:
            self._node.get_logger().info(sentence(mode, reason))


def _refused(response: Trigger.Response, reason: MvistaError) -> Trigger.Response:
    response.success, response.message = False, f"[{reason.code}] {reason}"
    return response
