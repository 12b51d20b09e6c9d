"""Trains the `tiny` video autoencoder on single views of recorded episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mvista_world.codec import StackedCodec
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.depth_codec import decode_depth
from mvista_world.training import data
from mvista_world.training.loop import Schedule, load_state, log, save_state


@dataclasses.dataclass(frozen=True)
class CodecTraining:
    steps: int = 1200
    batch: int = 8
    learning_rate: float = 1.5e-3
    foreground: float = 6.0
    latent_noise: float = 0.03
    seed: int = 0
    state_every: int = 200


def _pixels(folders: Sequence[Path], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth of episodes from every folder, [N, V, T, ...], at most `limit` in all."""
    share = limit // len(folders)
    color, depth = [], []
    for folder in folders:
        taken = 0
        for path in data.shard_paths([folder]):
            shard = data.load_shard(path)
            color.append(shard.color[: share - taken])
            depth.append(shard.depth_mm[: share - taken])
            taken += len(color[-1])
            if taken >= share:
                break
    return np.concatenate(color), np.concatenate(depth)


def _backgrounds(color: np.ndarray, depth: np.ndarray, config: ModelConfig) -> torch.Tensor:
    """Median image per camera and modality [V, 2, 3, 1, H, W]: what is almost always there."""
    few = slice(0, 64)
    middle_color = np.median(color[few, :, ::4], axis=(0, 2)).astype(np.uint8)[:, None]
    middle_depth = np.median(depth[few, :, ::4], axis=(0, 2)).astype(np.uint16)[:, None]
    return data.to_pixels(middle_color, middle_depth, config)


def train_codec(
    folders: Sequence[Path],
    out: Path,
    config: ModelConfig,
    training: CodecTraining,
    resume: bool = True,
    limit: int = 1600,
) -> Path:
    """Mean-absolute error weighted 1 + `foreground` where a pixel differs from the background.

    Writes `out/codec.safetensors`; the latents' mean and std are part of it.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    compute = choose()
    codec = StackedCodec(config.codec).channels_last()
    optimiser = torch.optim.AdamW(codec.parameters(), lr=training.learning_rate, betas=(0.9, 0.98))
    schedule = Schedule(training.learning_rate, training.steps)
    state = out / "codec.state"
    first = load_state(state, codec=codec, optimiser=optimiser) if resume else 0
    color, depth = _pixels(folders, limit)
    background = _backgrounds(color, depth, config)
    cut = len(color) - 16
    picks = data.batches(cut, training.batch, training.seed, first)
    for step in range(first, training.steps):
        # Latent noise too is a function of (seed, step): a resumed run repeats an unbroken one.
        torch.manual_seed(training.seed * 1_000_003 + step)
        rng = np.random.default_rng((training.seed, step))
        index = next(picks)
        camera = rng.integers(color.shape[1], size=len(index))
        video = data.to_pixels(color[index, camera], depth[index, camera], config)
        still = background[camera]
        for group in optimiser.param_groups:
            group["lr"] = schedule.at(step)
        loss = _step(codec, video, still, training, compute)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            log("codec", step, loss=float(loss.detach()))
        if step % training.state_every == training.state_every - 1:
            save_state(state, step + 1, codec=codec, optimiser=optimiser)
    _standardise(codec, color[:cut], depth[:cut], config)
    evaluate(codec, color[cut:], depth[cut:], config)
    path = out / "codec.safetensors"
    save_file({k: v.contiguous() for k, v in codec.state_dict().items()}, path)
    return path


def _step(
    codec: StackedCodec,
    video: torch.Tensor,
    still: torch.Tensor,
    training: CodecTraining,
    compute: Compute,
) -> torch.Tensor:
    different = ((video - still).abs().amax(dim=2, keepdim=True) > 0.08).float()
    weight = (1.0 + training.foreground * different).flatten(0, 1)
    flat = video.flatten(0, 1)
    with compute.autocast():
        latents = codec.encode_raw(flat)
        decoded = codec.decode_raw(latents + training.latent_noise * torch.randn_like(latents))
    error = (decoded.float() - flat).abs() + 2.0 * (decoded.float() - flat) ** 2
    return (weight * error).mean()


@torch.no_grad()
def _standardise(
    codec: StackedCodec, color: np.ndarray, depth: np.ndarray, config: ModelConfig
) -> None:
    """Set the latent mean and std per channel from a sample of episodes."""
    pixels = data.to_pixels(color[::8, 0], depth[::8, 0], config).flatten(0, 1)
    latents = torch.cat([codec.encode_raw(chunk).float() for chunk in pixels.split(64)])
    codec.mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    codec.std.copy_(latents.std(dim=(0, 2, 3, 4)))


@torch.no_grad()
def evaluate(
    codec: StackedCodec, color: np.ndarray, depth: np.ndarray, config: ModelConfig
) -> dict[str, float]:
    """PSNR of colour (dB) and RMSE of depth (mm) on held-out episodes."""
    pixels = data.to_pixels(color, depth, config).flatten(0, 1)
    decoded = torch.cat([codec.decode(codec.encode(chunk)).float() for chunk in pixels.split(64)])
    pairs = decoded.unflatten(0, (-1, 2)), pixels.unflatten(0, (-1, 2))
    colour_error = (pairs[0][:, 0] - pairs[1][:, 0]).pow(2).mean() / 4.0
    metres = [decode_depth(p[:, 1].movedim(1, -1), config.depth) for p in pairs]
    both = (metres[0] > 0) & (metres[1] > 0)
    rmse = (metres[0] - metres[1])[both].pow(2).mean().sqrt() * 1000.0
    result = {"psnr_db": float(-10 * torch.log10(colour_error)), "depth_rmse_mm": float(rmse)}
    log("codec-evaluation", 0, **result)
    return result
