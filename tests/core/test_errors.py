"""Error codes are part of the action interface: unique, stable and never 0."""

from __future__ import annotations

from mvista_core import errors


def subclasses(parent: type[errors.MvistaError]) -> list[type[errors.MvistaError]]:
    below = [deep for child in parent.__subclasses__() for deep in subclasses(child)]
    return [*parent.__subclasses__(), *below]


def test_every_class_has_a_code_of_its_own() -> None:
    shipped = [c for c in subclasses(errors.MvistaError) if c.__module__ == errors.__name__]
    codes = [errors.MvistaError.code, *(cls.code for cls in shipped)]
    assert len(codes) == len(set(codes))
    assert min(codes) > 0


def test_codes_that_clients_rely_on() -> None:
    assert errors.InstructionError.code == 20
    assert errors.CameraSilentError.code == 31
    assert errors.TrajectoryError.code == 50
    assert errors.BusyError.code == 60
    assert str(errors.TrajectoryError(errors.TrajectoryError.POSITION_LIMIT, "x")) == "[50.6] x"
