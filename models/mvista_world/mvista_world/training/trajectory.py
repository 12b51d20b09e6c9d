"""Trains the TCN-VAE (Eq. 10) on the actions of recorded episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mvista_core.arm import ArmModel
from mvista_world.config import ModelConfig
from mvista_world.training import data
from mvista_world.training.loop import Schedule, load_state, log, save_state
from mvista_world.trajectory import TrajectoryVae


@dataclasses.dataclass(frozen=True)
class TrajectoryTraining:
    steps: int = 3000
    batch: int = 48
    learning_rate: float = 2e-3
    seed: int = 0
    state_every: int = 250


def _actions(folders: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Every action sequence [N, L, J] and its sampling weight: folders count equally."""
    rows, weights = [], []
    for folder in folders:
        found = []
        for path in data.shard_paths([folder]):
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
    vae.mean.copy_(actions.mean(dim=(0, 1)))
    vae.std.copy_(actions.std(dim=(0, 1)).clamp(min=1e-2))
    optimiser = torch.optim.AdamW(vae.parameters(), lr=training.learning_rate)
    schedule = Schedule(training.learning_rate, training.steps)
    state = out / "trajectory.state"
    first = load_state(state, vae=vae, optimiser=optimiser) if resume else 0
    held = torch.arange(len(actions)) % 50 == 0
    weights[held] = 0.0
    for step in range(first, training.steps):
        # The samples of Eq. 10 too are a function of (seed, step), so a resumed run is the same.
        torch.manual_seed(training.seed * 1_000_003 + step)
        rng = torch.Generator().manual_seed(training.seed * 1_000_003 + step)
        index = torch.multinomial(weights, training.batch, replacement=True, generator=rng)
        for group in optimiser.param_groups:
            group["lr"] = schedule.at(step)
        loss, error = vae.loss(actions[index])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        if step % 250 == 0:
            log("trajectory", step, loss=float(loss.detach()), mean_error=float(error.detach()))
        if step % training.state_every == training.state_every - 1:
            save_state(state, step + 1, vae=vae, optimiser=optimiser)
    evaluate(vae, actions[held][:400], arm)
    path = out / "trajectory.safetensors"
    save_file(vae.state_dict(), path)
    return path


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
        "joint_error_mrad": float((decoded - actions)[..., :6].abs().mean() * 1000),
        "tip_error_mm": float(np.linalg.norm(tips[0] - tips[1], axis=1).mean() * 1000),
        "active_dims": float((mean.flatten(1).var(dim=0) > 0.01).sum()),
        "latent_std": float(mean.flatten(1).std(dim=0).mean()),
    }
    log("trajectory-evaluation", 0, **result)
    return result
