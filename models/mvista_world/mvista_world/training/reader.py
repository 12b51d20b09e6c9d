"""Trains the motion reader: on filmed futures, and on what a trained generator imagines.

Filmed ones show every motion as it was. Those imagined from words alone are what a planner reads;
they are held to the demonstration that the words asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch.nn import functional as F

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_world.action_head import read_latent
from mvista_world.arm_points import NEAR_M, dh_rows, link_ends, projected
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.denoise import solve
from mvista_world.flow import known_latents, noised
from mvista_world.generator import Conditions
from mvista_world.motion_reader import (
    MotionReader,
    MotionReading,
    ReaderConfig,
    Watched,
    save_reader,
)
from mvista_world.solvers import Euler
from mvista_world.training.batches import Batch, Sources, draw_batch, load_sources
from mvista_world.training.curriculum import GeneratorTraining, training_of
from mvista_world.training.generator import Networks, trained_networks
from mvista_world.training.loop import Run, Schedule, StepLoss, log, train
from mvista_world.training.request import TrainingRequest
from mvista_world.trajectory import TrajectoryVae

FOLDER, IMAGINED = "reader", "imagined"
"""Where in `--out` the reader is written, and beside it what was imagined for it."""
FILMED_FROM = 1_000_000
"""Batches of filmed futures are numbered from here: none is also one that was imagined from."""


@dataclass(frozen=True)
class ReaderTraining:
    """Of `steps`, one in `imagined_every` reads imagined futures, of which there are `imagined`
    batches of `imagined_batch`, solved in `solver_steps`; on `tried` more, of episodes that no step
    sees, it is tried at the end. Half of the filmed ones are noised, up to `noised_below`. `path`,
    `end`, `place` and `tip` weigh the decoded motion, where it ends, in which cell and where in the
    base frame (by the metre) the tip is, against z's error.
    """

    steps: int = 3000
    batch: int = 32
    imagined: int = 90
    imagined_batch: int = 12
    imagined_every: int = 3
    solver_steps: int = 6
    tried: int = 6
    noised_below: float = 0.5
    path: float = 1.0
    end: float = 0.5
    place: float = 0.1
    tip: float = 5.0
    learning_rate: float = 1e-3
    decay: float = 0.7
    weight_decay: float = 0.05
    seed: int = 0
    state_every: int = 200
    log_every: int = 50


def run(asked: TrainingRequest) -> None:
    """Imagine with the generator in `out`, train on that and on the films; writes `out/reader`.

    Raises:
        ConfigError: no generator was trained in `out`, or one of another shape.
    """
    compute = choose(device=asked.device, threads=asked.threads)
    training = asked.applied_to(ReaderTraining())
    networks = trained_networks(asked, compute)
    sources = load_sources(asked, compute, grounded=False)
    networks.decode_with(sources.trajectory, sources.arm)
    networks.to(compute.device).requires_grad_(False).eval()
    train_reader(networks, sources, asked.out / FOLDER, training, compute, asked.resume)


def train_reader(
    networks: Networks,
    sources: Sources,
    out: Path,
    training: ReaderTraining,
    compute: Compute,
    resume: bool = True,
) -> MotionReader:
    """Writes `out/reader.safetensors` and its description."""
    config, drawing = networks.generator.config, _drawing(training)
    whose = _Whose.of(networks, sources, training)
    kept = out / f"{IMAGINED}_{whose.futures_sha256[:12]}"
    futures = _imagine_all(networks, sources, kept / "seen", training, training.imagined, compute)
    torch.manual_seed(training.seed)
    reader = MotionReader(config, ReaderConfig()).to(compute.device)
    vae = networks.trajectory
    if vae is None:
        raise ConfigError("a reader is held to motions: the TCN-VAE is wanted; see decode_with")
    optimiser = torch.optim.AdamW(
        reader.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )

    def loss_at(step: int) -> StepLoss:
        if futures and step % training.imagined_every == 0:
            k = step // training.imagined_every % len(futures)
            batch = replace(_batch(sources, config, drawing, training, k), x0=futures[k].float())
            batch = batch.map(lambda x: x.to(compute.device))
        else:
            filmed = replace(drawing, many_batch=training.batch)
            batch = draw_batch("many", sources, config, filmed, FILMED_FROM + step)
            batch = _noised(batch.map(lambda x: x.to(compute.device)), config, training)
        with compute.autocast():
            reading = reader(batch.x0, batch.cameras, batch.joints)
        return losses(reading, batch, vae, sources.arm, config, training)

    schedule = Schedule(training.learning_rate, training.steps, decay=training.decay)
    this_run = Run.of("reader", training, schedule.at, out, whose)
    train(this_run, reader, optimiser, loss_at, resume)
    reader.eval().requires_grad_(False)
    unseen = sources.unseen()
    tried = _imagine_all(networks, unseen, kept / "unseen", training, training.tried, compute)
    evaluate(reader, networks, unseen, tried, training, compute)
    save_reader(reader, out)
    return reader


@dataclass(frozen=True)
class _Whose:
    """Whose run a state is, and whose futures are kept: another generator imagines others, and
    other data have other motions."""

    config: ModelConfig
    futures_sha256: str

    @staticmethod
    def of(networks: Networks, sources: Sources, training: ReaderTraining) -> _Whose:
        said = training.imagined_batch, training.solver_steps, training.seed
        digest = hashlib.sha256(repr(said).encode())
        for one in (*sources.video, *sources.held_out):
            digest.update(one.actions.tobytes())
        for name in ("generator", "text"):
            digest.update(save(networks.get_submodule(name).state_dict()))
        return _Whose(networks.generator.config, digest.hexdigest())


def _drawing(training: ReaderTraining) -> GeneratorTraining:
    """What a planner is given: one first frame, of one to three views."""
    recipe = training_of("views")
    views = (1, 2, 3, 3)
    return replace(recipe, full_source=0.0, completed=0.0, seed=training.seed, view_counts=views)


def _batch(
    sources: Sources,
    config: ModelConfig,
    drawing: GeneratorTraining,
    training: ReaderTraining,
    k: int,
) -> Batch:
    """The k-th batch that is imagined from."""
    most = (config.max_views,)
    drawing = replace(drawing, many_batch=training.imagined_batch, view_counts=most)
    return draw_batch("many", sources, config, drawing, k)


def _imagine_all(
    networks: Networks,
    sources: Sources,
    folder: Path,
    training: ReaderTraining,
    count: int,
    compute: Compute,
) -> list[torch.Tensor]:
    """Latents [B, C, T', V*h, 2*w] of `count` batches, from words alone; kept in `folder`, so that
    an interrupted run does not imagine them again."""
    folder.mkdir(parents=True, exist_ok=True)
    config, drawing = networks.generator.config, _drawing(training)
    found = []
    for k in range(count):
        path = folder / f"{k:04d}.safetensors"
        if not path.is_file():
            batch = _batch(sources, config, drawing, training, k)
            x = _imagined(networks, batch.map(lambda x: x.to(compute.device)), training, k, compute)
            partial = path.with_suffix(".partial")
            save_file({"latents": x.half().cpu()}, partial)
            # Whole or not at all: what a killed run leaves is read by the next.
            partial.replace(path)
            if (k + 1) % 10 == 0:
                log("imagined", k + 1)
        found.append(load_file(path)["latents"])
    return found


def _told(networks: Networks, batch: Batch) -> Conditions:
    null = networks.generator.null(len(batch.x0))
    words = networks.text(batch.instructions)
    return Conditions(words, batch.cameras, null, batch.shown, batch.joints)


@torch.no_grad()
def _imagined(
    networks: Networks, batch: Batch, training: ReaderTraining, k: int, compute: Compute
) -> torch.Tensor:
    generator = networks.generator
    rng = torch.Generator().manual_seed(training.seed * FILMED_FROM + k)
    noise = torch.randn(batch.x0.shape, generator=rng).to(compute.device)
    solver = Euler(training.solver_steps, generator.config.sampler.shift)
    with compute.autocast():
        return solve(generator, batch.x0, batch.clean, _told(networks, batch), noise, solver)


def _noised(batch: Batch, config: ModelConfig, training: ReaderTraining) -> Batch:
    """Half of the samples with noise, as much as chance says: no imagined picture is clear."""
    size, device = len(batch.x0), batch.x0.device
    chosen = torch.rand(size) < 0.5
    t = torch.where(chosen, training.noised_below * torch.rand(size), 0.0).to(device)
    known = known_latents(batch.clean, config.transformer.patch, batch.x0.shape[2:])
    noise = torch.randn(batch.x0.shape).to(device)
    return replace(batch, x0=noised(batch.x0, noise, t, known))


def losses(
    reading: MotionReading,
    batch: Batch,
    vae: TrajectoryVae,
    arm: ArmModel,
    config: ModelConfig,
    training: ReaderTraining,
) -> StepLoss:
    """How far z, its motion and its tips are off, and whether the tips' cells are found."""
    truth, found = vae.decode(batch.z), vae.decode(reading.z)
    off = ((found - truth) / vae.std) ** 2
    error = (reading.z - batch.z) ** 2
    tips_m = tips_at_pictures(truth, arm, config)
    u, v, depth = projected(tips_m[:, :, None], batch.cameras)
    cells, inside = _cells(u[..., 0], v[..., 0], depth[..., 0], config)
    count = inside.sum().clamp(min=1)
    place = F.cross_entropy(reading.places.flatten(0, 2), cells.flatten(), reduction="none")
    place = (place * inside.flatten()).sum() / count
    each_m = ((reading.seen_m - tips_m[:, None]).norm(dim=-1) * inside).sum() / count
    all_m = (reading.tips_m - tips_m).norm(dim=-1).mean()
    parts = {"z": error.mean(), "path": off.mean(), "end": off[:, -1].mean()}
    total = parts["z"] + training.path * parts["path"]
    total = total + training.end * parts["end"] + training.place * place
    total = total + training.tip * (each_m + all_m)
    return StepLoss(total, {"total": total, **parts, "place": place, "tips_m": all_m})


def tips_at_pictures(actions: torch.Tensor, arm: ArmModel, config: ModelConfig) -> torch.Tensor:
    """Finger tips [B, K, 3] of actions [B, L, J], base frame, at each picture after the first."""
    poses = actions[:, config.episode.pictured_actions]
    flange = torch.tensor(arm.flange_from_tip_m)
    return link_ends(poses, dh_rows(arm).to(poses), flange.to(poses))[..., -1, :]


def _cells(
    u: torch.Tensor, v: torch.Tensor, depth: torch.Tensor, config: ModelConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the cell of points in token pixels, and whether it is in the picture."""
    height, width = config.latent_size
    _, down, across = config.transformer.patch
    column, row = ((u + 0.5) * across).floor(), ((v + 0.5) * down).floor()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > NEAR_M)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return index.long(), inside


@torch.no_grad()
def evaluate(
    reader: MotionReader,
    networks: Networks,
    unseen: Sources,
    futures: Sequence[torch.Tensor],
    training: ReaderTraining,
    compute: Compute,
) -> dict[str, float]:
    """Mean square error in z of this reading and of the generator's own, on futures imagined of
    episodes that no step saw."""
    generator = networks.generator
    config, drawing = generator.config, _drawing(training)
    off: dict[str, list[float]] = {"reader": [], "generator": []}
    for k, future in enumerate(futures):
        batch = replace(_batch(unseen, config, drawing, training, k), x0=future.float())
        batch = batch.map(lambda x: x.to(compute.device))
        told = _told(networks, batch)
        for i in range(len(batch.x0)):
            one, x = _one(told, i), batch.x0[i : i + 1]
            rng = torch.Generator().manual_seed(i)
            with compute.autocast():
                own = read_latent(generator, x, batch.clean, one, config.optimisation, rng)
            seen = Watched(reader, x, one.cameras, batch.joints[i : i + 1]).read()
            for name, z in (("reader", seen), ("generator", own)):
                off[name].append(float((z[0] - batch.z[i]).pow(2).mean()))
    found = {name: float(np.mean(errors)) for name, errors in off.items() if errors}
    log("reader-evaluation", len(off["reader"]), **found)
    return found


def _one(told: Conditions, i: int) -> Conditions:
    """What one sample of a batch is told."""
    rows = slice(i, i + 1)
    return Conditions(
        told.text[rows],
        told.cameras.map(lambda x: x[rows]),
        told.style[rows],
        None if told.shown is None else told.shown[rows],
        None if told.joints is None else told.joints[rows],
    )
