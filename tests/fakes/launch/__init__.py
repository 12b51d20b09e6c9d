"""Keeps what a launch file describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LaunchDescription:
    """The entities, in order."""

    entities: Sequence[Any]
