"""Errors to outcomes and back."""

from __future__ import annotations

import re

from mvista_interfaces.msg import Outcome

from mvista_core.errors import MvistaError, TrajectoryError

_NUMBERED = re.compile(r"^(.*?)\[(\d+)(?:\.(\d+))?\] (.*)$", re.DOTALL)


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
    return _error_classes().get(outcome.code, MvistaError)(outcome.message)


def error_from_text(text: str, otherwise: type[MvistaError]) -> MvistaError:
    """The error that a node told in words, "[50.7] ..." or "fault: [37] ...".

    `otherwise` where the text has no number.
    """
    numbered = _NUMBERED.match(text)
    if numbered is None:
        return otherwise(text)
    before, code, reason, after = numbered.groups()
    outcome = Outcome(code=int(code), reason=int(reason or 0), message=before + after)
    return error_from_outcome(outcome) or otherwise(text)


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
