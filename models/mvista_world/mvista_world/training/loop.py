"""What every training loop shares: schedule, moving average, resumable state, plain log lines."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """Warm-up, constant, then linear decay over the last `decay` share of `steps`."""

    learning_rate: float
    steps: int
    warmup: int = 100
    decay: float = 0.25

    def at(self, step: int) -> float:
        """Learning rate of one step; a longer run continues a shorter one's constant part."""
        start = self.steps * (1.0 - self.decay)
        falling = (self.steps - step) / max(self.steps - start, 1.0)
        return self.learning_rate * min((step + 1) / self.warmup, 1.0, max(falling, 0.02))


class MovingAverage:
    """Exponential moving average of a model's weights, with a short horizon early on."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1.0 - decay)


def log(stage: str, step: int, **values: float) -> None:
    """One line of JSON on standard output."""
    rounded = {key: round(value, 5) for key, value in values.items()}
    sys.stdout.write(json.dumps({"stage": stage, "step": step, **rounded}) + "\n")
    sys.stdout.flush()


def save_state(path: Path, step: int, **parts: nn.Module | torch.optim.Optimizer) -> None:
    """Write a resumable state whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{k: v.state_dict() for k, v in parts.items()}}, partial)
    partial.replace(path)


def load_state(path: Path, **parts: nn.Module | torch.optim.Optimizer) -> int:
    """Restore `save_state`'s parts in place; returns the step to go on from (0 without a file)."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    for key, part in parts.items():
        part.load_state_dict(state[key])
    return int(state["step"])
