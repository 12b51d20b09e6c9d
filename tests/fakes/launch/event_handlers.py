"""The event handlers that our launch files use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OnProcessIO:
    """Called with what processes write to stderr."""

    on_stderr: Callable[[Any], None]
