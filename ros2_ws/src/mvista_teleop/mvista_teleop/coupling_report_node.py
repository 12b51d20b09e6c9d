"""What teleoperation says of itself: its state as a message, and its health."""

from __future__ import annotations

from mvista_interfaces.msg import TeleopState

from mvista_core.errors import ConfigError, MvistaError
from mvista_ros.base_node import Health, Level
from mvista_ros.convert import header, outcome_from_error, outcome_ok
from mvista_teleop.coupling import COUPLED, ENGAGED, Coupling, CouplingPhase
from mvista_teleop.coupling_services_node import NO_GATE


class CouplingReport:
    """Words and messages about one coupling; `gated` False: the arms share a bus."""

    def __init__(self, coupling: Coupling, names: tuple[str, ...], gated: bool) -> None:
        self._coupling, self._names, self._gated = coupling, names, gated
        self._told: tuple[object, ...] = ()

    @property
    def outdated(self) -> bool:
        """Whether something has changed since the last message that an operator waits for."""
        return self._telling() != self._told

    def message(self, now_ns: int, sent: int) -> TeleopState:
        """The state now; `sent` set-points so far."""
        coupling = self._coupling
        reason: MvistaError | None = coupling.reason if self._gated else ConfigError(NO_GATE)
        apart = coupling.apart
        self._told = self._telling()
        return TeleopState(
            header=header(now_ns, ""),
            state=coupling.phase.value if self._gated else TeleopState.LISTENING,
            outcome=outcome_ok() if reason is None else outcome_from_error(reason),
            clutched=coupling.clutched,
            joint_names=list(self._names),
            apart=[] if apart is None else apart.tolist(),
            saturated=list(coupling.saturated) if coupling.phase in ENGAGED else [],
            sent=sent,
        )

    def health(self, sent: int) -> Health:
        """The phase, and what is in the way."""
        if not self._gated:
            return Health(Level.WARN, NO_GATE)
        coupling = self._coupling
        said, reason = coupling.phase.name.lower(), coupling.reason
        values = (("set-points sent", str(sent)), ("clutched", str(coupling.clutched)))
        level = Level.OK
        if reason is not None:
            said = f"{said}: [{reason.code}] {reason}"
            level = Level.ERROR if coupling.phase is CouplingPhase.LOST else Level.WARN
        elif coupling.saturated and coupling.phase in COUPLED:
            said = f"{said}; the leader is beyond the follower's limits: {coupling.saturated}"
            level = Level.WARN
        return Health(level, said, values)

    def _telling(self) -> tuple[object, ...]:
        coupling = self._coupling
        # The reason by its kind: its words hold distances and ages, which change with every step.
        return coupling.phase, coupling.clutched, coupling.saturated, type(coupling.reason)
