"""What a model in training imagines of one held-out episode, beside what was filmed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from mvista_core.records import UInt8
from mvista_world.cameras import camera_matrices
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.denoise import solve
from mvista_world.encode import source_mask
from mvista_world.generator import Conditions
from mvista_world.layout import from_grid, to_grid
from mvista_world.parts import load_codec
from mvista_world.shown import on_grid
from mvista_world.solvers import make_solver
from mvista_world.training.batches import shown_of
from mvista_world.training.data import LatentSet
from mvista_world.training.event_files import sheet
from mvista_world.training.tuned import Tuned
from mvista_world.views import ViewCameras

ROOM = 6 << 30
"""Bytes that the autoencoder takes to decode on a card: 2.8 GB of weights, and its frames."""
STEPS = 10
"""Solver steps of a sample: enough to see by, not the planner's."""


def imagine_episode(
    networks: Tuned, episodes: LatentSet, config: ModelConfig, compute: Compute, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [1, C, T', V*h, 2*w] of the first episode, and imagined from its first frame and its
    words alone. Every process has to call it."""
    views = min(config.max_views, episodes.base_from_camera.shape[1])
    latents = torch.from_numpy(episodes.latents[:1, :views]).float()
    truth = to_grid(latents).to(compute.device)
    # The same noise for every picture of a run: what changes between them is the training.
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(truth.shape, generator=rng).to(compute.device)
    lenses, poses = episodes.intrinsics[:1], episodes.base_from_camera[:1]
    rig = ViewCameras.of(poses, camera_matrices(lenses), config).to(compute.device)
    cameras = rig.pick(0, [list(range(views))])
    each = np.zeros((1, 1), np.int64), np.arange(views)[None]
    shown = shown_of(episodes, each, config)
    shown = None if shown is None else on_grid(shown).to(compute.device)
    joints = torch.from_numpy(episodes.initial[:1]).to(compute.device)
    words = episodes.instructions[0][0]
    sampler = dataclasses.replace(config.sampler, steps=min(STEPS, config.sampler.steps))

    def work(own: Tuned) -> torch.Tensor:
        told = Conditions(own.text([words]), cameras, own.generator.null(1), shown, joints)
        mask = source_mask(views, config, compute)
        return solve(own.generator, truth, mask, told, noise, make_solver(sampler))

    with torch.no_grad(), compute.autocast():
        return truth, networks(work)


def picture(
    truth: torch.Tensor, imagined: torch.Tensor, start: Path, config: ModelConfig, compute: Compute
) -> UInt8:
    """The colours of both decoded by the autoencoder of `start`, which is let go again: on the
    card, where training leaves it room, or on the processor."""
    # What torch keeps for later steps counts as taken until it is given back.
    compute.give_back()
    if not compute.on_processor and compute.free_bytes() < ROOM:
        compute = choose("fp32")
    codec = load_codec(start, config, compute)
    views = truth.shape[3] // config.latent_size[0]
    films = []
    for latents in (truth, imagined):
        colour = from_grid(latents, views)[0, :, 0].to(compute.device)
        with torch.no_grad():
            pixels = codec.decode(colour).cpu().movedim(1, -1)
        films.append(((pixels + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy())
    return sheet(films[0], films[1])
