"""+ActionInit: z read off a fixed rollout by the consistency head, with the null style.

The rollout is noised to mid levels, where final tokens carry most of the trajectory, and the
readings are averaged over draws.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mvista_world.config import OptimisationConfig
from mvista_world.flow import known_latents, noised
from mvista_world.generator import Conditions, MultiViewGenerator


@torch.no_grad()
def read_latent(
    generator: MultiViewGenerator,
    rollout: torch.Tensor,
    clean: torch.Tensor,
    conditions: Conditions,
    config: OptimisationConfig,
    rng: torch.Generator,
) -> torch.Tensor:
    """z [1, S, C] of one rollout [1, C, T, V*h, M*w]; `conditions.style` is the null token."""
    n = config.head_draws
    times = torch.linspace(config.head_t_low, config.head_t_high, n).to(rollout.device)
    noise = torch.randn((n, *rollout.shape[1:]), generator=rng).to(rollout.device)
    # What was given stays clean here as in imagination: it holds no motion to be read.
    known = known_latents(clean, generator.config.transformer.patch, rollout.shape[2:])
    x = noised(rollout.expand(n, -1, -1, -1, -1), noise, times, known)
    repeated = replace(conditions, style=generator.null(1)).expand(n)
    # Errors of single draws are independent, since their noise is: their mean is nearer.
    hidden = generator(x, times, clean, repeated).hidden
    return generator.head(hidden).float().mean(dim=0, keepdim=True)
