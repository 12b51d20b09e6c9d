"""Trains the residual inverse dynamics model on recorded episodes (App. A, L_refine).

The target is the true action minus a prior. Priors are the true actions bent by smooth random
curves, as far off at the tip as decoded latents are, and, where a priors file is given, what the
planner really inferred on training episodes, with the clouds it imagined. Every sample is a
function of (seed, step, place in the batch) alone, so a resumed run repeats an unbroken one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import RigCalibration
from mvista_world.compute import Compute, choose
from mvista_world.refine import PAPER, RefineConfig, ResidualRefiner, save_refiner, tip_poses
from mvista_world.training.loop import CosineSchedule, Listeners, Run, StepLoss, log, train
from mvista_world.training.refine_data import (
    PRIORS_FILE,
    Augmentation,
    Sample,
    SampleMaker,
    bend,
    load_episodes,
    load_priors,
)
from mvista_world.training.request import TrainingRequest

THREADS = 1
"""Other work shares the machine, and small matrices gain little from more."""


@dataclass(frozen=True)
class RefineTraining:
    """How long and how hard. `error_m` is the range of a bent prior's tip error at its worst
    frame; `real_share` how often a real prior is used where there are any; `precision` "bf16"
    halves the time of a step on processors with AMX and costs time elsewhere."""

    steps: int = 1000
    seed: int = 0
    batch: int = 12
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 1e-2
    error_m: tuple[float, float] = (0.0, 0.04)
    views: int = 3
    real_share: float = 0.5
    validation_episodes: int = 48
    state_every: int = 100
    log_every: int = 20
    precision: str = "fp32"


@dataclass(frozen=True)
class TipError:
    """Mean over frames and mean at the last frame of the tip's distance from the truth, mm."""

    prior_mean_mm: float
    refined_mean_mm: float
    prior_end_mm: float
    refined_end_mm: float


RECIPES = {
    "tiny": (RefineConfig(), RefineTraining()),
    # A transition has 16,384 points there: fewer of them fit a step.
    "paper": (PAPER, RefineTraining(batch=2)),
}
"""Sizes and training by name: how the shipped refiner was trained, and App. A to the letter."""


def recipe(asked: TrainingRequest) -> tuple[RefineConfig, RefineTraining]:
    """One of `RECIPES`, with the seed and the length asked for; `ConfigError`: no such recipe."""
    name = asked.recipe or "tiny"
    if name not in RECIPES:
        raise ConfigError(f"no recipe '{name}' of refine; there are {sorted(RECIPES)}")
    config, training = RECIPES[name]
    return config, asked.applied_to(training)


def run(asked: TrainingRequest) -> None:
    """Train into `out/refine`; real priors join where they lie there."""
    for one in asked.video_sets():
        one.require_every_camera(asked.rig)
    out = asked.out / "refine"
    real = out / PRIORS_FILE
    train_refiner(
        asked.video_folders(),
        out,
        *recipe(asked),
        asked.resume,
        rig=asked.rig,
        arm=asked.arm,
        window=asked.config.window,
        priors=real if real.is_file() else None,
    )


def train_refiner(
    data_dirs: Sequence[Path],
    out_dir: Path,
    config: RefineConfig,
    training: RefineTraining,
    resume: bool,
    *,
    rig: RigCalibration,
    arm: ArmModel,
    window: ModelWindow,
    priors: Path | None = None,
) -> ResidualRefiner:
    """Train for `training.steps` optimiser steps in all and write the refiner to `out_dir`.

    `window` is what the recorder cut its images with. `refine.state` beside the weights is gone
    on from with `resume`.

    Raises:
        ConfigError: no episodes, malformed shards, or a state of another configuration.
    """
    compute = choose(training.precision, threads=THREADS)
    torch.manual_seed(training.seed)
    episodes = load_episodes(data_dirs)
    if priors is not None:
        episodes = episodes.with_priors(load_priors(priors, episodes))
    maker = SampleMaker(
        episodes, rig, arm, window, config, training.views, training.error_m, training.real_share
    )
    model = ResidualRefiner(config)
    _set_statistics(model, maker, training.seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = CosineSchedule(training.learning_rate, training.steps, training.warmup_steps)
    this_run = Run.of("refine", training, schedule.at, out_dir, config)

    def loss_at(step: int) -> StepLoss:
        model.train()
        loss = refine_loss(model, _batch(maker, training.batch, training.seed, step), compute)
        return StepLoss(loss, {"loss": loss})

    count = training.validation_episodes
    saved = partial(report, model, maker, count)
    train(this_run, model, optimiser, loss_at, resume, heard=Listeners(saved=saved))
    model.eval()
    if episodes.priors is not None:
        model.gain.fill_(fit_gain(model, maker))
        log("refine-gain", training.steps, gain=float(model.gain))
    save_refiner(model, out_dir)
    report(model, maker, count, training.steps)
    return model


def report(model: ResidualRefiner, maker: SampleMaker, count: int, done: int) -> None:
    """Log what `validate` finds after `done` steps."""
    for name, error in validate(model, maker, count).items():
        values = {key: round(value, 1) for key, value in vars(error).items()}
        log(f"refine-evaluation {name}", done, **values)


def refine_loss(model: ResidualRefiner, batch: tuple[Tensor, ...], compute: Compute) -> Tensor:
    """L_refine (App. A): mean squared residual error over joints, in standard deviations."""
    clouds, prior, residual, usable = batch
    with compute.autocast():
        found = model(clouds, prior)
    # In standard deviations, since a wrist errs by more than a shoulder and moves the tip by less.
    error = (found - residual) / model.residual_std
    # A frame in which the hand is not seen has nothing to be corrected by.
    weight = usable[..., None].float()
    return (error.square() * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1.0)


def validate(model: ResidualRefiner, maker: SampleMaker, count: int) -> dict[str, TipError]:
    """Tip error before and after on held-out episodes, always the same samples.

    "clean" are the recorded clouds, "smeared" the same under augmentation, "real" real priors.
    """
    model.eval()
    chosen = maker.validation_indices[:count]
    clean, smeared, real = [], [], []
    for index in chosen:
        clean.append(maker.bent(int(index), np.random.default_rng([7, int(index)]), None))
        rng = np.random.default_rng([7, int(index)])
        smeared.append(maker.bent(int(index), rng, Augmentation.drawn(rng)))
    priors = maker.episodes.priors
    if priors is not None:
        rows = np.flatnonzero(np.isin(priors.episodes, maker.validation_indices))
        for row in rows[:count]:
            real.append(maker.real(int(row), np.random.default_rng([7, int(row)])))
    named = {"clean": clean, "smeared": smeared, "real": real}
    return {name: _tip_error(model, maker.arm, rows) for name, rows in named.items() if rows}


def fit_gain(model: ResidualRefiner, maker: SampleMaker) -> float:
    """Least-squares share, in [0, 1], of the predicted residuals that was right on real priors.

    Trained on recorded clouds alone a refiner trusts what it sees; imagined clouds are worse, and
    this says by how much. In standard deviations, over usable frames.
    """
    priors = maker.episodes.priors
    assert priors is not None
    model.gain.fill_(1.0)
    # The g that minimises |g found - truth|^2 over all frames is <found, truth> / |found|^2.
    agreement = power = 0.0
    for row in range(len(priors.episodes)):
        clouds, prior, residual, usable = maker.real(row, np.random.default_rng([7, row]))
        with torch.inference_mode():
            found = model(torch.from_numpy(clouds)[None], torch.from_numpy(prior)[None])[0]
        scaled = (found / model.residual_std).numpy()[usable]
        truth = residual[usable] / model.residual_std.numpy()
        agreement += float((scaled * truth).sum())
        power += float((scaled**2).sum())
    return float(np.clip(agreement / power, 0.0, 1.0)) if power > 0 else 1.0


def _tip_error(
    model: ResidualRefiner,
    arm: ArmModel,
    samples: list[Sample],
) -> TipError:
    before, after = [], []
    for clouds, prior, residual, usable in samples:
        with torch.inference_mode():
            found = model(torch.from_numpy(clouds)[None], torch.from_numpy(prior)[None])[0].numpy()
        start = prior[1:].astype(np.float64)
        truth = tip_poses(arm, start + residual)[..., :3, 3]
        refined = tip_poses(arm, start + found * usable[:, None])[..., :3, 3]
        before.append(np.linalg.norm(tip_poses(arm, start)[..., :3, 3] - truth, axis=-1) * 1e3)
        after.append(np.linalg.norm(refined - truth, axis=-1) * 1e3)
    b, a = np.stack(before), np.stack(after)
    return TipError(
        float(b.mean()), float(a.mean()), float(b[:, -1].mean()), float(a[:, -1].mean())
    )


def _batch(maker: SampleMaker, size: int, seed: int, step: int) -> tuple[Tensor, ...]:
    samples = [maker.train(np.random.default_rng([seed, step, slot])) for slot in range(size)]
    return tuple(torch.from_numpy(np.stack(column)) for column in zip(*samples, strict=True))


def _set_statistics(model: ResidualRefiner, maker: SampleMaker, seed: int) -> None:
    """Scale of priors and residuals, from bent training episodes (no clouds needed)."""
    # Of bent priors only: real ones may be few, and the scale must not depend on how many.
    rng = np.random.default_rng([seed, 0xCAFE])
    priors, residuals = [], []
    for index in rng.choice(maker.train_indices, 128):
        truth = maker.episodes.at_frames(maker.episodes.actions[index], int(index))
        prior = bend(truth, maker.arm, rng, maker.error_m)
        priors.append(prior)
        residuals.append((truth - prior)[1:])
    stacked = np.concatenate(priors)
    spread = np.maximum(np.concatenate(residuals).std(axis=0), 1e-4)
    model.prior_mean.copy_(torch.from_numpy(stacked.mean(axis=0)))
    model.prior_std.copy_(torch.from_numpy(np.maximum(stacked.std(axis=0), 1e-3)))
    model.residual_std.copy_(torch.from_numpy(spread))
