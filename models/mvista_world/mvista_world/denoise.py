"""Imagination: the probability flow (Eq. 2) solved with known tokens (App. A), in as many sampling
runs as the views of a request take (Sec. 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from mvista_world.config import SamplerConfig
from mvista_world.flow import known_latents
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.guidance import GuidedVelocity, WordGuidance
from mvista_world.layout import clean_mask
from mvista_world.solvers import Solver, make_solver
from mvista_world.step_cache import cached_steps
from mvista_world.view_passes import ViewPass, put_views, take_views

Step = Callable[[float], bool]


def solve_views(
    generator: MultiViewGenerator,
    given: torch.Tensor,
    noise: torch.Tensor,
    passes: Sequence[ViewPass],
    told: Sequence[Conditions],
    sampler: SamplerConfig,
    on_step: Callable[[int, float], bool],
    guidance: WordGuidance | None = None,
) -> torch.Tensor:
    """All views, run by run; `given`, `noise` and what is returned are [B, C, T, V*h, M*w].

    `told` are the conditions of each run's views; `on_step(run, fraction)` hears how far it is.
    What a run before has imagined is given to the next, and comes out of it the same to the bit.
    """
    views = given.shape[3] // generator.config.latent_size[0]
    latents = given
    for k, (run, conditions) in enumerate(zip(passes, told, strict=True)):
        known = run.known(generator.config.latent_frames)
        part = solve(
            generator,
            take_views(latents, views, run.views),
            clean_mask(known, generator.config.token_grid).to(given.device),
            conditions,
            take_views(noise, views, run.views),
            make_solver(sampler),
            partial(on_step, k),
            guidance,
            sampler.step_cache,
        )
        latents = put_views(latents, views, run.views, part)
    return latents


@torch.no_grad()
def solve(
    generator: MultiViewGenerator,
    given: torch.Tensor,
    clean: torch.Tensor,
    conditions: Conditions,
    noise: torch.Tensor,
    solver: Solver,
    on_step: Step | None = None,
    guidance: WordGuidance | None = None,
    step_cache: float = 0.0,
) -> torch.Tensor:
    """From t = 1 to 0. `given` [B, C, T, V*h, M*w] holds the known latents.

    Stops early and returns what it has when `on_step(fraction)` returns False.
    """
    known = known_latents(clean, generator.config.transformer.patch, given.shape[2:])
    x = torch.where(known, given, noise)
    velocity_of = GuidedVelocity(generator, clean, conditions, guidance)
    with cached_steps(generator, step_cache):
        for k, time in enumerate(solver.times):
            # Given tokens are put back: they are data and not prediction (App. A).
            x = torch.where(known, given, solver.step(k, x, velocity_of(x, time)))
            if on_step is not None and not on_step((k + 1) / len(solver.times)):
                break
    return x
