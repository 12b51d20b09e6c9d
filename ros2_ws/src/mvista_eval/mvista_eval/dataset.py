"""What a data set of expert episodes holds: counts, shapes and sizes, and whether it is whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_eval.dataset_cameras import cameras_of
from mvista_sim.dataset import MANIFEST

MEBIBYTE = 1 << 20


def describe(folder: Path) -> tuple[str, dict[str, object]]:
    """A data set in words and as a JSON document.

    Raises:
        ConfigError: no manifest there, a shard that cannot be read, or shards that disagree with
            each other or with the manifest.
    """
    manifest = _manifest(folder)
    shards = sorted(folder.glob("shard-*.npz"))
    shapes = [_shapes(path) for path in shards]
    _refuse_disagreement(folder, shards, shapes, int(manifest["episodes"]))
    size_bytes = sum(path.stat().st_size for path in shards)
    lines = [
        f"{folder}: {manifest['task']}{', grounding scenes' if manifest['grounding'] else ''}",
        f"  episodes {manifest['episodes']}, dropped {manifest['dropped']}, "
        f"seeds from {manifest['first_seed']}",
        f"  {len(shards)} shards, {size_bytes / MEBIBYTE:.1f} MiB",
        f"  rig {manifest['rig']} {str(manifest['rig_hash'])[:12]}, cameras {manifest['cameras']}",
        f"  instructions {manifest['templates']}",
    ]
    cameras = cameras_of(shards)
    if cameras is not None:
        lines += cameras.lines()
    per_episode = {key: kind for key, kind in (shapes[0] if shapes else {}).items() if kind[1]}
    for key, (dtype, shape) in per_episode.items():
        lines.append(f"  {key}: {dtype} {list(shape[1:])} per episode")
    document = {
        **manifest,
        "shards": len(shards),
        "size_bytes": size_bytes,
        "arrays": {k: {"dtype": d, "shape": list(s[1:])} for k, (d, s) in per_episode.items()},
    }
    return "\n".join(lines), document


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ConfigError(f"no {MANIFEST} in {folder}; `mvista dataset collect` makes data sets")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); collect again to write it anew") from None
    needed = ("task", "grounding", "episodes", "dropped", "first_seed", "templates", "rig")
    missing = [key for key in (*needed, "rig_hash", "cameras") if key not in found]
    if missing:
        raise ConfigError(f"{path} lacks {missing}; collect again to write it anew")
    return dict(found)


Shapes = dict[str, tuple[str, tuple[int, ...]]]


def _shapes(path: Path) -> Shapes:
    """(dtype, shape) of every array of a shard, from their headers: the arrays are gigabytes."""
    try:
        with zipfile.ZipFile(path) as shard:
            return {name.removesuffix(".npy"): _header(shard, name) for name in shard.namelist()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read ({error}); remove it and collect again") from None


def _header(shard: zipfile.ZipFile, name: str) -> tuple[str, tuple[int, ...]]:
    with shard.open(name) as member:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(member))
        if read is None:
            raise ValueError(f"{name} is of an unknown version of NumPy's format")
        shape, _, dtype = read(member)
    return str(dtype), shape


def _refuse_disagreement(
    folder: Path, shards: list[Path], shapes: list[Shapes], episodes: int
) -> None:
    counted = sum(found["seed"][1][0] for found in shapes)
    if counted != episodes:
        raise ConfigError(
            f"{folder}: {len(shards)} shards hold {counted} episodes, {MANIFEST} says {episodes}; "
            "run the same `mvista dataset collect` again to complete it"
        )
    for path, found in zip(shards, shapes, strict=True):
        for key, (dtype, shape) in found.items():
            first_dtype, first_shape = shapes[0].get(key, (dtype, shape))
            if shape[1:] != first_shape[1:] or dtype[:2] != first_dtype[:2]:
                raise ConfigError(
                    f"{path}: '{key}' is {dtype} {shape[1:]} per episode, in {shards[0].name} "
                    f"{first_dtype} {first_shape[1:]}"
                )
