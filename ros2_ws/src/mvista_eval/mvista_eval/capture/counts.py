"""Counts of `mvista bench capture`: what was sent, what arrived, when, at what cost."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvista_eval.statistics import Quantiles

MS_PER_NS = 1e-6

Times = NDArray[np.int64]


@dataclass(frozen=True)
class TopicFigures:
    """One topic in the window: images by stamp, and milliseconds from publish call to reception.

    `late` arrived more than a period after they were sent; `repeated` arrived twice.
    """

    topic: str
    sent: int
    received: int
    lost: int
    late: int
    repeated: int
    latency_ms: Quantiles


def read_sent(path: Path) -> Times:
    """Stamp and publish time [N, 2] of a camera's log."""
    with path.open(newline="", encoding="utf-8") as source:
        rows = [(int(row["stamp_ns"]), int(row["sent_ns"])) for row in csv.DictReader(source)]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def read_arrivals(path: Path) -> dict[str, Times]:
    """Stamp and arrival [N, 2] per topic of the receiver's log."""
    with np.load(path) as log:
        return {name.replace("|", "/"): log[name][:, :2] for name in log.files}


def compare(
    topic: str, sent: Times, arrivals: Times, window_ns: tuple[int, int], period_ns: int
) -> tuple[TopicFigures, NDArray[np.float64]]:
    """Figures of one topic, and its latencies (ms): images whose stamps lie in the window."""
    first, last = window_ns
    sent = sent[(sent[:, 0] >= first) & (sent[:, 0] < last)]
    arrived = dict(arrivals[::-1].tolist())  # of repeats the first
    latencies = [
        (arrived[stamp] - sent_ns) * MS_PER_NS
        for stamp, sent_ns in sent.tolist()
        if stamp in arrived
    ]
    latency_ms = np.array(latencies, dtype=np.float64)
    in_window = arrivals[(arrivals[:, 0] >= first) & (arrivals[:, 0] < last), 0]
    figures = TopicFigures(
        topic,
        len(sent),
        len(latency_ms),
        len(sent) - len(latency_ms),
        int((latency_ms > period_ns * MS_PER_NS).sum()),
        len(in_window) - len(np.unique(in_window)),
        Quantiles.of(latency_ms),
    )
    return figures, latency_ms
