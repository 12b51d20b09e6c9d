"""Trains the `tiny` video autoencoder on single views of recorded episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from mvista_world.codec import StackedCodec
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.depth_codec import decode_depth
from mvista_world.training import data, recordings
from mvista_world.training.loop import Run, Schedule, StepLoss, log, train
from mvista_world.training.request import TrainingRequest

HELD_OUT = 16
"""Episodes, at most, which no step sees: the last of what is taken of each data set."""


@dataclasses.dataclass(frozen=True)
class CodecTraining:
    steps: int = 1200
    batch: int = 8
    learning_rate: float = 1.5e-3
    foreground: float = 6.0
    latent_noise: float = 0.03
    seed: int = 0
    state_every: int = 200
    log_every: int = 100


def run(asked: TrainingRequest) -> None:
    """Train the autoencoder, from random weights or from a checkpoint's.

    Started from a checkpoint it is that checkpoint's, unchanged, unless a length is asked for: new
    latents mean something else to the generator that is gone on with, though the fewer steps, the
    less so.
    """
    compute = choose(threads=asked.threads)
    training = asked.applied_to(CodecTraining())
    torch.manual_seed(asked.seed)
    codec = StackedCodec(asked.config.codec)
    if asked.start is not None:
        data.start_from(codec.load_state_dict, asked.start / "codec.safetensors")
    if asked.start is not None and not asked.steps:
        asked.out.mkdir(parents=True, exist_ok=True)
        _export(codec, asked.out)
        return
    folders = asked.video_folders()
    train_codec(codec, folders, asked.out, asked.config, training, asked.resume, compute=compute)


class _Clip(NamedTuple):
    """One view: colour and depth [T, ...], and what is almost always there, stills [1, ...]."""

    color: np.ndarray
    depth: np.ndarray
    still_color: np.ndarray
    still_depth: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Episodes:
    """Colour and depth [N, V, T, ...], and what is almost always there in each view: stills
    [N, V, 1, ...], which broadcast where all episodes have the same cameras."""

    color: np.ndarray
    depth: np.ndarray
    still_color: np.ndarray
    still_depth: np.ndarray

    def clip(self, episode: int, view: int) -> _Clip:
        """One view of one episode."""
        at = episode, view
        return _Clip(self.color[at], self.depth[at], self.still_color[at], self.still_depth[at])


def _of_folder(folder: Path, most: int) -> _Episodes:
    """The first episodes of a data set, with their stills; medians where none were filmed."""
    shards: list[recordings.Shard] = []
    for path in recordings.shard_paths([folder]):
        shards.append(recordings.load_shard(path))
        if sum(len(shard.color) for shard in shards) >= most:
            break
    color, depth = (
        np.concatenate([getattr(shard, name) for shard in shards])[:most]
        for name in ("color", "depth_mm")
    )
    stills = [(shard.still_color, shard.still_depth_mm) for shard in shards]
    filmed = [(seen, far) for seen, far in stills if seen is not None and far is not None]
    if len(filmed) == len(shards):
        still = [np.concatenate(part)[:most] for part in zip(*filmed, strict=True)]
    else:
        still = [_median(images) for images in (color, depth)]
    return _Episodes(color, depth, *still)


def _median(images: np.ndarray) -> np.ndarray:
    """What [N, V, T, ...] have in common, [N, V, 1, ...]: whatever moves is elsewhere in most
    episodes of a data set, and the median does not see it."""
    middle = np.median(images[:, :, ::4], axis=(0, 2)).astype(images.dtype)[:, None]
    return np.broadcast_to(middle, (len(images), *middle.shape))


def _split(shown: Sequence[_Episodes]) -> tuple[list[tuple[_Episodes, int]], list[_Clip]]:
    """What steps see, an episode each with its data set: they may differ in how many views they
    have. And every view of what none sees."""
    seen: list[tuple[_Episodes, int]] = []
    unseen: list[_Clip] = []
    for part in shown:
        count, views = part.color.shape[:2]
        cut = count - data.held_out(count, max(HELD_OUT // len(shown), 1))
        seen += [(part, row) for row in range(cut)]
        unseen += [part.clip(row, view) for row in range(cut, count) for view in range(views)]
    return seen, unseen


def train_codec(
    codec: StackedCodec,
    folders: Sequence[Path],
    out: Path,
    config: ModelConfig,
    training: CodecTraining,
    resume: bool = True,
    limit: int = 1600,
    compute: Compute | None = None,
) -> Path:
    """Mean-absolute error weighted 1 + `foreground` where a pixel differs from the background.

    Writes `out/codec.safetensors`; the latents' mean and std are part of it.
    """
    out.mkdir(parents=True, exist_ok=True)
    compute = compute or choose()
    codec = codec.channels_last()
    optimiser = torch.optim.AdamW(codec.parameters(), lr=training.learning_rate, betas=(0.9, 0.98))
    seen, unseen = _split([_of_folder(folder, limit // len(folders)) for folder in folders])

    def loss_at(step: int) -> StepLoss:
        rng = np.random.default_rng((training.seed, step))
        drawn = [seen[i] for i in data.batch(len(seen), training.batch, training.seed, step)]
        clips = [part.clip(row, rng.integers(part.color.shape[1])) for part, row in drawn]
        still = [(clip.still_color, clip.still_depth) for clip in clips]
        loss = _loss(codec, _pixels(clips, config), _pixels(still, config), training, compute)
        return StepLoss(loss, {"loss": loss})

    schedule = Schedule(training.learning_rate, training.steps)
    this_run = Run.of("codec", training, schedule.at, out, config)
    train(this_run, codec, optimiser, loss_at, resume)
    _standardise(codec, [part.clip(row, 0) for part, row in seen[::8]], config)
    evaluate(codec, unseen, config)
    return _export(codec, out)


def _pixels(clips: Sequence[Sequence[np.ndarray]], config: ModelConfig) -> torch.Tensor:
    """Of each clip its colour and depth [T, ...], the first two: [N, 2, 3, T, H, W]."""
    color, depth = (np.stack([clip[i] for clip in clips]) for i in range(2))
    return data.to_pixels(color, depth, config)


def _export(codec: StackedCodec, out: Path) -> Path:
    path = out / "codec.safetensors"
    save_file({k: v.contiguous() for k, v in codec.state_dict().items()}, path)
    return path


def _loss(
    codec: StackedCodec,
    video: torch.Tensor,
    still: torch.Tensor,
    training: CodecTraining,
    compute: Compute,
) -> torch.Tensor:
    # The arm and the things it moves are few pixels: evenly weighted, a blurred table would win.
    different = ((video - still).abs().amax(dim=2, keepdim=True) > 0.08).float()
    weight = (1.0 + training.foreground * different).flatten(0, 1)
    flat = video.flatten(0, 1)
    with compute.autocast():
        latents = codec.encode_raw(flat)
        # Imagined latents are never exact: the decoder must bear a neighbourhood of each.
        decoded = codec.decode_raw(latents + training.latent_noise * torch.randn_like(latents))
    # The absolute error keeps edges sharp; the squared one keeps whole objects from being left out.
    error = (decoded.float() - flat).abs() + 2.0 * (decoded.float() - flat) ** 2
    return (weight * error).mean()


@torch.no_grad()
def _standardise(codec: StackedCodec, clips: Sequence[_Clip], config: ModelConfig) -> None:
    """Set the latent mean and std per channel from a sample of episodes.

    Flow matching (Eq. 2) mixes latents with unit noise: a channel of another scale would be
    drowned by it, or untouched.
    """
    pixels = _pixels(clips, config).flatten(0, 1)
    latents = torch.cat([codec.encode_raw(chunk).float() for chunk in pixels.split(64)])
    codec.mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    codec.std.copy_(latents.std(dim=(0, 2, 3, 4)))


@torch.no_grad()
def evaluate(codec: StackedCodec, clips: Sequence[_Clip], config: ModelConfig) -> dict[str, float]:
    """PSNR of colour (dB) and RMSE of depth (mm) on held-out episodes."""
    pixels = _pixels(clips, config).flatten(0, 1)
    decoded = torch.cat([codec.decode(codec.encode(chunk)).float() for chunk in pixels.split(64)])
    pairs = decoded.unflatten(0, (-1, 2)), pixels.unflatten(0, (-1, 2))
    # PSNR is of a range of 1, pixels here have one of 2: a fourth of the squared error.
    colour_error = (pairs[0][:, 0] - pairs[1][:, 0]).pow(2).mean() / 4.0
    metres = [decode_depth(p[:, 1].movedim(1, -1), config.depth) for p in pairs]
    both = (metres[0] > 0) & (metres[1] > 0)
    rmse = (metres[0] - metres[1])[both].pow(2).mean().sqrt() * 1000.0
    result = {"psnr_db": float(-10 * torch.log10(colour_error)), "depth_rmse_mm": float(rmse)}
    log("codec-evaluation", 0, **result)
    return result
