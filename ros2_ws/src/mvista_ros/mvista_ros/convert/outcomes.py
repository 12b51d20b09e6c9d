"""Errors to outcomes and back."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from mvista_interfaces.msg import Outcome

from mvista_core.errors import GateError, MvistaError, ObservationError, TrajectoryError

_ERROR_VALUES = ("error code", "error reason", "error")
"""Names of a diagnostic's values that say an outcome: code, reason, message."""


def outcome_ok(message: str = "") -> Outcome:
    """The outcome of work that went well."""
    return Outcome(code=0, reason=0, message=message)


def outcome_from_error(error: BaseException) -> Outcome:
    """The outcome of an error: its class's code, a trajectory's reason, its message."""
    if not isinstance(error, MvistaError):
        return Outcome(code=MvistaError.code, message=f"{type(error).__name__}: {error}")
    return Outcome(code=error.code, reason=getattr(error, "reason", 0), message=str(error))


def error_from_outcome(outcome: Outcome) -> MvistaError | None:
    """The error an outcome stands for, with its message; None for code 0."""
    if outcome.code == 0:
        return None
    if outcome.code == TrajectoryError.code:
        prefix = f"[{outcome.code}.{outcome.reason}] "
        return TrajectoryError(outcome.reason, outcome.message.removeprefix(prefix))
    if outcome.code == GateError.code:
        return GateError(outcome.message, outcome.reason)
    return _error_classes().get(outcome.code, MvistaError)(outcome.message)


def error_to_values(error: MvistaError) -> tuple[tuple[str, str], ...]:
    """An error as names and values of a diagnostic."""
    outcome = outcome_from_error(error)
    told = (str(outcome.code), str(outcome.reason), outcome.message)
    return tuple(zip(_ERROR_VALUES, told, strict=True))


def outcome_from_status(status: DiagnosticStatus) -> Outcome:
    """The error among a diagnostic's values; code 0 where none is named.

    Raises:
        ObservationError: its number is none.
    """
    said = {pair.key: pair.value for pair in status.values}
    code, reason, message = (said.get(name, "") for name in _ERROR_VALUES)
    try:
        return Outcome(code=int(code or 0), reason=int(reason or 0), message=message)
    except ValueError:
        raise ObservationError(
            f"{status.name!r} names the error {code!r}, reason {reason!r}; allowed: whole numbers"
        ) from None


def raise_outcome(outcome: Outcome) -> None:
    """Raise the error an outcome stands for; return for code 0."""
    error = error_from_outcome(outcome)
    if error is not None:
        raise error


def _error_classes() -> dict[int, type[MvistaError]]:
    found: dict[int, type[MvistaError]] = {}
    pending: list[type[MvistaError]] = [MvistaError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(kind.__subclasses__())
    return found
