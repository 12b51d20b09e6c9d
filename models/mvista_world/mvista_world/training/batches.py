"""What the generator is shown in one step: drawn from cached latents, by (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mvista_core import weights
from mvista_core.arm import ArmModel
from mvista_core.camera_range import gaps_deg, sees_a_neighbour
from mvista_core.errors import ConfigError
from mvista_core.records import Float64
from mvista_world.cameras import camera_matrices, look_at_point
from mvista_world.codec import StackedCodec, VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.layout import clean_mask, to_grid
from mvista_world.shown import beside, on_grid
from mvista_world.training import data
from mvista_world.training.curriculum import GeneratorTraining
from mvista_world.training.masking import draw_known
from mvista_world.training.request import TrainingRequest
from mvista_world.training.vantages import look_at_points, sources_of, vantages
from mvista_world.trajectory import TrajectoryVae, drawn
from mvista_world.views import ViewCameras

LATENTS = "latents"
"""The folder of cached latents."""
HELD_OUT = 32
"""Last episodes of each data set, at most, which no step sees."""


@dataclass(frozen=True)
class Sources:
    """Latents to train on (each video data set with its share of the steps) with the cameras they
    were seen by, the frozen TCN-VAE, and where the tip ends, base frame: [N, K, 3] of each set.
    `grounding` is None where no step needs it. `words` are all that any episode was told."""

    video: tuple[data.LatentSet, ...]
    shares: Float64
    grounding: data.LatentSet | None
    trajectory: TrajectoryVae
    video_tips_m: tuple[Float64, ...]
    grounding_tips_m: Float64 | None
    arm: ArmModel
    words: tuple[str, ...]
    held_out: tuple[data.LatentSet, ...] = ()
    """Of each video data set: what no step sees."""

    @property
    def episodes(self) -> int:
        """How many executed episodes there are to draw from."""
        return sum(len(chosen) for chosen in self.video)

    def unseen(self) -> Sources:
        """What no step sees, to draw from alike."""
        return make_sources(self.held_out, None, self.trajectory, self.arm)


@dataclass(frozen=True)
class Batch:
    """x0 [B, C, T, V*h, 2*w], clean [L] or [B, L], weights like x0, instructions, each sample's own
    cameras as told; z [B, S, C]: mode of q(z | a), what the head shall read; style [B, S, C]: a
    sample of it, what the generator is told, so that it knows a neighbourhood of each z and Eq. 11
    may start from N(0, 1); goal [B]: the first-frame token of the first view's colour map that
    the tip ends in; joints and shown as in `Conditions`; any_words are what other samples of any
    data set are told."""

    x0: torch.Tensor
    weight: torch.Tensor
    clean: torch.Tensor
    z: torch.Tensor
    style: torch.Tensor
    instructions: list[str]
    cameras: ViewCameras
    goal: torch.Tensor
    joints: torch.Tensor
    any_words: tuple[str, ...]
    shown: torch.Tensor | None = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Every tensor changed, on another device for one."""
        return Batch(
            change(self.x0),
            change(self.weight),
            change(self.clean),
            change(self.z),
            change(self.style),
            self.instructions,
            self.cameras.map(change),
            change(self.goal),
            change(self.joints),
            self.any_words,
            None if self.shown is None else change(self.shown),
        )

    def rows(self, which: slice) -> Batch:
        """Some of its samples."""
        known = self.clean if self.clean.ndim == 1 else self.clean[which]
        part = replace(self, clean=self.x0, instructions=self.instructions[which])
        return replace(part.map(lambda x: x[which]), clean=known)


def load_sources(
    asked: TrainingRequest, compute: Compute, grounded: bool = True, held_out: bool = False
) -> Sources:
    """Frozen autoencoders, and every data set's latents without the last of each; or only those.

    `grounded` False reads no grounding scenes: not every recipe has them, nor has every data.
    """
    config, out = asked.config, asked.out
    autoencoder = StackedCodec(config.codec).channels_last()
    autoencoder.load_state_dict(load_file(out / "codec.safetensors"))
    autoencoder.eval().to(compute.device)
    vae = TrajectoryVae(config.trajectory, len(config.joint_names))
    vae.load_state_dict(load_file(out / "trajectory.safetensors"))
    sha = weights.sha256_of(out / "codec.safetensors")
    return read_sources(asked, autoencoder, sha, vae, compute, grounded, held_out)


def read_sources(
    asked: TrainingRequest,
    codec: VideoCodec,
    codec_sha256: str,
    trajectory: TrajectoryVae,
    compute: Compute,
    grounded: bool = True,
    held_out: bool = False,
) -> Sources:
    """As `load_sources`, with these autoencoders; the first is named by its sum."""
    cache, other = asked.out / LATENTS, 0 if held_out else 1

    def latents(*folders: Path) -> tuple[data.LatentSet, data.LatentSet]:
        """Those that are drawn from, and the others."""
        whole = data.load_latents(
            folders, cache, codec, asked.config, codec_sha256, compute, asked.rig
        )
        parts = whole.split(data.held_out(len(whole), HELD_OUT))
        return parts[1 - other], parts[other]

    video = [latents(folder) for folder in asked.video_folders()]
    scenes = asked.grounding_folders()
    grounding = latents(*scenes)[0] if grounded and scenes else None
    found = make_sources([seen for seen, _ in video], grounding, trajectory, asked.arm)
    return replace(found, held_out=tuple(others for _, others in video))


def make_sources(
    video: Sequence[data.LatentSet],
    grounding: data.LatentSet | None,
    trajectory: TrajectoryVae,
    arm: ArmModel,
) -> Sources:
    """Precompute where the tip ends, and shares: every executed episode is as likely as another."""
    counts = np.array([len(one) for one in video], dtype=np.float64)
    return Sources(
        tuple(video),
        counts / counts.sum(),
        grounding,
        trajectory.eval(),
        tuple(_last_tips(one.actions, arm) for one in video),
        None if grounding is None else _last_tips(grounding.actions, arm),
        arm,
        tuple(sorted({told for one in video for row in one.instructions for told in row})),
    )


def _last_tips(actions: NDArray[np.float32], arm: ArmModel) -> Float64:
    """Where the tip ends, base frame: [N, K, L, J] -> [N, K, 3]."""
    last = actions[:, :, -1].astype(np.float64)
    return arm.tip_positions(last.reshape(-1, last.shape[-1])).reshape(*last.shape[:2], 3)


def goal_tokens(
    tips_m: Float64, intrinsics: Float64, base_from_camera: Float64, config: ModelConfig
) -> NDArray[np.int64]:
    """Index [B] of the token that holds a point [B, 3] in a camera, clipped to the window.

    intrinsics [B, 4] are the window's, base_from_camera [B, 4, 4].
    """
    cell_px = config.codec.spatial_stride * config.transformer.patch[1]
    rows, columns = config.token_grid
    rotation, centre = base_from_camera[:, :3, :3], base_from_camera[:, :3, 3]
    x, y, z = np.einsum("bji,bj->bi", rotation, tips_m - centre).T
    fx, fy, cx, cy = intrinsics.T
    # A tip behind a camera ends in no token; the edge that it is nearest to is meant then.
    z = np.maximum(z, 1e-3)
    column = np.clip((fx * x / z + cx) // cell_px, 0, columns - 1)
    row = np.clip((fy * y / z + cy) // cell_px, 0, rows - 1)
    return np.asarray(row * config.row_tokens + column, np.int64)


class _Seen(TypedDict):
    """Those fields of `Batch` that follow from cameras."""

    cameras: ViewCameras
    goal: torch.Tensor


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
    # Whoever filmed with fewer cameras gives fewer views.
    views = min(views, chosen.base_from_camera.shape[1])
    stands_for = vantages(chosen.base_from_camera[index], config.vantage)
    order = draw_views(chosen.base_from_camera[index], views, rng, stands_for >= 0)
    each = index[:, None], order
    latents = torch.from_numpy(chosen.latents[each].astype(np.float32))
    background = torch.from_numpy(chosen.background[each].astype(np.float32)).unsqueeze(4)
    # Where a latent is what it always is there is nothing to learn: the arm is a few in a hundred.
    unusual = (latents - background).abs().clamp(max=2.0)
    weight = 1.0 + 3.0 * unusual if training.extras.motion_weight else torch.ones_like(latents)
    known = draw_known(rng, size, views, config.latent_frames, training)
    shown = shown_of(chosen, each, config, sources_of(stands_for, order))
    if shown is not None:
        latents = with_given(latents, shown, known[..., 0, 0])
    z, style = encode_actions(sources.trajectory, torch.from_numpy(chosen.actions[index, 0]))
    return Batch(
        to_grid(latents),
        to_grid(weight),
        clean_mask(known, config.token_grid),
        z,
        style,
        [chosen.instructions[i][0] for i in index],
        **_seen_by(chosen, each, sources.video_tips_m[which][index, 0], config, stands_for),
        joints=torch.from_numpy(chosen.initial[index]),
        any_words=sources.words,
        shown=None if shown is None else on_grid(shown),
    )


def _grounding_batch(
    sources: Sources, config: ModelConfig, size: int, rng: np.random.Generator
) -> Batch:
    """Every instruction of each scene side by side: what differs then is the words alone."""
    scenes, tips_m = sources.grounding, sources.grounding_tips_m
    if scenes is None or tips_m is None:
        raise ConfigError("grounding steps need grounding scenes, and none were read")
    words = scenes.actions.shape[1]
    index = np.repeat(rng.integers(len(scenes), size=size // words), words)
    word = np.tile(np.arange(words), size // words)
    stands_for = vantages(scenes.base_from_camera[index[::words]], config.vantage)
    order = rng.integers(scenes.latents.shape[1], size=len(stands_for))[:, None]
    there = (stands_for >= 0).any(axis=1)
    order[there, 0] = (stands_for >= 0).argmax(axis=1)[there]
    stands_for = np.repeat(stands_for, words, axis=0)
    order = np.repeat(order, words, axis=0)
    each = index[:, None], order
    latents = torch.from_numpy(scenes.latents[each].astype(np.float32))
    known = torch.ones(1, 1, dtype=torch.bool)
    shown = shown_of(scenes, each, config, sources_of(stands_for, order))
    if shown is not None:
        latents = with_given(latents, shown, known[0, 0])
    grid = to_grid(latents)
    z, style = encode_actions(sources.trajectory, torch.from_numpy(scenes.actions[index, word]))
    return Batch(
        grid,
        torch.ones_like(grid),
        clean_mask(known, config.token_grid),
        z,
        style,
        [scenes.instructions[i][w] for i, w in zip(index, word, strict=True)],
        **_seen_by(scenes, each, tips_m[index, word], config, stands_for),
        joints=torch.from_numpy(scenes.initial[index]),
        any_words=sources.words,
        shown=None if shown is None else on_grid(shown),
    )


def shown_of(
    chosen: data.LatentSet,
    each: tuple[NDArray[np.int64], NDArray[np.int64]],
    config: ModelConfig,
    source: NDArray[np.int64] | None = None,
) -> torch.Tensor | None:
    """What the source shows of a batch's views `each` [B, V]: [B, V, 2, C + 5, h, w].

    `source` [B] is any view of the episode, None the first of the batch's. None where the model is
    not told.

    Raises:
        ConfigError: latents were read for a model that is not told, or of first frames alone.
    """
    if config.source_render is None:
        return None
    index, views = each
    source = views[:, :1] if source is None else source[:, None]
    if chosen.depths is None:
        raise ConfigError("latents were read for a model that is not shown what the source sees")
    # A codec's first latent frame is of the first picture alone: its own is there already.
    first = chosen.latents[index, source][:, :, :, :, 0].astype(np.float32)
    whole = torch.ones(*first.shape[:2], *first.shape[-2:])
    depths = torch.from_numpy(chosen.depths[index, source].astype(np.float32))
    own = beside(torch.from_numpy(first), whole, depths)
    if chosen.drawn is None:
        if views.shape[1] > 1:
            raise ConfigError(f"first frames alone are not shown in {views.shape[1]} views")
        return own
    others = torch.from_numpy(chosen.drawn[index, source, views].astype(np.float32))
    itself = torch.from_numpy(views == source)
    return torch.where(itself[..., None, None, None, None], own, others)


def with_given(latents: torch.Tensor, shown: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Latents [B, V, 2, C, T', h, w] whose first view, where its first frame is `given` ([] or
    [B]), begins with what the source shows of it: what a planner is given, which films nothing
    there."""
    begun = latents.clone()
    begun[:, 0, :, :, 0] = shown[:, 0, :, : latents.shape[3]]
    return torch.where(given.reshape(-1, 1, 1, 1, 1, 1, 1), begun, latents)


def draw_views(
    base_from_camera: Float64,
    count: int,
    rng: np.random.Generator,
    first: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """`count` views of each sample's cameras [B, V, 4, 4], the source first: indices [B, count].

    The source is one of `first` [B, V], in samples that have any. Each view has another of them
    within App. A's angle, wherever the cameras allow that.
    """
    available = base_from_camera.shape[1]
    if count > available:
        raise ConfigError(f"{count} views asked for, the episodes have {available}")
    orders = np.array(list(permutations(range(available), count)))
    first = np.zeros(base_from_camera.shape[:2], np.bool_) if first is None else first
    drawn = []
    for poses, chosen in zip(base_from_camera, first, strict=True):
        able = orders[chosen[orders[:, 0]]] if chosen.any() else orders
        gaps = gaps_deg(poses, look_at_point(poses))
        pairs = gaps[able[:, :, None], able[:, None, :]]
        allowed = np.flatnonzero(sees_a_neighbour(pairs).all(axis=1))
        drawn.append(able[rng.choice(allowed if len(allowed) else len(able))])
    return np.stack(drawn)


def _seen_by(
    chosen: data.LatentSet,
    each: tuple[NDArray[np.int64], NDArray[np.int64]],
    tips_m: Float64,
    config: ModelConfig,
    stands_for: NDArray[np.int64],
) -> _Seen:
    """The cameras of a batch's views `each` [B, V], and the tokens of tips [B, 3] in the first;
    `stands_for` is `vantages` of their episodes."""
    index, views = each
    # Eq. 6 over all cameras of an episode, as the planner takes it over its whole rig: a camera's
    # token does not depend on who else is asked for.
    lenses, poses = chosen.intrinsics[index[:, 0]], chosen.base_from_camera[index[:, 0]]
    points = look_at_points(poses, stands_for)
    rigs = ViewCameras.of(poses, camera_matrices(lenses), config, points)
    sample = np.arange(len(views))[:, None]
    first = sample[:, 0], views[:, 0]
    goal = goal_tokens(tips_m, lenses[first], poses[first], config)
    return {"cameras": rigs.pick(sample, views), "goal": torch.from_numpy(goal)}


@torch.no_grad()
def encode_actions(
    trajectory: TrajectoryVae, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mode and a sample of q(z | a), each [B, S, C]."""
    mean, log_variance = trajectory.posterior(actions.float())
    return mean, drawn(mean, log_variance)
