"""Recorded episodes as training arrays, and their latents, cached once per autoencoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mvista_core.errors import ConfigError
from mvista_world import encode
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig

FRAMES_PER_CALL = 16


@dataclass(frozen=True)
class Shard:
    """One file of episodes.

    color uint8 [N, V, T, H, W, 3]; depth_mm uint16 [N, V, T, H, W]; actions [N, K, L, J] and
    instructions [N][K], where K > 1 only for grounding scenes (several instructions of one scene).
    """

    color: NDArray[np.uint8]
    depth_mm: NDArray[np.uint16]
    actions: NDArray[np.float32]
    instructions: tuple[tuple[str, ...], ...]


def shard_paths(folders: Sequence[Path]) -> list[Path]:
    """Every shard under the folders, in order; `ConfigError` where there is none."""
    paths = [path for folder in folders for path in sorted(Path(folder).glob("shard-?????.npz"))]
    if not paths:
        raise ConfigError(
            f"no shard-*.npz under {[str(f) for f in folders]}; run `mvista dataset collect`"
        )
    return paths


def load_shard(path: Path) -> Shard:
    """Read one shard; single-instruction episodes get K = 1."""
    with np.load(path) as data:
        color, depth, actions = data["color"], data["depth_mm"], data["actions"]
        words = data["instruction"] if "instruction" in data else data["instructions"]
        if color.ndim == 5:
            color, depth = color[:, :, None], depth[:, :, None]
        if actions.ndim == 3:
            actions, words = actions[:, None], words[:, None]
    rows = tuple(tuple(str(word) for word in row) for row in words)
    return Shard(color, depth, actions.astype(np.float32), rows)


def templates(folders: Sequence[Path]) -> tuple[str, ...]:
    """Instruction templates named by the folders' manifests, in order, once each."""
    found: dict[str, None] = {}
    for folder in folders:
        manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        found.update(dict.fromkeys(manifest["templates"]))
    return tuple(found)


def to_pixels(
    color: NDArray[np.uint8], depth_mm: NDArray[np.uint16], config: ModelConfig
) -> torch.Tensor:
    """`encode.to_pixels` of recorded depth: [..., T, H, W(, 3)] arrays to [N, 2, 3, T, H, W]."""
    return encode.to_pixels(color, depth_mm.astype(np.float32) / 1000.0, config)


@torch.no_grad()
def encode_episodes(
    codec: VideoCodec,
    color: NDArray[np.uint8],
    depth_mm: NDArray[np.uint16],
    config: ModelConfig,
    compute: Compute,
) -> torch.Tensor:
    """Latents [N, V, 2, C, T', h, w] of episodes [N, V, T, ...]."""
    n, v = color.shape[:2]
    pixels = to_pixels(color, depth_mm, config).flatten(0, 1)
    with compute.autocast():
        parts = [codec.encode(chunk) for chunk in pixels.split(FRAMES_PER_CALL * 4)]
    latents = torch.cat(parts).float()
    return latents.reshape(n, v, 2, *latents.shape[1:])


@dataclass(frozen=True)
class LatentSet:
    """Everything the generator trains on: latents float16 [N, V, 2, C, T', h, w],
    actions float32 [N, K, L, J], instructions [N][K]."""

    latents: NDArray[np.float16]
    actions: NDArray[np.float32]
    instructions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.latents)

    def split(self, held_out: int) -> tuple[LatentSet, LatentSet]:
        """(all but the last `held_out`, the last `held_out`)."""
        cut = len(self) - held_out
        return (
            LatentSet(self.latents[:cut], self.actions[:cut], self.instructions[:cut]),
            LatentSet(self.latents[cut:], self.actions[cut:], self.instructions[cut:]),
        )


def load_latents(
    folders: Sequence[Path],
    cache: Path,
    codec: VideoCodec,
    config: ModelConfig,
    codec_sha: str,
    compute: Compute,
) -> LatentSet:
    """Latents of every shard, encoded on first use and cached per shard and autoencoder."""
    cache.mkdir(parents=True, exist_ok=True)
    parts: list[NDArray[np.float16]] = []
    actions: list[NDArray[np.float32]] = []
    words: list[tuple[str, ...]] = []
    for path in shard_paths(folders):
        shard = load_shard(path)
        # Named by the autoencoder's sum too: latents of another one must not be found.
        stored = cache / f"{path.parent.name}-{path.stem}-{codec_sha[:12]}.npy"
        if not stored.is_file():
            encoded = encode_episodes(codec, shard.color, shard.depth_mm, config, compute)
            np.save(stored, encoded.numpy().astype(np.float16))
        parts.append(np.load(stored))
        actions.append(shard.actions)
        words.extend(shard.instructions)
    return LatentSet(np.concatenate(parts), np.concatenate(actions), tuple(words))


def batch(count: int, size: int, seed: int, step: int) -> NDArray[np.int64]:
    """The indices of one step, without repetition in an epoch: a function of (seed, step) alone."""
    per_epoch = max(count // size, 1)
    order = np.random.default_rng((seed, step // per_epoch)).permutation(count)
    k = step % per_epoch
    return order[k * size : (k + 1) * size]


def start_from(load: Callable[[dict[str, torch.Tensor]], object], path: Path) -> None:
    """Hand a checkpoint's weights to `load` (a network's `load_state_dict`), to go on from.

    Raises:
        ConfigError: they are of another shape, or not there.
    """
    try:
        load(load_file(path))
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"cannot start from {path}: {error}; see --start") from None
