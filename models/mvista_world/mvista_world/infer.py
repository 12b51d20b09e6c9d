"""The stage that explains: z of a fixed rollout, read by the head and searched by Eq. 11."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mvista_world.action_head import read_latent
from mvista_world.config import INITIALISATIONS, OptimisationConfig
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.latent_optimisation import Evidence, optimise_latent
from mvista_world.motion_reader import Watched


@dataclass(frozen=True)
class Inferred:
    """What the action head read and z*, each [1, S, C]; `losses` [steps] of Eq. 11 on the way."""

    head: torch.Tensor
    z: torch.Tensor
    losses: list[float]


def infer_latent(
    generator: MultiViewGenerator,
    watched: Watched | None,
    evidence: Evidence,
    told: Conditions,
    initialisation: str,
    steps: int,
    config: OptimisationConfig,
    rng: torch.Generator,
    on_step: Callable[[float], bool],
) -> Inferred:
    """z* from one of `INITIALISATIONS`; `told` is the null style. The action head is a motion
    reader where there is one, else the generator's own (`read_latent`).

    The head is read in either case: it is what z* is shown beside.
    """
    head = _read(generator, watched, evidence, told, config, rng)
    start, learning_rate = head, config.head_learning_rate
    # From Sec. 4.4's N(0, 1) and from App. A's null token the way is long: larger steps.
    if initialisation != INITIALISATIONS[0]:
        random = initialisation == INITIALISATIONS[1]
        # In float32, as the others: in bf16 Adam's last steps would be lost in rounding.
        null = told.style.float()
        start = torch.randn(head.shape, generator=rng).to(head.device) if random else null
        learning_rate = config.learning_rate
    found = optimise_latent(generator, evidence, start, steps, learning_rate, config, rng, on_step)
    return Inferred(head, found.z, found.losses)


def _read(
    generator: MultiViewGenerator,
    watched: Watched | None,
    evidence: Evidence,
    told: Conditions,
    config: OptimisationConfig,
    rng: torch.Generator,
) -> torch.Tensor:
    """z [1, S, C] by `config.action_head`."""
    if watched is None or config.action_head == "generator":
        return read_latent(generator, evidence.latents, evidence.clean, told, config, rng)
    return watched.read()
