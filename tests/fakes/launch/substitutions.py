"""The substitutions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LaunchConfiguration:
    """The value of a launch argument."""

    name: str
