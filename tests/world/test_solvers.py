"""The solvers follow the flow to its data; UniPC's loop is diffusers' own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import UniPCMultistepScheduler

from mvista_core.errors import ConfigError
from mvista_world.config import SamplerConfig
from mvista_world.config_limits import SOLVERS
from mvista_world.denoise import solve
from mvista_world.flow import known_latents
from mvista_world.generator import TIME_SCALE
from mvista_world.solvers import UniPC, make_solver
from tests.world.test_generator import untrained, wan_of
from tests.world.tiny import CONFIG, make_latents, source_mask


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_straight_path_ends_at_its_data(solver: str, steps: int) -> None:
    """Eq. 2: velocity noise - x0 everywhere leads from noise to x0, in however many steps."""
    x0, noise = make_latents(1, 1), make_latents(1, 1, seed=9)
    solving = make_solver(SamplerConfig(steps, 5.0, solver=solver))
    assert len(solving.times) == steps and float(solving.times[0]) == pytest.approx(1.0, abs=2e-3)
    assert (solving.times.diff() < 0).all()
    x = noise
    for k in range(steps):
        x = solving.step(k, x, noise - x0)
    torch.testing.assert_close(x, x0, atol=2e-4, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_steps_are_nearer_to_the_flow(solver: str) -> None:
    """dx/dt = cos(t) x has a known end; UniPC's is nearer than Euler's."""

    def error(steps: int, kind: str) -> float:
        solving = make_solver(SamplerConfig(steps, 1.0, solver=kind))
        x = torch.ones(1, 1)
        for k, t in enumerate(solving.times):
            x = solving.step(k, x, torch.cos(t) * x)
        return abs(float(x) - float(torch.exp(-torch.sin(torch.tensor(1.0)))))

    assert error(40, solver) < 0.5 * error(10, solver)
    assert error(20, "unipc") < error(20, "euler")


def test_unipc_with_a_clean_first_frame_is_wans_own_loop() -> None:
    """`expand_timesteps` of diffusers' image-to-video pipeline, on its model and its scheduler."""
    generator, given, conditions = untrained()
    noise, clean, steps = make_latents(2, 1, 1, seed=9), source_mask(1, 1), 6
    ours = solve(generator, given, clean, conditions, noise, UniPC(steps, 5.0))

    wan, known = wan_of(generator), known_latents(clean, CONFIG.transformer.patch, given.shape[2:])
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    scheduler.set_timesteps(steps)
    mask, latents = (~known).float(), noise
    for t in scheduler.timesteps:
        shown = (1 - mask) * given + mask * latents
        times = (mask[0, 0, :, ::2, ::2] * t).flatten().expand(2, -1)
        with torch.no_grad():
            velocity = wan(shown, times, conditions.text, return_dict=False)[0]
        latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
    theirs = (1 - mask) * given + mask * latents
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
    assert (ours - noise)[(~known).expand_as(ours)].abs().max() > 0.1
    assert scheduler.config.num_train_timesteps == TIME_SCALE


def test_an_unknown_solver_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"solver 'heun' is none of \['euler', 'unipc'\]"):
        replace(CONFIG, sampler=SamplerConfig(solver="heun"))
