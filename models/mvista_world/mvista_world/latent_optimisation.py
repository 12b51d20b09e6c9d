"""Eq. 11: the trajectory latent that best explains a fixed rollout, by backpropagation.

D is the denoising error of the frozen generator at a sampled noise level: one forward and one
backward per step (the paper's 16 s for 100 steps leave room for no more). Fresh (t, noise) draws
at each step: z overfits a single fixed draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mvista_world.config import OptimisationConfig
from mvista_world.flow import denoising_error
from mvista_world.generator import Conditions, MultiViewGenerator


@dataclass(frozen=True)
class Optimised:
    """z* [1, S, C] and the value of Eq. 11's objective at each step [steps]."""

    z: torch.Tensor
    losses: list[float]


def optimise_latent(
    generator: MultiViewGenerator,
    rollout: torch.Tensor,
    clean: torch.Tensor,
    conditions: Conditions,
    start: torch.Tensor,
    steps: int,
    config: OptimisationConfig,
    rng: torch.Generator,
    on_step: Callable[[float], bool] | None = None,
) -> Optimised:
    """Adam on z from `start` [1, S, C] against a rollout [1, C, T, V*h, M*w]; weights frozen.

    The learning rate falls linearly to a tenth, so that the last draws do not shake z.
    """
    z = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=config.learning_rate)
    n = config.draws
    losses: list[float] = []
    text, cameras = conditions.text.expand(n, -1, -1), conditions.cameras.expand(n, -1, -1)
    x0 = rollout.expand(n, -1, -1, -1, -1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = config.learning_rate * (1.0 - 0.9 * step / steps)
        u = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        t = config.t_low + (config.t_high - config.t_low) * u
        noise = torch.randn(x0.shape, generator=rng)
        told = Conditions(text, cameras, z.expand(n, -1, -1))
        error, _ = denoising_error(generator, x0, noise, t, clean, told)
        loss = error.mean() + config.lambda_z * (z**2).mean()
        (z.grad,) = torch.autograd.grad(loss, z)
        optimiser.step()
        losses.append(float(loss.detach()))
        if on_step is not None and not on_step((step + 1) / steps):
            break
    return Optimised(z.detach(), losses)
