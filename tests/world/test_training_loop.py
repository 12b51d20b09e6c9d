"""What the one training loop tells of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from mvista_world.training.loop import Listeners, Run, StepLoss, train


@dataclass(frozen=True)
class Settings:
    """Of a run that keeps no state."""

    seed: int = 0
    steps: int = 5
    state_every: int = 100
    log_every: int = 2


def test_a_line_counts_each_sample_once_and_leaves_out_what_had_none(tmp_path: Path) -> None:
    """Parts of a step are of one size, but not of as many samples of each kind."""
    network = nn.Linear(1, 1)
    parts = (
        ((2.0, 1), (0.0, 0)),
        ((5.0, 2), (0.0, 0)),
        ((0.0, 0), (7.0, 1)),
        ((0.0, 0), (1.0, 3)),
        ((0.0, 0), (0.0, 0)),
    )

    def loss_at(step: int) -> Iterator[StepLoss]:
        for value, samples in parts[step]:
            total = network.weight.sum()
            shown = {"head": torch.tensor(value), "plain": torch.tensor(value)}
            yield StepLoss(total, shown, {"head": torch.tensor(samples)}).of_views(3)

    lines: list[tuple[int, Mapping[str, float]]] = []
    steps: list[int] = []
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    heard = Listeners(
        stepped=steps.append, logged=lambda done, means: lines.append((done, dict(means)))
    )
    this_run = Run.of("some", Settings(), lambda step: 0.1, tmp_path, Settings())
    train(this_run, network, optimiser, loss_at, False, heard=heard)
    assert steps == [1, 2, 3, 4, 5]
    assert lines == [
        (2, pytest.approx({"3v-head": 4.0, "3v-plain": 7.0 / 4})),
        (4, pytest.approx({"3v-head": 10.0 / 4, "3v-plain": 8.0 / 4})),
        (5, {"3v-plain": 0.0}),
    ]
