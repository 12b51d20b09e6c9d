"""The trajectory latent: coding it (Eq. 9-10), reading it off a rollout, optimising it (Eq. 11)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvista_world.action_head import read_latent
from mvista_world.flow import denoising_error, known_latents, noised
from mvista_world.generator import Conditions
from mvista_world.latent_optimisation import Evidence, Optimised, motion_weight, optimise_latent
from mvista_world.trajectory import TrajectoryVae
from tests.world.tiny import (
    CONFIG,
    make_conditions,
    make_generator,
    make_latents,
    smooth_actions,
    source_mask,
)

pytestmark = pytest.mark.slow

Z = CONFIG.trajectory
OPTIMISATION = CONFIG.optimisation


def test_the_vae_maps_l_actions_to_s_tokens_and_back() -> None:
    vae = TrajectoryVae(Z, 7)
    actions = torch.randn(3, Z.action_count, 7)
    assert vae.encode(actions).shape == (3, Z.tokens, Z.channels) == (3, 8, 4)
    assert vae.decode(vae.encode(actions)).shape == actions.shape


def test_a_short_training_beats_the_mean_trajectory() -> None:
    torch.manual_seed(0)
    actions = torch.from_numpy(smooth_actions(np.random.default_rng(0), (96,)))
    vae = TrajectoryVae(replace(Z, width=16), 7)
    vae.mean.copy_(actions.mean(dim=(0, 1)))
    vae.std.copy_(actions.std(dim=(0, 1)))
    optimiser = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for _ in range(120):
        loss, _ = vae.loss(actions[:64])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    held = actions[64:]
    with torch.no_grad():
        error = (vae.decode(vae.encode(held)) - held).square().mean()
    assert error < (held - actions[:64].mean(dim=0)).square().mean()


def find(start: torch.Tensor, steps: int, learning_rate: float = 0.1) -> Optimised:
    rng = torch.Generator().manual_seed(0)
    return optimise_latent(
        make_generator(), evidence(2), start, steps, learning_rate, OPTIMISATION, rng
    )


def evidence(views: int) -> Evidence:
    """A rollout of noise, evenly weighted, under one instruction."""
    told = make_conditions(1, views)
    return Evidence(
        make_latents(1, views), source_mask(views), told.cameras, told.text, torch.ones(1)
    )


def start_latent() -> torch.Tensor:
    return torch.randn(1, Z.tokens, Z.channels, generator=torch.Generator().manual_seed(5))


def test_zero_steps_return_the_start() -> None:
    found = find(start_latent(), 0)
    assert torch.equal(found.z, start_latent())
    assert found.losses == []


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Through the whole generator, both fusion modules included, whose samples z moves."""
    generator = make_generator().double()
    conditions = make_conditions(1, 2)
    told = replace(conditions, text=conditions.text.double())
    x0, noise = make_latents(1, 2).double(), make_latents(1, 2, seed=9).double()
    t, clean = torch.tensor([0.5], dtype=torch.float64), source_mask(2)

    def objective(z: torch.Tensor) -> torch.Tensor:
        error, _ = denoising_error(generator, x0, noise, t, clean, replace(told, style=z))
        return error.mean() + OPTIMISATION.lambda_z * (z**2).mean()

    z = start_latent().double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective(z), z)
    direction = gradient / gradient.norm()
    step = 1e-4
    with torch.no_grad():
        slope = (objective(z + step * direction) - objective(z - step * direction)) / (2 * step)
    assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_optimisation_explains_a_rollout_better_and_leaves_the_weights_alone() -> None:
    """The rollout's velocity is the generator's own for a latent: that one explains it."""
    generator = make_generator()
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    conditions, clean, x0 = make_conditions(1, 1), source_mask(1), make_latents(1, 1)
    start = 3.0 * start_latent()

    def mean_loss(z: torch.Tensor) -> float:
        rng = torch.Generator().manual_seed(1)
        noise = torch.randn((16, *x0.shape[1:]), generator=rng)
        t = torch.linspace(OPTIMISATION.t_low, OPTIMISATION.t_high, 16)
        many = replace(conditions, style=z).expand(16)
        with torch.no_grad():
            error, _ = denoising_error(
                generator, x0.expand(16, -1, -1, -1, -1), noise, t, clean, many
            )
        return float(error.mean() + OPTIMISATION.lambda_z * (z**2).mean())

    rng = torch.Generator().manual_seed(0)
    found = optimise_latent(generator, evidence(1), start, 40, 0.1, OPTIMISATION, rng)
    assert len(found.losses) == 40
    assert mean_loss(found.z) < mean_loss(start)
    assert not found.z.requires_grad
    after = generator.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_eq_11_to_the_letter_sums_squares_over_all_noise_levels() -> None:
    """||.||^2 + lambda ||z||^2 by hand, at the draws of the same seed."""
    literal, given, generator = replace(OPTIMISATION, literal=True), evidence(2), make_generator()
    start = start_latent()
    rng = torch.Generator().manual_seed(4)
    found = optimise_latent(generator, given, start, 1, 0.1, literal, rng)
    rng = torch.Generator().manual_seed(4)
    n = literal.draws
    t = (torch.arange(n) + torch.rand(n, generator=rng)) / n
    x0 = given.latents.expand(n, -1, -1, -1, -1)
    noise = torch.randn(x0.shape, generator=rng)
    unknown = ~known_latents(given.clean, CONFIG.transformer.patch, x0.shape[2:])
    told = Conditions(given.words, given.cameras, start).expand(n)
    with torch.no_grad():
        velocity = generator(noised(x0, noise, t, ~unknown), t, given.clean, told).velocity
        squares = ((velocity - (noise - x0)) ** 2 * unknown).sum() / n
        wanted = squares + literal.lambda_z * (start**2).sum()
    assert found.losses[0] == pytest.approx(wanted.item(), rel=1e-5)


def test_the_same_seed_finds_the_same_latent() -> None:
    first, second = find(start_latent(), 3), find(start_latent(), 3)
    assert torch.equal(first.z, second.z)
    assert first.losses == second.losses


def test_the_action_head_averages_its_draws() -> None:
    generator, rollout, clean = make_generator(), make_latents(1, 2), source_mask(2)
    conditions = make_conditions(1, 2)
    rng = torch.Generator().manual_seed(0)
    z = read_latent(generator, rollout, clean, conditions, OPTIMISATION, rng)
    rng.manual_seed(0)
    draws = OPTIMISATION.head_draws
    noise = torch.randn((draws, *rollout.shape[1:]), generator=rng)
    known = known_latents(clean, CONFIG.transformer.patch, rollout.shape[2:])
    told = replace(conditions, style=generator.null(1))
    readings = []
    for i, level in enumerate(
        torch.linspace(OPTIMISATION.head_t_low, OPTIMISATION.head_t_high, draws)
    ):
        x = noised(rollout, noise[i : i + 1], level[None], known)
        readings.append(generator.head(generator(x, level[None], clean, told).hidden))
    assert z.shape == (1, Z.tokens, Z.channels)
    torch.testing.assert_close(z, torch.stack(readings).mean(0), atol=1e-5, rtol=1e-4)


def test_the_error_counts_where_the_rollout_moves() -> None:
    window = CONFIG.window
    shape = (2, CONFIG.frame_count, window.height_px, window.width_px)
    color = np.full((*shape, 3), 100, dtype=np.uint8)
    depth_m = np.ones(shape, dtype=np.float32)
    even = motion_weight(color, depth_m, CONFIG)
    h, w = CONFIG.latent_size
    assert even.shape == (1, 1, CONFIG.latent_frames, 2 * h, 2 * w)
    torch.testing.assert_close(even, torch.ones_like(even))
    color[1, -1, :8, :8] = 200  # the second view's first cell, in the last frame
    moved = motion_weight(color, depth_m, CONFIG)
    highest = moved[0, 0] == moved.max()
    assert highest[-1, h, 0] and highest[-1, h, w] and highest.sum() == 2
    torch.testing.assert_close(moved[:, :, 1:].mean(), torch.tensor(1.0))
