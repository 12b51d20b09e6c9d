"""Parameter values with a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParameterValue:
    """Parts to join, and the type of the result."""

    value: Any
    value_type: type

    def __post_init__(self) -> None:
        # As launch_ros: such a list is a list parameter, which is not of a scalar type.
        if isinstance(self.value, list) and all(isinstance(part, str) for part in self.value):
            raise TypeError(f"{self.value} resolves to a list, required is {self.value_type}")
