"""The actions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeclareLaunchArgument:
    """One argument."""

    name: str
    default_value: str
    description: str


@dataclass(frozen=True)
class SetEnvironmentVariable:
    """One variable of every process."""

    name: str
    value: str


@dataclass(frozen=True)
class Shutdown:
    """Ends the launch."""

    reason: str
