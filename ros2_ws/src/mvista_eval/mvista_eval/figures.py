"""What the sub-verbs of `mvista bench` share: quantiles, the acceptance table, the JSON file.

A sub-verb is a row `Command(("bench", "<name>"), "bench_<name>", ...)` of the `mvista` table, and a
file `commands/bench_<name>.py` that ends with `return finish(...)`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.machine import describe

EXIT_MISSED = 2
"""A figure misses its bound."""


@dataclass(frozen=True)
class Quantiles:
    """Median, 99th percentile and largest of `count` values, in the unit of their name."""

    count: int
    p50: float
    p99: float
    largest: float

    @staticmethod
    def of(values: NDArray[np.floating]) -> Quantiles:
        """Of values [N]; all NaN when there are none."""
        if len(values) == 0:
            return Quantiles(0, np.nan, np.nan, np.nan)
        p50, p99 = np.quantile(values, (0.5, 0.99))
        return Quantiles(len(values), float(p50), float(p99), float(np.max(values)))

    def __str__(self) -> str:
        return f"p50 {self.p50:.3f}, p99 {self.p99:.3f}, max {self.largest:.3f} (n={self.count})"


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


def finish(
    title: str, document: dict[str, Any], figures: Sequence[Figure], path: Path | None
) -> int:
    """Print the figures, write them with `document` and the machine; 0, or 2 when one is missed."""
    kept = all(figure.kept for figure in figures)
    lines = [title, *(f"  {figure}" for figure in figures)]
    sys.stdout.write("\n".join(lines) + "\n")
    if path is not None:
        verdicts = [{**asdict(figure), "kept": figure.kept} for figure in figures]
        whole = {**machine(), **document, "figures": verdicts, "kept": kept}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return 0 if kept else EXIT_MISSED
