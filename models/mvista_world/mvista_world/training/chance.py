"""What chance decides about the samples of a generator's training step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mvista_world.flow import shifted
from mvista_world.training.curriculum import READ_BELOW, Extras, GeneratorTraining


@dataclass(frozen=True)
class Chance:
    """What chance decides about each sample of a step: numbers in [0, 1) of shape [B], and noise
    like x0. Of an extra that is left out they are empty: `late` and `high` of `late_null`, `wrong`
    of `misled`, `read` of the same name."""

    null: torch.Tensor
    t: torch.Tensor
    late: torch.Tensor
    high: torch.Tensor
    wrong: torch.Tensor
    read: torch.Tensor
    noise: torch.Tensor

    @staticmethod
    def drawn(x0: torch.Tensor, extras: Extras) -> Chance:
        """For all samples of x0 [B, ...], from torch's own generator: the loop seeds it by step."""
        size, none = len(x0), torch.empty(0)
        null, t = torch.rand(size), torch.rand(size)
        late, high = (torch.rand(size), torch.rand(size)) if extras.late_null else (none, none)
        wrong = torch.rand(size) if extras.misled else none
        read = torch.rand(size) if extras.read else none
        return Chance(null, t, late, high, wrong, read, torch.randn_like(x0))

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Chance:
        """Every field changed: some rows of it, or on another device."""
        return Chance(*(change(getattr(self, field.name)) for field in dataclasses.fields(self)))

    def levels(
        self, training: GeneratorTraining, null_share: float, shift: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Which samples [B] are told no motion, which of these are read, and every noise level."""
        # Trajectory dropout (App. A): without it there is no text-only imagination.
        null = self.null < null_share
        t = shifted(self.t, shift)
        if training.extras.late_null:
            # Text-only imagination decides its motion at high noise: half of its samples are there.
            late = null & (self.late < 0.5)
            t = torch.where(late, 0.8 + 0.2 * self.high, t)
        read = torch.zeros_like(null)
        if training.extras.read:
            read = self.read < training.read
            # A number that is below a share is, divided by it, as likely to be any as another.
            t = torch.where(read, READ_BELOW * self.read / training.read, t)
        return null | read, read, t
