"""Latents of recorded episodes, cached once per autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from mvista_core.errors import ConfigError, RigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import MM_PER_M, Float32, RigCalibration
from mvista_world import encode
from mvista_world.cameras import camera_matrices, check_cameras
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.shown import cell_depths
from mvista_world.training.drawn import drawn_latents
from mvista_world.training.latent_cache import STILL, cached, drawn_file, write
from mvista_world.training.recordings import Shard, load_shard, shard_paths

FRAMES_PER_CALL = 16


def to_pixels(
    color: NDArray[np.uint8], depth_mm: NDArray[np.uint16], config: ModelConfig
) -> torch.Tensor:
    """`encode.to_pixels` of recorded depth: [..., T, H, W(, 3)] arrays to [N, 2, 3, T, H, W]."""
    return encode.to_pixels(color, metres(depth_mm), config)


def metres(depth_mm: NDArray[np.uint16]) -> Float32:
    """Recorded depth in metres."""
    return depth_mm.astype(np.float32) / np.float32(MM_PER_M)


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
        chunks = pixels.split(FRAMES_PER_CALL * 4)
        parts = [codec.encode(chunk.to(compute.device)).cpu() for chunk in chunks]
    latents = torch.cat(parts).float()
    return latents.reshape(n, v, 2, *latents.shape[1:])


@dataclass(frozen=True)
class LatentSet:
    """Everything the generator trains on: latents float16 [N, V, 2, C, T', h, w], actions float32
    [N, K, L, J], initial float32 [N, J], instructions [N][K], intrinsics [N, V, 4] and
    base_from_camera [N, V, 4, 4] as in `Shard`, and background float16 [N, V, 2, C, h, w]: the
    latents of each view without arm and objects. Where the model is told what the source shows:
    `depths` float16 [N, V, 4, h, w] of each view's first frame (`cell_depths`), and `drawn` as in
    `drawn_latents`."""

    latents: NDArray[np.float16]
    actions: NDArray[np.float32]
    initial: NDArray[np.float32]
    instructions: tuple[tuple[str, ...], ...]
    intrinsics: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]
    background: NDArray[np.float16]
    depths: NDArray[np.float16] | None = None
    drawn: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def split(self, held_out: int) -> tuple[LatentSet, LatentSet]:
        """(all but the last `held_out`, the last `held_out`)."""
        # The last ones, none of them drawn: whatever the seed, two runs hold out the same.
        cut = len(self) - held_out
        return self._part(slice(0, cut)), self._part(slice(cut, None))

    def _part(self, rows: slice) -> LatentSet:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        there = {name: value for name, value in found.items() if value is not None}
        return replace(self, **{name: value[rows] for name, value in there.items()})


def load_latents(
    folders: Sequence[Path],
    cache: Path,
    codec: VideoCodec,
    config: ModelConfig,
    codec_sha: str,
    compute: Compute,
    rig: RigCalibration,
) -> LatentSet:
    """Latents of every shard, encoded on first use and cached per shard and autoencoder.

    `rig` is whose cameras shards show that do not state their own.

    Raises:
        ConfigError: no shard, one of another window or unlike the others, or cameras that are not
            known.
    """
    cache.mkdir(parents=True, exist_ok=True)
    parts: list[LatentSet] = []
    plain: list[int] = []
    for path in shard_paths(folders):
        shard = load_shard(path)
        _require_window(shard, path, config.window)
        stored = cached(cache, path, codec_sha)
        background = _background(shard, stored, codec, config, compute)
        latents = _latents(shard, stored, codec, config, compute)
        if background is None:
            # What plain shards have in common is known once all were read: filled in below.
            plain.append(len(parts))
            background = np.empty_like(latents[..., 0, :, :])
        cameras = shard.cameras(rig, config.window)
        _require_cameras(*cameras, path, config.window)
        shown = _depths(shard, config), _drawn(shard, rig, stored, codec, config, compute)
        parts.append(
            LatentSet(
                latents,
                shard.actions,
                shard.initial,
                shard.instructions,
                *cameras,
                background,
                *shown,
            )
        )
        _require_alike(parts[0], parts[-1], path)
    if plain:
        common = _common([parts[index].latents for index in plain])
        for index in plain:
            parts[index] = replace(
                parts[index], background=np.broadcast_to(common, parts[index].background.shape)
            )
    words = tuple(row for part in parts for row in part.instructions)
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(LatentSet)
        if field.name != "instructions" and getattr(parts[0], field.name) is not None
    }
    return LatentSet(**arrays, instructions=words)


def fill_cache(
    folders: Sequence[Path],
    cache: Path,
    codec: VideoCodec,
    config: ModelConfig,
    codec_sha: str,
    compute: Compute,
    rig: RigCalibration,
    share: tuple[int, int],
) -> int:
    """Encode what the cache lacks of every share[1]-th shard from share[0] on: processes with the
    shares (0, n) to (n - 1, n) fill it together, and none writes what another does. Returns how
    many shards were encoded here. `rig` as in `load_latents`.

    Raises:
        ConfigError: no shard, or one of another window.
    """
    cache.mkdir(parents=True, exist_ok=True)
    made = 0
    for path in shard_paths(folders)[share[0] :: share[1]]:
        stored = cached(cache, path, codec_sha)
        there = stored.is_file()
        # What views show of one another may be missing where all else is from an earlier run.
        if there and config.source_render is None:
            continue
        shard = load_shard(path)
        _require_window(shard, path, config.window)
        # The others first: what is looked for above is written last, so a kill leaves no half.
        _background(shard, stored, codec, config, compute)
        _drawn(shard, rig, stored, codec, config, compute)
        _latents(shard, stored, codec, config, compute)
        made += not there
    return made


def _latents(
    shard: Shard, stored: Path, codec: VideoCodec, config: ModelConfig, compute: Compute
) -> NDArray[np.float16]:
    if not stored.is_file():
        write(stored, encode_episodes(codec, shard.color, shard.depth_mm, config, compute))
    return np.asarray(np.load(stored), np.float16)


def _require_alike(first: LatentSet, other: LatentSet, path: Path) -> None:
    """Refuse episodes with other numbers of views, instructions or actions than those before."""
    found, wanted = ((part.latents.shape[1], *part.actions.shape[1:]) for part in (other, first))
    if found != wanted:
        raise ConfigError(
            f"{path}: views, instructions, actions and joints of an episode are {found}, those of "
            f"the shards before it {wanted}"
        )


def _require_window(shard: Shard, path: Path, window: ModelWindow) -> None:
    height, width = shard.color.shape[3:5]
    if (height, width) != (window.height_px, window.width_px):
        raise ConfigError(
            f"{path} holds pictures of {width}x{height}, the model's window is "
            f"{window.width_px}x{window.height_px}; `mvista dataset collect --preset` and "
            "`mvista train --preset` have to be alike"
        )


def _require_cameras(
    intrinsics: NDArray[np.float64],
    base_from_camera: NDArray[np.float64],
    path: Path,
    window: ModelWindow,
) -> None:
    """Refuse cameras that no generator can be told, before anything is learnt of them."""
    names = [f"view {v}" for v in range(intrinsics.shape[1])]
    for episode, (lenses, poses) in enumerate(zip(intrinsics, base_from_camera, strict=True)):
        try:
            check_cameras(names, poses, camera_matrices(lenses), window)
        except (RigError, ConfigError) as error:
            raise ConfigError(f"{path}, episode {episode}: {error}") from None


def _background(
    shard: Shard,
    stored: Path,
    codec: VideoCodec,
    config: ModelConfig,
    compute: Compute,
) -> NDArray[np.float16] | None:
    """[N, V, 2, C, h, w] of its stills; None where it has none."""
    if shard.still_color is None or shard.still_depth_mm is None:
        return None
    of_stills = stored.with_name(f"{stored.stem}{STILL}.npy")
    if not of_stills.is_file():
        stills = shard.still_color, shard.still_depth_mm
        encoded = encode_episodes(codec, *stills, config, compute)
        write(of_stills, encoded[..., 0, :, :])
    return np.asarray(np.load(of_stills), np.float16)


def _depths(shard: Shard, config: ModelConfig) -> NDArray[np.float16] | None:
    if config.source_render is None:
        return None
    first = cell_depths(metres(shard.depth_mm[:, :, 0]), config.latent_size)
    return first.astype(np.float16)


def _drawn(
    shard: Shard,
    rig: RigCalibration,
    stored: Path,
    codec: VideoCodec,
    config: ModelConfig,
    compute: Compute,
) -> NDArray[np.float16] | None:
    """None where the model is not told, and of what is seen by itself: one view, or (without a
    vantage) first frames alone, as of grounding scenes."""
    _, views, frames = shard.color.shape[:3]
    if config.source_render is None or views == 1 or (frames == 1 and config.vantage is None):
        return None
    cameras = shard.cameras(rig, config.window)
    path = drawn_file(stored, *cameras)
    if not path.is_file():
        first = shard.color[:, :, 0], metres(shard.depth_mm[:, :, 0])
        write(path, drawn_latents(*first, *cameras, codec, config, compute))
    return np.asarray(np.load(path), np.float16)


def _common(latents: Sequence[NDArray[np.float16]]) -> NDArray[np.float16]:
    """The mean [V, 2, C, h, w] over all episodes and frames of several shards: one shard may be of
    one demonstration alone."""
    # In float32: over all frames float16 would not add up exactly.
    total = sum(part.sum(axis=(0, 4), dtype=np.float32) for part in latents)
    count = sum(len(part) * part.shape[4] for part in latents)
    return np.asarray(total / count, np.float16)


def held_out(count: int, most: int) -> int:
    """How many of the last episodes no step sees: a tenth, at most `most`.

    Raises:
        ConfigError: so few that none can be spared.
    """
    if count < 2:
        raise ConfigError(f"{count} episodes; at least 2 are needed, one of them to be tried on")
    return max(1, min(most, count // 10))


def batch(count: int, size: int, seed: int, step: int) -> NDArray[np.int64]:
    """The indices of one step, without repetition in an epoch: a function of (seed, step) alone."""
    # What fills no last batch is left out; the next epoch is shuffled anew and may show it.
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
