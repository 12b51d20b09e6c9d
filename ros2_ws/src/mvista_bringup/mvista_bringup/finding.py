"""What a look at a machine or at a launch finds: one line each, with the line that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """FAIL: it will not work. WARN: it works worse than it could. SKIP: it could not be asked."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One line. `fix` is the line that mends it, "" where nothing is wrong."""

    name: str
    level: Severity
    message: str
    fix: str = ""

    def __str__(self) -> str:
        mend = f"\n       fix: {self.fix}" if self.fix else ""
        return f"{self.level.value:<4}  {self.name}: {self.message}{mend}"


def good(name: str, message: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(name, Severity.OK, message)
