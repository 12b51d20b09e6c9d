"""Trains the TCN-VAE (Eq. 10) on the actions of recorded episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_world.compute import choose
from mvista_world.config import ModelConfig
from mvista_world.training import data, recordings
from mvista_world.training.loop import SEED_STRIDE, Run, Schedule, StepLoss, log, train
from mvista_world.training.request import TrainingRequest
from mvista_world.trajectory import TrajectoryVae

STANDARDISATION = ("mean", "std")


@dataclasses.dataclass(frozen=True)
class TrajectoryTraining:
    steps: int = 3000
    batch: int = 48
    learning_rate: float = 2e-3
    seed: int = 0
    state_every: int = 250
    log_every: int = 250


def run(asked: TrainingRequest) -> None:
    """Train the TCN-VAE on executed episodes and on the plans of grounding scenes, if any.

    Started from a checkpoint it is that checkpoint's, unchanged: another one's latents mean
    something else to a generator that is gone on with. Where actions themselves are the latent
    there is nothing to train but how they are standardised.

    Raises:
        ConfigError: a checkpoint to start from, and a length: this network is not gone on with; or
            a length where nothing is trained.
    """
    if asked.steps and asked.config.lacks("tcn_vae"):
        raise ConfigError(
            f"--steps {asked.steps}: without the TCN-VAE there is nothing to train but the mean "
            "and spread of actions; leave --steps out"
        )
    if asked.start is not None:
        _take(asked, asked.start)
        return
    choose(threads=asked.threads)  # for the threads alone: a network this small trains in fp32
    folders = [*asked.video_folders(), *asked.grounding_folders()]
    training = asked.applied_to(TrajectoryTraining())
    train_trajectory(folders, asked.out, asked.config, training, asked.arm, asked.resume)


def _take(asked: TrainingRequest, start: Path) -> None:
    if asked.steps:
        raise ConfigError(
            f"--start with --steps {asked.steps}: the TCN-VAE is taken as it is from a checkpoint, "
            "or trained from nothing; leave out one of the two"
        )
    vae = TrajectoryVae(asked.config.trajectory, len(asked.config.joint_names))

    def take(weights: dict[str, torch.Tensor]) -> None:
        # Of a TCN-VAE, what stays without it: how actions are standardised.
        bare = asked.config.lacks("tcn_vae")
        vae.load_state_dict({k: v for k, v in weights.items() if not bare or k in STANDARDISATION})

    data.start_from(take, start / "trajectory.safetensors")
    asked.out.mkdir(parents=True, exist_ok=True)
    save_file(vae.state_dict(), asked.out / "trajectory.safetensors")


def _actions(folders: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Every action sequence [N, L, J] and its sampling weight: folders count equally."""
    rows, weights = [], []
    for folder in folders:
        found = []
        for path in recordings.shard_paths([folder]):
            with np.load(path) as shard:
                found.append(shard["actions"].reshape(-1, *shard["actions"].shape[-2:]))
        stacked = np.concatenate(found)
        rows.append(stacked)
        weights.append(np.full(len(stacked), 1.0 / len(stacked)))
    return torch.from_numpy(np.concatenate(rows)).float(), torch.from_numpy(np.concatenate(weights))


def train_trajectory(
    folders: Sequence[Path],
    out: Path,
    config: ModelConfig,
    training: TrajectoryTraining,
    arm: ArmModel,
    resume: bool = True,
) -> Path:
    """Writes `out/trajectory.safetensors`, standardisation included."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    actions, weights = _actions(folders)
    vae = TrajectoryVae(config.trajectory, len(config.joint_names))
    # Joints move by a radian, the gripper by centimetres: standardised, Eq. 10 weighs them alike.
    vae.mean.copy_(actions.mean(dim=(0, 1)))
    vae.std.copy_(actions.std(dim=(0, 1)).clamp(min=1e-2))
    held = torch.arange(len(actions)) % 50 == 0
    weights[held] = 0.0
    if not config.lacks("tcn_vae"):
        _fit(vae, actions, weights, out, config, training, resume)
    evaluate(vae, actions[held][:400], arm)
    path = out / "trajectory.safetensors"
    save_file(vae.state_dict(), path)
    return path


def _fit(
    vae: TrajectoryVae,
    actions: torch.Tensor,
    weights: torch.Tensor,
    out: Path,
    config: ModelConfig,
    training: TrajectoryTraining,
    resume: bool,
) -> None:
    optimiser = torch.optim.AdamW(vae.parameters(), lr=training.learning_rate)

    def loss_at(step: int) -> StepLoss:
        # A generator of its own: the batch does not depend on what else the step draws.
        rng = torch.Generator().manual_seed(training.seed * SEED_STRIDE + step)
        index = torch.multinomial(weights, training.batch, replacement=True, generator=rng)
        loss, error = vae.loss(actions[index])
        return StepLoss(loss, {"loss": loss, "mean_error": error})

    schedule = Schedule(training.learning_rate, training.steps)
    this_run = Run.of("trajectory", training, schedule.at, out, config)
    train(this_run, vae, optimiser, loss_at, resume)


@torch.no_grad()
def evaluate(vae: TrajectoryVae, actions: torch.Tensor, arm: ArmModel) -> dict[str, float]:
    """Held-out error of decode(encode(a)): joints (mrad), finger tip at the end (mm), and how
    many latent dimensions are active (variance of the mean above 0.01)."""
    mean = vae.encode(actions)
    decoded = vae.decode(mean)
    tips = [
        np.array([arm.base_from_tip(row)[:3, 3] for row in joints[:, -1].double().numpy()])
        for joints in (decoded, actions)
    ]
    result = {
        # The arm's joints alone: a gripper's metres are no radians.
        "joint_error_mrad": float((decoded - actions)[..., :6].abs().mean() * 1000),
        "tip_error_mm": float(np.linalg.norm(tips[0] - tips[1], axis=1).mean() * 1000),
        "active_dims": float((mean.flatten(1).var(dim=0, correction=0) > 0.01).sum()),
        "latent_std": float(mean.flatten(1).std(dim=0, correction=0).mean()),
    }
    log("trajectory-evaluation", 0, **result)
    return result
