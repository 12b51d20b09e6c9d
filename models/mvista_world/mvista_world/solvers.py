"""Solvers of the probability flow (Eq. 2): when the network is asked, and what its answer does.

Times fall from 1 (noise) to 0 (data); the flow shift spends more of them where noise is high and
the motion is decided.
"""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers import UniPCMultistepScheduler

from mvista_core.errors import ConfigError
from mvista_world.config import SamplerConfig
from mvista_world.config_limits import SOLVERS
from mvista_world.flow import shifted

TRAINED_TIMES = 1000
"""Wan numbers its times 0 to 1000."""


class Solver(Protocol):
    """`times` [steps] at which the network is asked; `step(k, x, velocity)` is x at the next."""

    times: torch.Tensor

    def step(self, k: int, x: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor: ...


class Euler:
    """First order: x follows the velocity from each time to the next."""

    def __init__(self, steps: int, shift: float) -> None:
        # Sec. 3 counts its steps upwards from noise, which on Eq. 2's path is t = 1: here times
        # fall and steps are negative, since the velocity points from data to noise.
        self._edges = shifted(torch.linspace(1.0, 0.0, steps + 1), shift)
        self.times = self._edges[:-1]

    def step(self, k: int, x: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        return x + velocity * (self._edges[k + 1] - self._edges[k])


class UniPC:
    """Wan2.2's own: diffusers' multistep predictor-corrector, with its whole-numbered times.

    One use only: it remembers the answers before.
    """

    def __init__(self, steps: int, shift: float) -> None:
        self._scheduler = UniPCMultistepScheduler(**unipc_config(shift))
        self._scheduler.set_timesteps(steps)
        self.times = self._scheduler.timesteps / TRAINED_TIMES

    def step(self, k: int, x: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        time = self._scheduler.timesteps[k]
        following: torch.Tensor = self._scheduler.step(velocity, time, x, return_dict=False)[0]
        return following


def unipc_config(shift: float) -> dict[str, object]:
    """scheduler/scheduler_config.json of Wan2.2-TI2V-5B-Diffusers, at a flow shift."""
    return {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "num_train_timesteps": TRAINED_TIMES,
        "flow_shift": shift,
    }


def make_solver(sampler: SamplerConfig) -> Solver:
    """The solver that `sampler` names, at its steps and shift.

    Raises:
        ConfigError: none of `SOLVERS`.
    """
    if sampler.solver not in SOLVERS:
        raise ConfigError(f"solver '{sampler.solver}' is none of {list(SOLVERS)}")
    kind = Euler if sampler.solver == SOLVERS[0] else UniPC
    return kind(sampler.steps, sampler.shift)
