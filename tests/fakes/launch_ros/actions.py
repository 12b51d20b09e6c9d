"""The actions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """One process with one node."""

    package: str
    executable: str
    name: str
    namespace: str
    parameters: list[Any]
    remappings: list[tuple[str, str]]
    arguments: list[Any]
    output: str
    on_exit: Any
    exec_name: str
    prefix: str | None
