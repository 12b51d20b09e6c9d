"""Counts what an episode holds while it is written, repaired or looked at."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from mvista_recorder.layout import JOINT_STATE, CameraChannels
from mvista_recorder.manifest import StreamRecord
from mvista_recorder.sync import MS, Stamps, SyncBounds, camera_skew, joint_gap


class Tally:
    """Counts, stamps and losses by topic. `first_ns` and `last_ns` are when messages were heard."""

    def __init__(self) -> None:
        self.first_ns = self.last_ns = 0
        self._types: dict[str, str] = {}
        # Eight bytes for each of the hundreds a second, instead of an object.
        self._stamps: dict[str, array[int]] = {}
        self._dropped: dict[str, int] = {}
        self._residuals: dict[str, array[int]] = {}

    def open(self, topic: str, kind: str) -> None:
        """Make a topic known, also one that stays silent."""
        self._types.setdefault(topic, kind)
        self._stamps.setdefault(topic, array("q"))

    def add(self, topic: str, log_ns: int, capture_ns: int) -> None:
        """Count one message of a known topic."""
        self._stamps[topic].append(capture_ns)
        self.first_ns = min(self.first_ns or log_ns, log_ns)
        self.last_ns = max(self.last_ns, log_ns)

    def drop(self, topic: str, count: int) -> None:
        """Count messages that were lost before they could be written."""
        self._dropped[topic] = self._dropped.get(topic, 0) + count

    def residual(self, topic: str, residual_ns: int) -> None:
        """How far the clock of one message's stamp strays from the line it is stamped by."""
        self._residuals.setdefault(topic, array("q")).append(residual_ns)

    @property
    def count(self) -> int:
        """Messages of all topics."""
        return sum(map(len, self._stamps.values()))

    def stamps(self, topic: str) -> Stamps:
        """Capture stamps [N] in the order they came; empty for a topic that is not there."""
        return np.array(self._stamps.get(topic, ()), dtype=np.int64)

    def streams(self) -> dict[str, StreamRecord]:
        """By topic."""
        return {
            topic: StreamRecord(
                kind,
                len(self._stamps[topic]),
                self._dropped.get(topic, 0),
                min(self._stamps[topic], default=0),
                max(self._stamps[topic], default=0),
            )
            for topic, kind in self._types.items()
        }

    def sync(self, cameras: Sequence[str], bounds: SyncBounds) -> dict[str, Any]:
        """Skew of the cameras' images, and of each topic of joint states beside them."""
        images = {name: self.stamps(CameraChannels.of(name).color.name) for name in cameras}
        found: dict[str, Any] = {}
        if skew := camera_skew(images, bounds):
            found["cameras"] = skew.document()
        every = np.concatenate([np.zeros(0, np.int64), *images.values()])
        joints = [topic for topic, kind in self._types.items() if kind == JOINT_STATE]
        gaps = {topic: joint_gap(np.sort(every), self.stamps(topic), bounds) for topic in joints}
        if told := {topic: gap.document() for topic, gap in gaps.items() if gap}:
            found["joints"] = told
        if self._residuals:
            found["clock_residual_ms"] = {
                topic: _spread_ms(values) for topic, values in self._residuals.items()
            }
        return found


def _spread_ms(values_ns: array[int]) -> dict[str, float]:
    size_ms = np.abs(np.array(values_ns, dtype=np.float64)) / MS
    p50, p95 = np.percentile(size_ms, (50, 95))
    return {
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "max_ms": round(float(size_ms.max()), 3),
    }
