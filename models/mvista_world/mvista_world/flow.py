"""Flow matching (Eq. 2): the noised path and its error, with known tokens.

Known tokens (App. A) always hold clean latents and have time zero; noise and error touch the
others only. Shared by training, the solver, the action head and the latent optimisation.
"""

from __future__ import annotations

import torch

from mvista_world.generator import Conditions, MultiViewGenerator, Prediction


def shifted(u: torch.Tensor, shift: float) -> torch.Tensor:
    """Flow shift: u in [0, 1] -> t = s u / (1 + (s - 1) u), which favours high noise for s > 1."""
    return shift * u / (1.0 + (shift - 1.0) * u)


def known_latents(
    clean: torch.Tensor, patch: tuple[int, int, int], grid: torch.Size
) -> torch.Tensor:
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
    # App. A puts clean latents in place of the noise, so that a known token is data at any t.
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
    """Eq. 2 per sample [B]: mean squared velocity error over unknown latents; and the prediction.

    `weight`, where given, is like x0 and multiplies the squared error.
    """
    known = known_latents(clean, generator.config.transformer.patch, x0.shape[2:])
    prediction = generator(noised(x0, noise, t, known), t, clean, conditions)
    # The straight path from data to noise has velocity noise - x0 at every t (Eq. 2).
    error = (prediction.velocity.to(x0.dtype) - (noise - x0)) ** 2
    if weight is not None:
        error = error * weight
    # Given tokens are not predicted; their error would reward copying the input.
    unknown = (~known).expand_as(error)
    return (error * unknown).flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp(min=1), prediction
