"""The actions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DeclareLaunchArgument:
    """One argument."""

    name: str
    default_value: str
    description: str
    choices: list[str] | None


@dataclass(frozen=True)
class SetEnvironmentVariable:
    """One variable of every process."""

    name: str
    value: str


@dataclass(frozen=True)
class ExecuteProcess:
    """One process that is no node."""

    cmd: list[Any]
    name: str
    output: str
    on_exit: Any
    condition: Any


@dataclass(frozen=True)
class Shutdown:
    """Ends the launch."""

    reason: str
