"""The generator's losses on episodes that no step saw: what one data set teaches beside another.

Batches, noise and times are functions of the seed alone, so that two runs are asked the same.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from mvista_world.compute import choose
from mvista_world.training.batches import draw_batch, load_sources
from mvista_world.training.chance import Chance
from mvista_world.training.curriculum import recipe_of, training_of
from mvista_world.training.generator import losses, trained_networks
from mvista_world.training.loop import SEED_STRIDE
from mvista_world.training.request import TrainingRequest

BATCHES = 32
NULL_SHARE = 0.5
"""Half of the samples are told their motion, half imagine it from the words."""
FILE = "held_out.json"
TOLD = ("velocity", "head_null", "head_told")
"""Of the losses those that need nothing but what is exported: the goal's probe is not."""


def run(asked: TrainingRequest) -> None:
    """Of `out`'s generator, on the last episodes of every data set in `data`; prints mean and
    standard error over `steps` batches, and writes them to `out/held_out.json`.

    Raises:
        ConfigError: nothing was trained in `out`, or it is of another shape.
    """
    compute = choose(device=asked.device, threads=asked.threads)
    training = asked.applied_to(training_of(recipe_of(asked), asked.without))
    networks = trained_networks(asked, compute)
    sources = load_sources(asked, compute, grounded=False, held_out=True)
    networks.decode_with(sources.trajectory, sources.arm)
    networks.to(compute.device)
    rows: dict[str, list[float]] = {name: [] for name in TOLD}
    batches = BATCHES if asked.steps is None else asked.steps
    for step in range(batches):
        torch.manual_seed(asked.seed * SEED_STRIDE + step)
        drawn = draw_batch("many", sources, asked.config, training, step)
        batch = drawn.map(lambda x: x.to(compute.device))
        chance = Chance.drawn(drawn.x0, training.extras).map(lambda x: x.to(compute.device))
        with torch.no_grad(), compute.autocast():
            loss = losses(networks, batch, training, NULL_SHARE, chance)
        for name in TOLD:
            # A batch without a sample of one kind says nothing of it.
            if name not in loss.samples or loss.samples[name]:
                rows[name].append(float(loss.shown[name]))
    told = {name: _mean(values) for name, values in rows.items()}
    document = {"episodes": sources.episodes, "batches": batches, "seed": asked.seed, **told}
    (asked.out / FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, (mean, error) in told.items():
        sys.stdout.write(f"{name:<10} {mean:.4f} +- {error:.4f}\n")


def _mean(values: list[float]) -> tuple[float, float]:
    """Mean, and its standard error; NaN of too few."""
    spread = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(np.mean(values)) if values else float("nan"), float(spread)
