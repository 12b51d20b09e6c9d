"""The operator's services: engage, pause, resume, clutch."""

from __future__ import annotations

from collections.abc import Callable

from std_srvs.srv import SetBool, Trigger

from mvista_core.errors import ConfigError, MvistaError
from mvista_ros.base_node import HouseNode
from mvista_teleop.coupling import Coupling
from mvista_teleop.set_point_topics_node import SetPointTopics

NO_GATE = (
    "wiring is bus: the leader's own frames move the follower, nothing is sent from here, and no "
    "gate is possible. Unplug the leader to stop; wire a bus per arm for wiring:=host"
)


class CouplingServices:
    """Each is answered with the phase that follows, or with why it was refused."""

    def __init__(
        self, node: HouseNode, coupling: Coupling, arms: SetPointTopics, gated: bool
    ) -> None:
        """`gated` False: nothing is sent from here, and so every service is refused."""
        self._coupling, self._arms, self._gated = coupling, arms, gated
        self._clock = node.system_clock
        for name, act in (
            ("engage", self._engage),
            ("pause", coupling.pause),
            ("resume", lambda: coupling.resume(self._clock.monotonic_ns())),
        ):
            node.create_service(Trigger, f"teleop/{name}", self._server(act))
        node.create_service(SetBool, "teleop/clutch", self._on_clutch)

    def _engage(self) -> None:
        self._arms.refuse_rivals()
        self._coupling.engage(self._clock.monotonic_ns())

    def _server(
        self, act: Callable[[], None]
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self._do(act)
            return response

        return serve

    def _on_clutch(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        now_ns = self._clock.monotonic_ns()
        response.success, response.message = self._do(
            lambda: self._coupling.clutch(request.data, now_ns)
        )
        return response

    def _do(self, act: Callable[[], None]) -> tuple[bool, str]:
        """(whether it was done, what teleoperation does now or why it was refused)."""
        with self._arms.lock:
            try:
                if not self._gated:
                    raise ConfigError(NO_GATE)
                act()
            except MvistaError as error:
                return False, f"[{error.code}] {error}"
            self._arms.step()
            return True, self._coupling.phase.name.lower()
