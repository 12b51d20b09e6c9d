"""What a record of set-points says: how even they were, how late they came, what was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_core.timing import NS_PER_S
from mvista_eval.executor.standstill import Int64, overlap_ns
from mvista_eval.statistics import Quantiles

MATCH_NS = 5_000_000
"""A gap is told of when a report names a time this near to the late set-point's stamp."""


@dataclass(frozen=True)
class ToldGap:
    """A gap as the executor reports it; `stamp_ns` (wall time) of the set-point after it."""

    stamp_ns: int
    between_ms: float


@dataclass(frozen=True)
class Recorded:
    """What the recorder has heard: `setpoints` [N, 2] (stamp, arrival; wall time in ns)."""

    setpoints: Int64
    gaps: tuple[ToldGap, ...]

    def write(self, path: Path) -> None:
        """Into one file (.npz)."""
        stamps_ns = np.array([gap.stamp_ns for gap in self.gaps], np.int64)
        between_ms = np.array([gap.between_ms for gap in self.gaps])
        np.savez(path, setpoints=self.setpoints, stamps_ns=stamps_ns, between_ms=between_ms)

    @staticmethod
    def read(path: Path) -> Recorded:
        """What `write` wrote."""
        with np.load(path) as found:
            gaps = zip(found["stamps_ns"].tolist(), found["between_ms"].tolist(), strict=True)
            return Recorded(found["setpoints"], tuple(ToldGap(*gap) for gap in gaps))


@dataclass(frozen=True)
class SetpointFigures:
    """Times in ms. `gaps` are over two periods between stamps; `silent` those nobody told of.

    `gaps_beyond_standstill` are over two periods even without the time in which the machine stood
    still (`standstill_ms` in all, `standstills` times). A set-point that was sent and did not
    arrive is a gap too, and a silent one. `arrival_gaps` are
    over two periods between arrivals.
    """

    setpoints: int
    seconds: float
    period_error_ms: Quantiles
    arrival_error_ms: Quantiles
    wire_ms: Quantiles
    gaps: int
    gaps_beyond_standstill: int
    silent: int
    largest_gap_ms: float
    arrival_gaps: int
    standstills: int
    standstill_ms: float


def figures_of(
    record: Int64,
    window_ns: tuple[int, int],
    period_ns: int,
    told: Sequence[ToldGap],
    still: Int64,
) -> SetpointFigures:
    """Figures of a record [N, 2] (stamp, arrival; ns) within a window of wall time.

    `still` [M, 2] are the times at which the machine stood still.
    """
    stamps, arrivals = record[(record[:, 0] >= window_ns[0]) & (record[:, 0] <= window_ns[1])].T
    between, between_arrivals = np.diff(stamps), np.diff(arrivals)
    late = stamps[1:][between > 2 * period_ns]
    ran = between - overlap_ns(stamps[:-1], stamps[1:], still)
    still = still[(still[:, 1] >= window_ns[0]) & (still[:, 0] <= window_ns[1])]
    known = np.array([gap.stamp_ns for gap in told], dtype=np.int64)
    silent = sum(not (np.abs(known - stamp_ns) <= MATCH_NS).any() for stamp_ns in late)
    return SetpointFigures(
        setpoints=len(stamps),
        seconds=(window_ns[1] - window_ns[0]) / NS_PER_S,
        period_error_ms=Quantiles.of(np.abs(between - period_ns) / 1e6),
        arrival_error_ms=Quantiles.of(np.abs(between_arrivals - period_ns) / 1e6),
        wire_ms=Quantiles.of((arrivals - stamps) / 1e6),
        gaps=len(late),
        gaps_beyond_standstill=int((ran > 2 * period_ns).sum()),
        silent=silent,
        largest_gap_ms=float(between.max() / 1e6) if len(between) else np.nan,
        arrival_gaps=int((between_arrivals > 2 * period_ns).sum()),
        standstills=len(still),
        standstill_ms=float((still[:, 1] - still[:, 0]).sum() / 1e6),
    )
