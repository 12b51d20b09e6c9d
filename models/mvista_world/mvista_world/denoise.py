"""Imagination: the Euler solver of the probability flow (Eq. 2), with known tokens (App. A)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mvista_world.flow import known_latents, shifted
from mvista_world.generator import Conditions, MultiViewGenerator

Step = Callable[[float], bool]


@torch.no_grad()
def solve(
    generator: MultiViewGenerator,
    given: torch.Tensor,
    clean: torch.Tensor,
    conditions: Conditions,
    noise: torch.Tensor,
    steps: int,
    shift: float,
    on_step: Step | None = None,
) -> torch.Tensor:
    """Euler from t = 1 to 0. `given` [B, C, T, V*h, M*w] holds the known latents.

    Stops early and returns what it has when `on_step(fraction)` returns False.
    """
    known = known_latents(clean, generator.config.transformer.patch, given.shape[2:])
    # The shift spends more of the steps where noise is high and the motion is decided.
    times = shifted(torch.linspace(1.0, 0.0, steps + 1), shift)
    x = torch.where(known, given, noise)
    for k in range(steps):
        t = times[k].to(x.device).expand(x.shape[0])
        velocity = generator(x, t, clean, conditions).velocity.float()
        # Eq. 2's Euler step; given tokens are put back, they are data and not prediction (App. A).
        x = torch.where(known, given, x + velocity * (times[k + 1] - times[k]))
        if on_step is not None and not on_step((k + 1) / steps):
            break
    return x
