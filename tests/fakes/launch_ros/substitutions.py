"""The substitutions that our launch files use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FindPackageShare:
    """A package's share folder."""

    package: str
