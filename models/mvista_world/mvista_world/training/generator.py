"""Trains the generator: grounding, one view, then three views, in one resumable run.

Three kinds of step, mixed by a schedule:
  ground  one clean first frame and an instruction -> z by the head (cheap: 48 tokens). Language
          grounding is where a small model breaks, and this is where it is learnt;
  one     the source view alone, flow matching (Eq. 2) and consistency loss;
  many    two or three views, the same losses: the model that ships.
Trajectory dropout (App. A) rises from `null_start` to `null_end`; half the null samples sit at
t > 0.8, where the instruction alone decides. Half of a share of the steps gives the whole source
video with random frames masked, as App. A does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from mvista_core.arm import ArmModel
from mvista_core.geometry import invert, project, transform_points
from mvista_core.records import RigCalibration
from mvista_world.cameras import camera_embedding
from mvista_world.compute import choose
from mvista_world.config import ModelConfig
from mvista_world.flow import denoising_error, shifted
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.layout import clean_mask, to_grid
from mvista_world.text import InstructionEncoder
from mvista_world.training import data
from mvista_world.training.loop import MovingAverage, Schedule, load_state, log, save_state
from mvista_world.trajectory import TrajectoryVae, drawn


@dataclass(frozen=True)
class GeneratorTraining:
    steps: int = 1800
    learning_rate: float = 8e-4
    seed: int = 0
    ema: float = 0.998
    consistency: float = 0.1
    head_on_null: float = 1.0
    goal: float = 0.1
    misled: float = 0.8
    shown_below: float = 0.6
    null_start: float = 0.2
    null_end: float = 0.35
    full_source: float = 0.1
    ground_batch: int = 64
    one_batch: int = 24
    many_batch: int = 12
    ground_until: int = 400
    one_until: int = 1000
    state_every: int = 100


class Networks(nn.Module):
    """What is optimised together: generator, instruction encoder and, in training only, a linear
    probe that says which token of the first frame the finger tip will end in."""

    def __init__(self, generator: MultiViewGenerator, text: InstructionEncoder) -> None:
        super().__init__()
        self.generator = generator
        self.text = text
        self.goal = nn.Linear(generator.config.inner_dim, 1)


@dataclass(frozen=True)
class Sources:
    """Latents to train on, the frozen TCN-VAE, and the rig they were seen by."""

    video: tuple[data.LatentSet, ...]
    grounding: data.LatentSet
    trajectory: TrajectoryVae
    cameras: np.ndarray
    background: torch.Tensor
    video_goals: tuple[NDArray[np.int64], ...]
    grounding_goals: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """x0 [B, C, T, V*h, 2*w], clean [L], weights like x0, instructions, cameras; z [B, S, C]: mode
    of q(z | a), what the head shall read; style [B, S, C]: a sample of it, what the generator is
    told, so that it knows a neighbourhood of each z and Eq. 11 may start from N(0, 1);
    goal [B]: the first-frame token of the source view's colour map that the tip ends in."""

    x0: torch.Tensor
    weight: torch.Tensor
    clean: torch.Tensor
    z: torch.Tensor
    style: torch.Tensor
    instructions: list[str]
    cameras: torch.Tensor
    goal: torch.Tensor


def make_sources(
    video: Sequence[data.LatentSet],
    grounding: data.LatentSet,
    trajectory: TrajectoryVae,
    rig: RigCalibration,
    arm: ArmModel,
    config: ModelConfig,
) -> Sources:
    """Precompute camera embeddings (Eq. 7), background latents and goal tokens."""
    cameras = camera_embedding(np.stack([c.base_from_camera for c in rig.cameras]))
    background = torch.from_numpy(video[0].latents[:256].astype(np.float32)).mean(dim=(0, 4))
    return Sources(
        tuple(video),
        grounding,
        trajectory.eval(),
        cameras,
        background,
        tuple(goal_tokens(s.actions, rig, arm, config) for s in video),
        goal_tokens(grounding.actions, rig, arm, config),
    )


def goal_tokens(
    actions: NDArray[np.float32], rig: RigCalibration, arm: ArmModel, config: ModelConfig
) -> NDArray[np.int64]:
    """Index [N, K, camera] of the token that holds the last tip position, clipped to the window."""
    last = actions[:, :, -1].reshape(-1, actions.shape[-1])
    tips = np.array([arm.base_from_tip(row)[:3, 3] for row in last])
    cell_px = config.codec.spatial_stride * config.transformer.patch[1]
    rows, columns = config.window.height_px // cell_px, config.window.width_px // cell_px
    found = []
    for camera in rig.cameras:
        k = config.window.intrinsics(camera.intrinsics).matrix
        pixels = project(transform_points(invert(camera.base_from_camera), tips), k)
        cell = np.clip(pixels // cell_px, 0, [columns - 1, rows - 1]).astype(np.int64)
        found.append(cell[:, 1] * 2 * columns + cell[:, 0])
    return np.stack(found, axis=-1).reshape(*actions.shape[:2], len(rig.cameras))


def kind_of(step: int, training: GeneratorTraining) -> str:
    """Which kind of step comes at `step`: a fixed pattern, denser in its own phase."""
    if step < training.ground_until:
        return "ground"
    if step < training.one_until:
        return ("one", "one", "ground", "many")[step % 4]
    return ("many", "many", "one", "many", "many", "ground")[step % 6]


def draw_batch(
    kind: str, sources: Sources, config: ModelConfig, training: GeneratorTraining, step: int
) -> Batch:
    """The batch of one step: a function of (seed, step) alone."""
    rng = np.random.default_rng((training.seed, step))
    if kind == "ground":
        return _grounding_batch(sources, config, training.ground_batch, rng)
    size = training.one_batch if kind == "one" else training.many_batch
    views = 1 if kind == "one" else int(rng.choice([2, 3, 3]))
    share = [0.6, 0.2, 0.2][: len(sources.video)]
    which = int(rng.choice(len(share), p=np.array(share) / sum(share)))
    chosen = sources.video[which]
    index = rng.integers(len(chosen), size=size)
    order = np.argsort(rng.random((size, len(sources.cameras))), axis=1)[:, :views]
    latents = torch.from_numpy(chosen.latents[index[:, None], order].astype(np.float32))
    background = sources.background[torch.from_numpy(order)].unsqueeze(4)
    weight = 1.0 + 3.0 * (latents - background).abs().clamp(max=2.0)
    known = torch.zeros(views, config.latent_frames, dtype=torch.bool)
    known[0, 0] = True
    if rng.random() < training.full_source:
        known[0] |= torch.from_numpy(rng.random(config.latent_frames) < rng.random())
    z, style = encode_actions(sources.trajectory, torch.from_numpy(chosen.actions[index, 0]))
    return Batch(
        to_grid(latents),
        to_grid(weight),
        clean_mask(known, config.token_grid),
        z,
        style,
        [chosen.instructions[i][0] for i in index],
        torch.from_numpy(sources.cameras[order]),
        torch.from_numpy(sources.video_goals[which][index, 0, order[:, 0]]),
    )


def _grounding_batch(
    sources: Sources, config: ModelConfig, size: int, rng: np.random.Generator
) -> Batch:
    """Every instruction of each scene side by side: what differs then is the words alone."""
    scenes = sources.grounding
    words = scenes.actions.shape[1]
    index = np.repeat(rng.integers(len(scenes), size=size // words), words)
    word = np.tile(np.arange(words), size // words)
    camera = np.repeat(rng.integers(len(sources.cameras), size=size // words), words)[:, None]
    latents = torch.from_numpy(scenes.latents[index[:, None], camera].astype(np.float32))
    grid = to_grid(latents)
    known = torch.ones(1, 1, dtype=torch.bool)
    z, style = encode_actions(sources.trajectory, torch.from_numpy(scenes.actions[index, word]))
    return Batch(
        grid,
        torch.ones_like(grid),
        clean_mask(known, config.token_grid),
        z,
        style,
        [scenes.instructions[i][w] for i, w in zip(index, word, strict=True)],
        torch.from_numpy(sources.cameras[camera]),
        torch.from_numpy(sources.grounding_goals[index, word, camera[:, 0]]),
    )


@torch.no_grad()
def encode_actions(
    trajectory: TrajectoryVae, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mode and a sample of q(z | a), each [B, S, C]."""
    mean, log_variance = trajectory.posterior(actions.float())
    return mean, drawn(mean, log_variance)


def losses(
    networks: Networks, batch: Batch, training: GeneratorTraining, progress: float
) -> dict[str, torch.Tensor]:
    """Velocity loss, consistency loss, their sum; null and told samples share a batch."""
    generator = networks.generator
    size = len(batch.x0)
    if bool(batch.clean.all()):
        told = Conditions(networks.text(batch.instructions), batch.cameras, generator.null(size))
        hidden = generator(batch.x0, torch.zeros(size), batch.clean, told).hidden
        error = (generator.head(hidden).float() - batch.z).pow(2).mean()
        goal = goal_error(networks, hidden, batch)
        right = (_goal_logits(networks, hidden).argmax(1) == batch.goal).float().mean()
        total = error + training.goal * goal
        return {"total": total, "grounding": error, "goal": goal, "goal_right": right}
    share = training.null_start + (training.null_end - training.null_start) * progress
    null = torch.rand(size) < share
    t = shifted(torch.rand(size), generator.config.sampler.shift)
    late = null & (torch.rand(size) < 0.5)
    t = torch.where(late, 0.8 + 0.2 * torch.rand(size), t)
    style = torch.where(null.view(-1, 1, 1), generator.null(size), batch.style)
    words = _misled(batch.instructions, ~null | (t < training.shown_below), training.misled)
    told = Conditions(networks.text(words), batch.cameras, style)
    error, prediction = denoising_error(
        generator, batch.x0, torch.randn_like(batch.x0), t, batch.clean, told, batch.weight
    )
    head = (generator.head(prediction.hidden).float() - batch.z).pow(2).mean(dim=(1, 2))
    factor = torch.where(null, training.head_on_null, training.consistency)
    goal = goal_error(networks, prediction.hidden, batch)
    total = error.mean() + (factor * head).mean() + training.goal * goal
    return {
        "total": total,
        "goal": goal,
        "velocity": error.detach().mean(),
        "head_null": (head.detach() * null).sum() / null.sum().clamp(min=1),
        "head_told": (head.detach() * ~null).sum() / (~null).sum().clamp(min=1),
    }


def _misled(instructions: list[str], known: torch.Tensor, share: float) -> list[str]:
    """Another sample's words for a share of the samples whose motion is `known` without them.

    Where the words already fix the motion, a generator has no need of z and ignores it, and the
    head reads the words instead of the rollout. When they may be wrong, z has to decide, so that
    Eq. 11 has a gradient to follow, and what is shown at little noise has to be looked at.
    """
    wrong = known & (torch.rand(len(known)) < share)
    return [instructions[i - 1] if wrong[i] else instructions[i] for i in range(len(known))]


def goal_error(networks: Networks, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the goal token among the source view's first-frame tokens.

    A dense, local signal for "which thing do the words name": regression alone stays for tens of
    thousands of samples on the plateau of the mean.
    """
    return F.cross_entropy(_goal_logits(networks, hidden), batch.goal)


def _goal_logits(networks: Networks, hidden: torch.Tensor) -> torch.Tensor:
    rows, columns = networks.generator.config.token_grid
    return networks.goal(hidden[:, : rows * 2 * columns]).squeeze(-1).float()


def train_generator(
    networks: Networks,
    sources: Sources,
    out: Path,
    training: GeneratorTraining,
    resume: bool = True,
) -> MovingAverage:
    """Writes `out/generator.safetensors` and `out/text.safetensors` (the moving average) at every
    state, so that a run may be stopped at any time. Resumes weights, optimiser, average, data
    order and noise."""
    out.mkdir(parents=True, exist_ok=True)
    compute = choose(device="cuda" if torch.cuda.is_available() else "cpu")
    accelerator = Accelerator(
        cpu=compute.device.type == "cpu", mixed_precision=compute.mixed_precision
    )
    config = networks.generator.config
    optimiser = torch.optim.AdamW(
        networks.parameters(), lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    average = MovingAverage(networks, training.ema)
    state = out / "generator.state"
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "networks": networks,
        "optimiser": optimiser,
        "average": average.model,
    }
    first = load_state(state, **parts) if resume else 0
    prepared, optimiser = accelerator.prepare(networks, optimiser)
    schedule = Schedule(training.learning_rate, training.steps)
    seen: dict[str, list[float]] = {}
    for step in range(first, training.steps):
        torch.manual_seed(training.seed * 1_000_003 + step)
        batch = draw_batch(kind_of(step, training), sources, config, training, step)
        for group in optimiser.param_groups:
            group["lr"] = schedule.at(step)
        with accelerator.autocast():
            parts_of = losses(prepared, batch, training, step / training.steps)
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(parts_of["total"])
        accelerator.clip_grad_norm_(networks.parameters(), 1.0)
        optimiser.step()
        average.update(networks, step)
        for key, value in parts_of.items():
            seen.setdefault(f"{len(batch.cameras[0])}v-{key}", []).append(float(value.detach()))
        if step % 50 == 49:
            log("generator", step + 1, **{k: float(np.mean(v)) for k, v in seen.items()})
            seen.clear()
        if step % training.state_every == training.state_every - 1:
            save_state(
                state, step + 1, networks=networks, optimiser=optimiser, average=average.model
            )
            export(average.model, out)
    export(average.model, out)
    return average


def export(networks: nn.Module, out: Path) -> None:
    """The shipped files of generator and instruction encoder."""
    for name in ("generator", "text"):
        tensors = {k: v.contiguous() for k, v in getattr(networks, name).state_dict().items()}
        partial = out / f"{name}.partial"
        save_file(tensors, partial)
        partial.replace(out / f"{name}.safetensors")


def describe(training: GeneratorTraining) -> dict[str, object]:
    """The hyperparameters, for the model card."""
    return dataclasses.asdict(training)
