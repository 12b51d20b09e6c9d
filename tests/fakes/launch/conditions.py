"""The conditions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class IfCondition:
    """Holds where its predicate is true."""

    predicate: Any
