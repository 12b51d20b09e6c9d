"""What benches share: the acceptance table, what it was measured on, and the JSON file.

A bench returns `Measured`; its command ends with `return finish(...)`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvista_core.machine import describe

EXIT_MISSED = 2
"""A figure misses its bound."""
# A string holds no line break in JSON, so that what is found is a list.
_INNERMOST = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")


@dataclass(frozen=True)
class Figure:
    """One acceptance figure: kept when `value` is at most `allowed` (NaN is not)."""

    name: str
    value: float
    allowed: float

    @property
    def kept(self) -> bool:
        """Whether the bound is met."""
        return self.value <= self.allowed

    def __str__(self) -> str:
        verdict = "ok    " if self.kept else "MISSED"
        return f"{verdict} {self.name}: {self.value:.4g}, at most {self.allowed:.4g}"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": describe(),
        "load_average": list(os.getloadavg()),
    }


@dataclass(frozen=True)
class Measured:
    """What a bench found: in words, as a document, and the figures that have a bound."""

    title: str
    words: str
    document: dict[str, Any]
    figures: Sequence[Figure]


def finish(found: Measured, path: Path | None) -> int:
    """Print it, and write it with the machine to `path`; 0, or 2 when a figure misses its bound."""
    kept = all(figure.kept for figure in found.figures)
    lines = [found.words, found.title, *(f"  {figure}" for figure in found.figures)]
    sys.stdout.write("\n".join(lines) + "\n")
    verdicts = [{**asdict(figure), "kept": figure.kept} for figure in found.figures]
    write_json(path, {**machine(), **found.document, "figures": verdicts, "kept": kept})
    return 0 if kept else EXIT_MISSED


def write_json(path: Path | None, document: Mapping[str, Any]) -> None:
    """A document for a program, in a folder made for it; nothing where nobody asked."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _INNERMOST.sub(_on_one_line, json.dumps(document, indent=1))
        path.write_text(text + "\n", encoding="utf-8")


def _on_one_line(found: re.Match[str]) -> str:
    """A list of numbers or words: a table of intervals is read by rows."""
    return "[" + re.sub(r",\n\s*", ", ", found[1]) + "]"
