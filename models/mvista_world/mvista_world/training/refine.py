"""Train the residual inverse dynamics model on recorded episodes (App. A, L_refine).

    python -m mvista_world.training.refine --data build/data/touch --out build/train/refine

The target is the true action minus a prior. Priors are the true actions bent by smooth random
curves, as far off at the tip as decoded latents are, and, where a priors file is given, what the
planner really inferred on training episodes, with the clouds it imagined. Every sample is a
function of (seed, step, place in the batch) alone, so a resumed run repeats an unbroken one.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_world.compute import PRECISIONS, Compute, choose
from mvista_world.refine import RefineConfig, ResidualRefiner, save_refiner, tip_poses
from mvista_world.training.refine_data import (
    Augmentation,
    Sample,
    SampleMaker,
    bend,
    load_episodes,
    load_priors,
)

Log = Callable[[str], None]


@dataclass(frozen=True)
class RefineTraining:
    """How long and how hard. `error_m` is the range of a bent prior's tip error at its worst
    frame; `real_share` how often a real prior is used where there are any; `precision` "bf16"
    halves the time of a step on processors with AMX and costs time elsewhere."""

    batch: int = 12
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 1e-2
    error_m: tuple[float, float] = (0.0, 0.04)
    views: int = 3
    real_share: float = 0.5
    validation_episodes: int = 48
    validate_every: int = 200
    save_every: int = 100
    log_every: int = 20
    precision: str = "fp32"


@dataclass(frozen=True)
class TipError:
    """Mean over frames and mean at the last frame of the tip's distance from the truth, mm."""

    prior_mean_mm: float
    refined_mean_mm: float
    prior_end_mm: float
    refined_end_mm: float

    def __str__(self) -> str:
        return (
            f"mean {self.prior_mean_mm:.1f} -> {self.refined_mean_mm:.1f} mm, "
            f"end {self.prior_end_mm:.1f} -> {self.refined_end_mm:.1f} mm"
        )


@dataclass(frozen=True)
class _Run:
    training: RefineTraining
    seed: int
    steps: int
    out_dir: Path
    key: str
    log: Log


def train_refiner(
    data_dirs: Sequence[Path],
    out_dir: Path,
    config: RefineConfig,
    steps: int,
    seed: int,
    resume: bool,
    *,
    rig: RigCalibration,
    arm: ArmModel,
    training: RefineTraining | None = None,
    priors: Path | None = None,
    max_episodes: int | None = None,
    log: Log = print,
) -> ResidualRefiner:
    """Train for `steps` optimiser steps in all and write the refiner to `out_dir`.

    `train_state.pt` beside it holds weights, optimiser and step; with `resume` the run goes on
    from there and ends as if it had never stopped. One thread: other work shares the machine.

    Raises:
        ConfigError: no episodes, malformed shards, or a state of another configuration.
    """
    training = training or RefineTraining()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    episodes = load_episodes(data_dirs, max_episodes)
    if priors is not None:
        episodes = episodes.with_priors(load_priors(priors, episodes))
    maker = SampleMaker(
        episodes, rig, arm, config, training.views, training.error_m, training.real_share
    )
    model = ResidualRefiner(config)
    _set_statistics(model, maker, seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    run_key = _run_key(config, training, seed, steps)
    first = _restore(out_dir, model, optimizer, run_key) if resume else 0
    log(
        f"refine: {len(maker.train_indices)} training and {len(maker.validation_indices)} held-out "
        f"episodes, {sum(p.numel() for p in model.parameters()):,} parameters, "
        f"steps {first}..{steps}"
    )
    run = _Run(training, seed, steps, out_dir, run_key, log)
    _loop(model, optimizer, maker, run, first)
    model.eval()
    if episodes.priors is not None:
        model.gain.fill_(fit_gain(model, maker))
        log(f"refine: gain {float(model.gain):.3f} on {len(episodes.priors.episodes)} real priors")
    save_refiner(model, out_dir)
    for name, error in validate(model, maker, training.validation_episodes).items():
        log(f"refine: held-out {name}: {error}")
    return model


def _loop(
    model: ResidualRefiner,
    optimizer: torch.optim.Optimizer,
    maker: SampleMaker,
    run: _Run,
    first: int,
) -> None:
    training, steps, log, clock = run.training, run.steps, run.log, SystemClock()
    compute = choose(training.precision)
    started_ns, recent = clock.monotonic_ns(), 1.0
    model.train()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * _schedule(step, steps, training.warmup_steps)
        batch = _batch(maker, training.batch, run.seed, step)
        loss = train_step(model, optimizer, batch, compute)
        recent += (loss - recent) * (1.0 if step == first else 0.05)
        done = step + 1
        if done % training.log_every == 0 or done == steps:
            elapsed_s = (clock.monotonic_ns() - started_ns) * 1e-9
            log(f"refine: step {done}/{steps} loss {recent:.4f} {elapsed_s:.0f} s")
        if done % training.save_every == 0 or done == steps:
            _save_state(run.out_dir, model, optimizer, done, run.key)
        if done % training.validate_every == 0 and done < steps:
            for name, error in validate(model, maker, training.validation_episodes).items():
                log(f"refine: step {done} held-out {name}: {error}")
            model.train()


def train_step(
    model: ResidualRefiner,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, ...],
    compute: Compute,
) -> float:
    """One step on L_refine: mean squared residual error over joints, in standard deviations."""
    clouds, prior, residual, usable = batch
    with compute.autocast():
        found = model(clouds, prior)
    error = (found - residual) / model.residual_std
    weight = usable[..., None].float()
    loss = (error.square() * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1.0)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


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


def _schedule(step: int, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


def _run_key(config: RefineConfig, training: RefineTraining, seed: int, steps: int) -> str:
    text = repr((asdict(config), asdict(training), seed, steps))
    return hashlib.sha256(text.encode()).hexdigest()


def _save_state(
    out_dir: Path, model: ResidualRefiner, optimizer: torch.optim.Optimizer, step: int, key: str
) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "run_key": key,
    }
    partial = out_dir / "train_state.pt.partial"
    torch.save(state, partial)
    partial.replace(out_dir / "train_state.pt")


def _restore(
    out_dir: Path, model: ResidualRefiner, optimizer: torch.optim.Optimizer, key: str
) -> int:
    path = out_dir / "train_state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state["run_key"] != key:
        raise ConfigError(
            f"{path} is of a run with other sizes, seed or steps; use them, or another --out"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = argparse.ArgumentParser(description="Train the residual inverse dynamics model")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="shard directories")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rig", type=Path, default=Path("config/rigs/sim_cell.yaml"))
    parser.add_argument("--arm", type=Path, default=Path("config/arms/piper.yaml"))
    parser.add_argument("--priors", type=Path, help="npz of real priors (refine_data.Priors)")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=RefineTraining.batch)
    parser.add_argument("--points", type=int, default=RefineConfig.points, help="per cloud")
    parser.add_argument("--max-episodes", type=int, help="per directory; default all")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    given = parser.parse_args(argv)
    train_refiner(
        given.data,
        given.out,
        RefineConfig(points=given.points),
        given.steps,
        given.seed,
        given.resume,
        rig=load_rig(given.rig),
        arm=load_arm(given.arm),
        training=RefineTraining(batch=given.batch, precision=given.precision),
        priors=given.priors,
        max_episodes=given.max_episodes,
        log=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
