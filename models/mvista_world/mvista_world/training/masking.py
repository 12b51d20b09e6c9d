"""App. A's masking: which latent frames of the source view a training sample is given."""

from __future__ import annotations

import numpy as np
import torch

from mvista_world.training.curriculum import GeneratorTraining


def draw_known(
    rng: np.random.Generator, size: int, views: int, frames: int, training: GeneratorTraining
) -> torch.Tensor:
    """What is given, bool [V, T'] for a whole batch, or [B, V, T'] where each sample has its own.

    The source is view 0: its first frame, or (a share `full_source`) any number of its frames. A
    share `completed` is given every view but the last.
    """
    if training.extras.shared_mask:
        return _one_for_all(rng, views, frames, training)
    known = torch.zeros(size, views, frames, dtype=torch.bool)
    known[:, 0, 0] = True
    many = rng.random(size) < training.full_source
    # One frame at least is given: of a scene of which nothing is seen nothing can be imagined.
    given = rng.integers(1, frames + 1, size=size)
    # Sorted twice, numbers become their ranks: exactly `given` frames of a sample are below it.
    rank = np.argsort(np.argsort(rng.random((size, frames)), axis=1), axis=1)
    known[many, 0] = torch.from_numpy(rank < given[:, None])[many]
    if training.completed and views > 1:
        known[rng.random(size) < training.completed, :-1] = True
    return known


def _one_for_all(
    rng: np.random.Generator, views: int, frames: int, training: GeneratorTraining
) -> torch.Tensor:
    known = torch.zeros(views, frames, dtype=torch.bool)
    known[0, 0] = True
    if rng.random() < training.full_source:
        # Not App. A's: the first frame stays given, and of the others a share that is drawn too.
        known[0] |= torch.from_numpy(rng.random(frames) < rng.random())
    if training.completed and views > 1 and rng.random() < training.completed:
        known[:-1] = True
    return known
