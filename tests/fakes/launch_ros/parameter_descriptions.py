"""Parameter values with a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParameterValue:
    """Parts to join, and the type of the result."""

    value: Any
    value_type: type
