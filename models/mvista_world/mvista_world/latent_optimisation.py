"""Eq. 11: the trajectory latent that best explains a fixed rollout, by backpropagation.

D is the denoising error of the frozen generator at a sampled noise level: one forward and one
backward per step (the paper's 16 s for 100 steps leave room for no more). Fresh (t, noise) draws
at each step: z overfits a single fixed draw.

Two things keep z from looking elsewhere. Each draw is told the words of any task at random: told
the right ones, the generator explains the rollout best with a z that says nothing. And the error
counts where the rollout moves: the arm is a few tokens in a hundred. `OptimisationConfig.literal`
does without both, and takes Eq. 11 as it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_world.config import ModelConfig, OptimisationConfig
from mvista_world.flow import denoising_error, known_latents
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.views import ViewCameras

MOVED_COLOR = 0.1
MOVED_DEPTH_M = 0.03
"""A pixel that differs by more from its view's first frame has moved."""


@dataclass(frozen=True)
class Evidence:
    """What z shall explain: latents [1, C, T, V*h, M*w] and the token mask `clean` [L] of what was
    given of them; its views' cameras; words [K, n, text_dim]; a weight that broadcasts to latents;
    what the source shows of the views and the joints before the motion, as in `Conditions`.
    """

    latents: torch.Tensor
    clean: torch.Tensor
    cameras: ViewCameras
    words: torch.Tensor
    weight: torch.Tensor
    shown: torch.Tensor | None = None
    joints: torch.Tensor | None = None


@dataclass(frozen=True)
class Optimised:
    """z* [1, S, C] and the value of Eq. 11's objective at each step [steps]."""

    z: torch.Tensor
    losses: list[float]


def optimise_latent(
    generator: MultiViewGenerator,
    evidence: Evidence,
    start: torch.Tensor,
    steps: int,
    learning_rate: float,
    config: OptimisationConfig,
    rng: torch.Generator,
    on_step: Callable[[float], bool] | None = None,
) -> Optimised:
    """Adam on z from `start` [1, S, C]; weights frozen.

    The learning rate falls linearly to a tenth, so that the last draws do not shake z.
    """
    # z alone is searched (Eq. 11): the generator's weights are frozen by the checkpoint.
    z = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=learning_rate)
    n = config.draws
    low, high, squares, z_squares = config.t_low, config.t_high, 1, 1
    if config.literal:
        # Its norms are sums of squares: means, times how many are summed.
        low, high, squares, z_squares = 0.0, 1.0, unknown_latents(generator, evidence), z.numel()
    losses: list[float] = []
    cameras, shown = evidence.cameras.expand(n), evidence.shown
    shown = None if shown is None else shown.expand(n, -1, -1, -1, -1)
    joints = None if evidence.joints is None else evidence.joints.expand(n, -1)
    x0 = evidence.latents.expand(n, -1, -1, -1, -1)
    weight = evidence.weight.expand_as(x0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1.0 - 0.9 * step / steps)
        # Stratified noise levels: two draws in the same place would tell the same twice.
        u = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        t = (low + (high - low) * u).to(x0.device)
        noise = torch.randn(x0.shape, generator=rng).to(x0.device)
        # Any task's words: told the right ones, a z that says nothing explains the rollout best.
        words = evidence.words[torch.randint(len(evidence.words), (n,), generator=rng)]
        told = Conditions(words, cameras, z.expand(n, -1, -1), shown, joints)
        error, _ = denoising_error(generator, x0, noise, t, evidence.clean, told, weight)
        # Eq. 11: D is the velocity error of Eq. 2; the second term is z's Gaussian prior.
        loss = squares * error.mean() + config.lambda_z * z_squares * (z**2).mean()
        (z.grad,) = torch.autograd.grad(loss, z)
        optimiser.step()
        losses.append(float(loss.detach()))
        if on_step is not None and not on_step((step + 1) / steps):
            break
    return Optimised(z.detach(), losses)


def unknown_latents(generator: MultiViewGenerator, evidence: Evidence) -> int:
    """How many numbers of the rollout were not given: what D of Eq. 11 is summed over."""
    x0 = evidence.latents
    known = known_latents(evidence.clean, generator.config.transformer.patch, x0.shape[2:])
    return int((~known).sum()) * x0.shape[1]


def motion_weight(
    color: NDArray[np.uint8], depth_m: NDArray[np.float32], config: ModelConfig
) -> torch.Tensor:
    """Weight [1, 1, T', V*h, 2*w], mean 1 over what is generated, from a rollout's color
    [V, T, H, W, 3] and depth_m [V, T, H, W]: the share of a cell's pixels that moved."""
    moved = moved_pixels(color, depth_m)
    views, frames, height, width = moved.shape
    s, k = config.codec.spatial_stride, config.codec.temporal_stride
    cells = moved.reshape(views, frames, height // s, s, width // s, s).mean(axis=(3, 5))
    # A latent frame after the first holds `temporal_stride` pictures (`codec`).
    later = cells[:, 1:].reshape(views, (frames - 1) // k, k, *cells.shape[2:]).mean(axis=2)
    shares = torch.from_numpy(np.concatenate([cells[:, :1], later], axis=1)).float()
    rows = torch.cat([shares, shares], dim=-1).movedim(0, 1).flatten(1, 2)
    # Never zero: that nothing moves elsewhere is evidence too.
    weight = config.optimisation.still_weight + rows
    return (weight / weight[1:].mean())[None, None]


def moved_pixels(color: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels [V, T, H, W] of a rollout differ from their view's first frame."""
    brightness = color.astype(np.float32) / 255.0
    # Colour or depth: a grey arm before a grey wall moves in depth only, a label in colour only.
    moved = np.abs(brightness - brightness[:, :1]).max(axis=-1) > MOVED_COLOR
    return np.asarray(moved | (np.abs(depth_m - depth_m[:, :1]) > MOVED_DEPTH_M))
