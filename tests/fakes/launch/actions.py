"""The actions that our launch files use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DeclareLaunchArgument:
    """One argument."""

    name: str
    default_value: str
    description: str


@dataclass(frozen=True)
class OpaqueFunction:
    """What is done once the arguments are known: a function of the launch's context."""

    function: Callable[[Any], list[Any]]


@dataclass(frozen=True)
class RegisterEventHandler:
    """Hears events from now on."""

    event_handler: Any


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
