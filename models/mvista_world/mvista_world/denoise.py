"""Flow matching (Eq. 2): the noised path, its loss, and the Euler solver with known tokens.

Known tokens (App. A) always hold clean latents and have time zero; noise, loss and solver touch
the others only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from mvista_world.generator import Conditions, MultiViewGenerator, Prediction

Step = Callable[[float], bool]


def shifted(u: torch.Tensor, shift: float) -> torch.Tensor:
    """Flow shift: u in [0, 1] -> t = s u / (1 + (s - 1) u), which favours high noise for s > 1."""
    return shift * u / (1.0 + (shift - 1.0) * u)


def known_latents(clean: torch.Tensor, patch: tuple[int, int, int], grid: torch.Size) -> torch.Tensor:
    """Token mask [L] or [B, L] to a latent mask [1 or B, 1, T, H, W]."""
    frames, height, width = grid[0] // patch[0], grid[1] // patch[1], grid[2] // patch[2]
    mask = clean.reshape(-1, 1, frames, height, width)
    for axis, size in zip((2, 3, 4), patch, strict=True):
        mask = mask.repeat_interleave(size, dim=axis)
    return mask


def noised(
    x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """z_t = (1 - t) x0 + t noise where unknown, x0 where known; t [B]."""
    t = t.view(-1, 1, 1, 1, 1)
    return torch.where(known, x0, (1.0 - t) * x0 + t * noise)


def denoising_error(
    generator: MultiViewGenerator,
    x0: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    clean: torch.Tensor,
    conditions: Conditions,
    weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Prediction]:
    """Eq. 2 per sample [B]: mean squared velocity error over unknown latents, and the prediction."""
    known = known_latents(clean, generator.config.transformer.patch, x0.shape[2:])
    prediction = generator(noised(x0, noise, t, known), t, clean, conditions)
    error = (prediction.velocity.float() - (noise - x0)) ** 2
    if weight is not None:
        error = error * weight
    unknown = (~known).expand_as(error)
    return (error * unknown).flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp(min=1), prediction


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
    times = shifted(torch.linspace(1.0, 0.0, steps + 1), shift)
    x = torch.where(known, given, noise)
    for k in range(steps):
        t = times[k].to(x.device).expand(x.shape[0])
        velocity = generator(x, t, clean, conditions).velocity.float()
        x = torch.where(known, given, x + velocity * (times[k + 1] - times[k]))
        if on_step is not None and not on_step((k + 1) / steps):
            break
    return x
