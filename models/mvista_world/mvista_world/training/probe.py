"""Three numbers to watch while the generator trains, on held-out grounding scenes.

For scenes of several objects and every instruction of each: does the trajectory end nearest to the
object named? `policy`: z read from the clean first frame alone; `noise`: z read at t = 1, all
views noise; `imagined`: z read off the rollout imagined from the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mvista_core.arm import ArmModel
from mvista_core.records import Float64
from mvista_world.action_head import read_latent
from mvista_world.denoise import solve
from mvista_world.generator import Conditions
from mvista_world.layout import to_grid
from mvista_world.training.data import LatentSet
from mvista_world.training.generator import Networks, token_mask
from mvista_world.trajectory import TrajectoryVae


@dataclass(frozen=True)
class Probe:
    """Right-object rate and median tip error (mm) of one way of reading z."""

    name: str
    count: int
    right: float
    tip_error_mm: float


def probe(
    networks: Networks,
    trajectory: TrajectoryVae,
    scenes: LatentSet,
    cameras: np.ndarray,
    arm: ArmModel,
    views: tuple[int, ...] = (1, 2, 0),
) -> list[Probe]:
    """All three numbers over scenes x instructions; `cameras` [V, 13] as in `Sources`."""
    rng = torch.Generator().manual_seed(0)
    config = networks.generator.config
    readings: dict[str, list[torch.Tensor]] = {"policy": [], "noise": [], "imagined": []}
    for scene, words in enumerate(scenes.instructions):
        first = torch.from_numpy(scenes.latents[scene, list(views)].astype(np.float32))
        for word in words:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                told = Conditions(
                    networks.text([word]),
                    torch.from_numpy(cameras[list(views)])[None],
                    networks.generator.null(1),
                )
                readings["policy"].append(_policy(networks, first, told))
                given = torch.zeros(
                    1, len(views), 2, first.shape[2], config.latent_frames, *first.shape[-2:]
                )
                given[0, 0, :, :, 0] = first[0, :, :, 0]
                known = torch.zeros(len(views), config.latent_frames, dtype=torch.bool)
                known[0, 0] = True
                clean = token_mask(config, len(views), config.latent_frames, known)
                grid = to_grid(given)
                noise = torch.randn(grid.shape, generator=rng)
                start = torch.where(grid != 0, grid, noise)
                hidden = networks.generator(start, torch.ones(1), clean, told).hidden
                readings["noise"].append(networks.generator.head(hidden).float())
                sampler = config.sampler
                rollout = solve(
                    networks.generator, grid, clean, told, noise, sampler.steps, sampler.shift
                )
                readings["imagined"].append(
                    read_latent(networks.generator, rollout, clean, told, config.optimisation, rng)
                )
    return [_score(name, zs, trajectory, scenes, arm) for name, zs in readings.items()]


def _policy(networks: Networks, first: torch.Tensor, told: Conditions) -> torch.Tensor:
    config = networks.generator.config
    clean = token_mask(config, 1, 1, torch.ones(1, 1, dtype=torch.bool))
    one = Conditions(told.text, told.cameras[:, :1], told.style)
    hidden = networks.generator(to_grid(first[None, :1]), torch.zeros(1), clean, one).hidden
    return networks.generator.head(hidden).float()


def _score(
    name: str,
    latents: list[torch.Tensor],
    trajectory: TrajectoryVae,
    scenes: LatentSet,
    arm: ArmModel,
) -> Probe:
    with torch.no_grad():
        decoded = trajectory.decode(torch.cat(latents)).double().numpy()
    reached = _tips(decoded[:, -1], arm).reshape(len(scenes), -1, 3)
    goals = _tips(scenes.actions[:, :, -1].reshape(-1, scenes.actions.shape[-1]), arm)
    goals = goals.reshape(len(scenes), -1, 3)
    gaps = np.linalg.norm(reached[:, :, None] - goals[:, None], axis=-1)
    asked = np.arange(gaps.shape[1])
    right = (gaps.argmin(axis=2) == asked).mean()
    error_mm = float(np.median(gaps[:, asked, asked]) * 1000)
    return Probe(name, gaps.shape[0] * gaps.shape[1], float(right), error_mm)


def _tips(joints: np.ndarray, arm: ArmModel) -> Float64:
    return np.array([arm.base_from_tip(row)[:3, 3] for row in joints])
