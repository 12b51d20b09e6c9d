"""What one episode holds: when its pictures are taken, when its actions are due, what is seen.

Stated once, for the simulator that demonstrates and the world model that learns from it. A
checkpoint states its own in its `config.json`; what runs one reads that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.imaging import ModelWindow
from mvista_core.records import Float64


@dataclass(frozen=True)
class EpisodeShape:
    """`frame_count` pictures `frame_period_s` apart, and `action_count` actions at
    `action_rate_hz`; `window` is the part of a camera's image that is kept."""

    window: ModelWindow
    frame_count: int
    frame_period_s: float
    action_count: int
    action_rate_hz: float

    @property
    def frame_times_s(self) -> Float64:
        """Seconds [T] from the start; the first picture is the start itself."""
        return np.asarray(np.arange(self.frame_count) * self.frame_period_s, np.float64)

    @property
    def action_times_s(self) -> Float64:
        """Seconds [L] from the start; the first action is due one period after it."""
        return np.asarray(np.arange(1.0, self.action_count + 1.0) / self.action_rate_hz, np.float64)

    @property
    def pictured_actions(self) -> list[int]:
        """Index of the action that is due at each picture after the first; the last one where all
        are past."""
        due = np.searchsorted(self.action_times_s, self.frame_times_s[1:] - 1e-6)
        return [int(index) for index in due.clip(max=self.action_count - 1)]


TINY = EpisodeShape(ModelWindow(96, 64, 2), 9, 0.8, 96, 15.0)
"""Of the `tiny` preset: 6.4 s, which hold every task of the simulated cell."""
