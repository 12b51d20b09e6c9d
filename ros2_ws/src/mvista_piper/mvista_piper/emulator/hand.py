"""A hand that leads an arm: joint angles and gripper over time, from a file. Pure but for reading.

The file is text, one moment per line after a heading: `time_s,joint1,...,joint6,gripper` (rad, m),
times rising. Between moments the hand moves evenly; two equal moments are a rest, the last one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.records import Float64
from mvista_piper.protocol import MOTORS

HEADING = ",".join(("time_s", *(f"joint{i + 1}" for i in range(MOTORS)), "gripper"))


@dataclass(frozen=True)
class HandMotion:
    """`times_s` [N] and `rows` [N, 7]: six joints (rad) and the gripper's opening (m)."""

    times_s: Float64
    rows: Float64

    def at(self, time_s: float) -> list[float]:
        """Where the hand holds the arm: seven values; before and after its times, the nearest."""
        last = len(self.times_s) - 1
        after = min(int(np.searchsorted(self.times_s, time_s, side="right")), last)
        before = max(after - 1, 0)
        # A file of one moment has no span: the hand rests there.
        span_s = self.times_s[after] - self.times_s[before]
        share = min(max((time_s - self.times_s[before]) / span_s, 0.0), 1.0) if span_s else 0.0
        row = self.rows[before] + share * (self.rows[after] - self.rows[before])
        return [float(value) for value in row]

    def write(self, path: Path) -> None:
        """As a file that `read` takes."""
        table = np.column_stack([self.times_s, self.rows])
        np.savetxt(path, table, delimiter=",", fmt="%.6f", header=HEADING, comments="")


def read_hand(path: Path | str) -> HandMotion:
    """The motion in a file.

    Raises:
        ConfigError: no such file, another form, values that are not finite, times that do not rise.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            heading = lines.readline().strip()
            table = np.loadtxt(lines, delimiter=",", ndmin=2) if heading == HEADING else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; its first line must be '{HEADING}'") from None
    if table is None or table.shape[1:] != (MOTORS + 2,) or not len(table):
        raise ConfigError(f"{path}: its first line must be '{HEADING}', then one moment per line")
    # Rising, since `at` looks a time up by bisection and divides by the span.
    if not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        raise ConfigError(f"{path}: values must be finite and times rise from line to line")
    return HandMotion(table[:, 0], table[:, 1:])
