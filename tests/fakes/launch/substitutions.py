"""The substitutions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LaunchConfiguration:
    """The value of a launch argument."""

    name: str


@dataclass(frozen=True)
class EqualsSubstitution:
    """Whether two values are the same."""

    left: Any
    right: Any


@dataclass(frozen=True)
class NotEqualsSubstitution:
    """Whether two values differ."""

    left: Any
    right: Any


class AllSubstitution:
    """Whether all arguments are true."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


@dataclass(frozen=True)
class Command:
    """What a command prints."""

    command: Any
