"""A node that holds hardware: opened, used, held and let go of in steps that others see and drive.

class PiperNode(ManagedNode):
    def configure(self) -> None: ...   # open and identify; raise a MvistaError to refuse
    def activate(self) -> None: ...    # let it be used
    def deactivate(self) -> None: ...  # hold
    def release(self) -> None: ...     # let go; also what an exit and an error do

The states and services are those of ROS 2's managed nodes (`ros2 lifecycle`). A node that is its
own manager (`autostart`) configures and activates itself when its process starts.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from mvista_core.errors import MvistaError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns
from mvista_ros.base_node import Health, HouseNode, Level

AUTOSTART = "Configure and activate by itself; false: `ros2 lifecycle set`, or a manager, does it"
"""What a managed node's parameter `autostart` means."""
POLL_S = 0.01

Serve = Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]


class ManagedNode(LifecycleNodeMixin, HouseNode):
    """A house node with the states unconfigured, inactive, active and finalized.

    The four steps are called one at a time, on the executor's thread or the main one. One that
    raises a `MvistaError` is refused: the state stays, the reason is logged and told in
    /diagnostics. Anything else it raises is a fault of this program: `release`, unconfigured.
    """

    autostart = True
    """Set it from the node's parameters before the constructor ends."""

    def __init__(self, name: str, clock: Clock | None = None, **node_arguments: Any) -> None:
        HouseNode.__init__(self, name, clock, **node_arguments)
        LifecycleNodeMixin.__init__(self)
        self.leaving = threading.Event()
        self.by_itself = False
        self._changing = threading.RLock()
        self._refusal = ""
        self._cause: Exception | None = None
        # Before rclpy 9 an order that the state does not allow would end the process.
        change = self._service_change_state
        change.callback = partial(self._on_change, change.callback)

    def configure(self) -> None:
        """Open the hardware and see what it is. Nothing moves, nothing streams."""

    def activate(self) -> None:
        """Let it be used."""

    def deactivate(self) -> None:
        """Hold: it stays open, and is not used."""

    def release(self) -> None:
        """Hold, and let go of it. Called in any state, also when there is nothing to let go of."""

    @property
    def lifecycle(self) -> str:
        """The present state's name."""
        return str(self._state_machine.current_state[1])

    @property
    def active(self) -> bool:
        """Whether the hardware may be used."""
        return bool(self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for it within a step; also ends when the process is told to. Whether it holds."""
        until_ns = self.system_clock.monotonic_ns() + seconds_to_ns(timeout_s)
        while not condition():
            now_ns = self.system_clock.monotonic_ns()
            if now_ns >= until_ns or self.leaving.is_set():
                return False
            self.system_clock.sleep_until(now_ns + seconds_to_ns(POLL_S))
        return True

    def start(self) -> None:
        """Configure and activate, if the node is its own manager.

        Raises:
            MvistaError: what was refused, and why.
        """
        if not self.autostart:
            return
        self.by_itself = True
        try:
            for step in (self.trigger_configure, self.trigger_activate):
                if step() != TransitionCallbackReturn.SUCCESS:
                    raise self._cause or UnavailableError(f"{self.get_name()} does not start")
        finally:
            self.by_itself = False

    def stop(self) -> None:
        """Shut down from whatever state."""
        self.leaving.set()
        with self._changing:
            if self._state_machine.current_state[0] != State.PRIMARY_STATE_FINALIZED:
                self.trigger_shutdown()
        if self._cause is not None and not isinstance(self._cause, MvistaError):
            raise self._cause

    def in_state(self, look: Callable[[], Health]) -> Health:
        """What `look` says, as the state bears it out; it is not asked while nothing is open."""
        state, number = self.lifecycle, self._state_machine.current_state[0]
        if number == State.PRIMARY_STATE_ACTIVE:
            found = look()
            return replace(found, values=(("lifecycle", state), *found.values))
        if number == State.PRIMARY_STATE_INACTIVE:
            found = look()
            said = f"{state}: {found.message}"
        else:
            found, said = Health(Level.WARN), f"{state}: nothing is open"
        level, error = Level.WARN if found.level is Level.OK else found.level, found.error
        if self._refusal:
            level, said = Level.ERROR, f"{said}; {self._refusal}"
            if isinstance(self._cause, MvistaError):
                error = self._cause
        return Health(level, said, (("lifecycle", state), *found.values), error)

    def look(self) -> Health:
        """The hardware's health; asked while it is open."""
        return Health()

    def health(self) -> Health:
        """The hardware's, and the state. Override `look`."""
        return self.in_state(self.look)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's: `configure`."""
        return self._carry_out("configure", self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's: `activate`."""
        return self._carry_out("activate", self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's: `deactivate`."""
        return self._carry_out("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's: `release`."""
        return self._carry_out("cleanup", self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's: `release`."""
        return self._carry_out("shutdown", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy's, after a step that failed: `release`, then unconfigured."""
        refusal, cause = self._refusal, self._cause
        done = self._carry_out("error handling", self.release)
        self._refusal, self._cause = self._refusal or refusal, self._cause or cause
        return done

    def _carry_out(self, name: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            with self._changing:
                step()
        except MvistaError as error:
            self._refusal, self._cause = f"{name} was refused: [{error.code}] {error}", error
            if not self.by_itself:  # then it ends the process, as its last words
                self.get_logger().error(self._refusal)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._refusal, self._cause = f"{name} failed: {type(error).__name__}: {error}", error
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._refusal, self._cause = "", None
        return TransitionCallbackReturn.SUCCESS

    def _on_change(
        self, serve: Serve, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        asked = request.transition
        with self._changing:
            possible = {item[0]: item[1] for item in self._state_machine.available_transitions}
            known = asked.label in possible.values() if asked.label else asked.id in possible
            if known and not self.leaving.is_set():
                return serve(request, response)
        self.get_logger().error(
            f"transition {asked.label or asked.id} refused: the node is {self.lifecycle}; possible "
            f"are {', '.join(f'{name} ({number})' for number, name in possible.items()) or 'none'}"
        )
        response.success = False
        return response
