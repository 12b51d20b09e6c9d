"""A run as TensorBoard files: learning curves, and what the model imagines of episodes that no step
sees. `tensorboard --logdir OUT/events` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mvista_core.records import UInt8

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "events"


class EventFiles:
    """Opened with the first line, so that what a killed run had told beyond its last state is
    hidden by what is told again."""

    def __init__(self, out: Path) -> None:
        self._folder = out / FOLDER
        self._writer: SummaryWriter | None = None

    def curves(self, done: int, means: Mapping[str, float], learning_rate: float) -> None:
        """One point of each curve."""
        writer = self._opened(done)
        for name, value in means.items():
            writer.add_scalar(f"loss/{name}", value, done)
        writer.add_scalar("learning_rate", learning_rate, done)
        writer.flush()

    def pictures(self, done: int, name: str, film: UInt8) -> None:
        """A picture [H, W, 3]."""
        self._opened(done).add_image(name, film, done, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _opened(self, done: int) -> SummaryWriter:
        if self._writer is None:
            # Takes seconds to import, and only training needs it.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=done)
        return self._writer


def sheet(truth: UInt8, imagined: UInt8) -> UInt8:
    """Two films [V, T, H, W, 3] as one picture: of each view a row of what was filmed above a row
    of what was imagined, first, middle and last frame."""
    frames = [0, truth.shape[1] // 2, truth.shape[1] - 1]
    rows = [
        np.concatenate([film[view, frame] for frame in frames], axis=1)
        for view in range(len(truth))
        for film in (truth, imagined)
    ]
    return np.concatenate(rows, axis=0)
