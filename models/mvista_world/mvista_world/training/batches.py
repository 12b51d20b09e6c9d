"""What the generator is shown in one step: drawn from cached latents, by (seed, step) alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mvista_core import weights
from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, project, transform_points
from mvista_core.records import Float64, RigCalibration
from mvista_world.cameras import check_cameras, window_cameras
from mvista_world.codec import StackedCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.layout import clean_mask, to_grid
from mvista_world.training import data
from mvista_world.training.curriculum import GeneratorTraining
from mvista_world.training.masking import draw_known
from mvista_world.training.request import GROUNDING, VIDEO_SHARES, TrainingRequest
from mvista_world.trajectory import TrajectoryVae, drawn
from mvista_world.views import ViewCameras

HELD_OUT = 32
"""Last episodes of each data set, which no step sees."""


@dataclass(frozen=True)
class Sources:
    """Latents to train on (each video data set with its share of the steps), the frozen TCN-VAE,
    and the cameras they were seen by: one rig, B = 1. `grounding` is None where no step needs it."""

    video: tuple[data.LatentSet, ...]
    shares: Float64
    grounding: data.LatentSet | None
    trajectory: TrajectoryVae
    cameras: ViewCameras
    background: torch.Tensor
    video_goals: tuple[NDArray[np.int64], ...]
    grounding_goals: NDArray[np.int64] | None

    @property
    def episodes(self) -> int:
        """How many executed episodes there are to draw from."""
        return sum(len(chosen) for chosen in self.video)


@dataclass(frozen=True)
class Batch:
    """x0 [B, C, T, V*h, 2*w], clean [L] or [B, L], weights like x0, instructions, cameras;
    z [B, S, C]: mode of q(z | a), what the head shall read; style [B, S, C]: a sample of it, what
    the generator is told, so that it knows a neighbourhood of each z and Eq. 11 may start from
    N(0, 1);
    goal [B]: the first-frame token of the source view's colour map that the tip ends in."""

    x0: torch.Tensor
    weight: torch.Tensor
    clean: torch.Tensor
    z: torch.Tensor
    style: torch.Tensor
    instructions: list[str]
    cameras: ViewCameras
    goal: torch.Tensor


def load_sources(asked: TrainingRequest, compute: Compute, grounded: bool = True) -> Sources:
    """Frozen autoencoders, and every data set's latents, the last of each held out.

    `grounded` False reads no grounding scenes: not every recipe has them.
    """
    config, out = asked.config, asked.out
    autoencoder = StackedCodec(config.codec).channels_last()
    autoencoder.load_state_dict(load_file(out / "codec.safetensors"))
    autoencoder.eval()
    vae = TrajectoryVae(config.trajectory, len(config.joint_names))
    vae.load_state_dict(load_file(out / "trajectory.safetensors"))
    sha = weights.sha256_of(out / "codec.safetensors")

    def latents(name: str) -> data.LatentSet:
        folders = [asked.data / name]
        whole = data.load_latents(folders, out / "latents", autoencoder, config, sha, compute)
        return whole.split(HELD_OUT)[0]

    video = {folder.name: latents(folder.name) for folder in asked.video_folders()}
    grounding = latents(GROUNDING) if grounded else None
    return make_sources(video, grounding, vae, asked.rig, asked.arm, config)


def make_sources(
    video: Mapping[str, data.LatentSet],
    grounding: data.LatentSet | None,
    trajectory: TrajectoryVae,
    rig: RigCalibration,
    arm: ArmModel,
    config: ModelConfig,
) -> Sources:
    """Precompute shares, camera embeddings (Eq. 7), background latents and goal tokens.

    `video` is by name, as in `VIDEO_SHARES`.
    """
    sets, shares = list(video.values()), [VIDEO_SHARES[name] for name in video]
    poses, intrinsics = window_cameras(rig.cameras, config.window)
    check_cameras(rig.names, poses, intrinsics, config.window)
    # Every task has the same table and cameras: one data set says what is always there.
    background = torch.from_numpy(sets[0].latents[:256].astype(np.float32)).mean(dim=(0, 4))
    return Sources(
        tuple(sets),
        np.array(shares) / sum(shares),
        grounding,
        trajectory.eval(),
        ViewCameras.of(poses[None], intrinsics[None], config),
        background,
        tuple(goal_tokens(s.actions, rig, arm, config) for s in sets),
        None if grounding is None else goal_tokens(grounding.actions, rig, arm, config),
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


def draw_batch(
    kind: str, sources: Sources, config: ModelConfig, training: GeneratorTraining, step: int
) -> Batch:
    """The batch of one step: a function of (seed, step) alone."""
    rng = np.random.default_rng((training.seed, step))
    if kind == "ground":
        return _grounding_batch(sources, config, training.ground_batch, rng)
    if kind == "one":
        return _video_batch(sources, config, training, training.one_batch, 1, rng)
    # Two or three views a step (Sec. 5.1): a model of any number has seen more than one number.
    views = int(rng.choice(training.view_counts))
    return _video_batch(sources, config, training, training.many_batch, views, rng)


def _video_batch(
    sources: Sources,
    config: ModelConfig,
    training: GeneratorTraining,
    size: int,
    views: int,
    rng: np.random.Generator,
) -> Batch:
    """Executed episodes of one data set, each seen by cameras of its own in an order of its own."""
    which = int(rng.choice(len(sources.shares), p=sources.shares))
    chosen = sources.video[which]
    index = rng.integers(len(chosen), size=size)
    order = np.argsort(rng.random((size, sources.cameras.views)), axis=1)[:, :views]
    latents = torch.from_numpy(chosen.latents[index[:, None], order].astype(np.float32))
    background = sources.background[torch.from_numpy(order)].unsqueeze(4)
    # Where a latent is what it always is there is nothing to learn: the arm is a few in a hundred.
    unusual = (latents - background).abs().clamp(max=2.0)
    weight = 1.0 + 3.0 * unusual if training.extras.motion_weight else torch.ones_like(latents)
    known = draw_known(rng, size, views, config.latent_frames, training)
    z, style = encode_actions(sources.trajectory, torch.from_numpy(chosen.actions[index, 0]))
    return Batch(
        to_grid(latents),
        to_grid(weight),
        clean_mask(known, config.token_grid),
        z,
        style,
        [chosen.instructions[i][0] for i in index],
        sources.cameras.pick(0, order),
        torch.from_numpy(sources.video_goals[which][index, 0, order[:, 0]]),
    )


def _grounding_batch(
    sources: Sources, config: ModelConfig, size: int, rng: np.random.Generator
) -> Batch:
    """Every instruction of each scene side by side: what differs then is the words alone."""
    scenes, goals = sources.grounding, sources.grounding_goals
    if scenes is None or goals is None:
        raise ConfigError("grounding steps need the data set 'grounding', which was not read")
    words = scenes.actions.shape[1]
    index = np.repeat(rng.integers(len(scenes), size=size // words), words)
    word = np.tile(np.arange(words), size // words)
    camera = np.repeat(rng.integers(sources.cameras.views, size=size // words), words)[:, None]
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
        sources.cameras.pick(0, camera),
        torch.from_numpy(goals[index, word, camera[:, 0]]),
    )


@torch.no_grad()
def encode_actions(
    trajectory: TrajectoryVae, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mode and a sample of q(z | a), each [B, S, C]."""
    mean, log_variance = trajectory.posterior(actions.float())
    return mean, drawn(mean, log_variance)
