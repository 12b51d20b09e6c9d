"""The substitutions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExecutableInPackage:
    """The path of a package's program."""

    package: str
    executable: str
