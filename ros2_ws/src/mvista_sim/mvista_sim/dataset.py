"""Collects training episodes from the cell: shards of NumPy arrays and a manifest.

`shard-00000.npz` holds 50 episodes: color uint8 [N, V, T, H, W, 3], depth_mm uint16
[N, V, T, H, W], actions float32 [N, L, J], initial float32 [N, J], seed, instruction; the sizes
are `episode_shape.TINY`'s. Images are the model's window of real 320x180 renders. Every episode's
motion has a style of its own, drawn from its seed. Episodes the expert fails are dropped and
counted.

With `grounding`, nothing is executed: first frames only (no time axis) and the expert's actions for
every instruction of the scene, actions [N, K, L, J] and instructions [N, K].

Seeds: episode i is `FIRST_SEED + i`; evaluation uses 10000 and up, below `FIRST_SEED`.

Shards that are there are not made again, so an interrupted collection goes on where it stopped and
a longer one adds to a shorter one. `attempted` in a shard is the number of its seeds that were
tried: what is missing from it was dropped, and the manifest says how many.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mvista_core import instructions
from mvista_core.arm import load_arm
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.records import CameraFrame
from mvista_core.rig import load_rig
from mvista_sim.cell import SimCell
from mvista_sim.experts import MotionStyle
from mvista_sim.tasks import TEMPLATES

FIRST_SEED = 1_000_000
SHARD_EPISODES = 50
MANIFEST = "manifest.json"

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Collection:
    """What to collect and where to."""

    task: str
    episodes: int
    out: Path
    rig: Path
    arm: Path
    grounding: bool = False
    first_seed: int = FIRST_SEED
    workers: int = 2

    def __post_init__(self) -> None:
        if self.task not in TEMPLATES:
            raise ConfigError(f"no task '{self.task}'; there are {sorted(TEMPLATES)}")
        if self.episodes < 1 or self.workers < 1 or self.first_seed < 0:
            raise ConfigError(
                f"{self.episodes} episodes from seed {self.first_seed} by {self.workers} workers: "
                "at least 1 episode and 1 worker, seeds count from 0"
            )


def collect(job: Collection) -> None:
    """Write every shard that is not there yet; the manifest says at any time what is there.

    Raises:
        ConfigError: the folder holds another collection, or no episode of a shard succeeded.
    """
    _refuse_mixture(job)
    job.out.mkdir(parents=True, exist_ok=True)
    count = -(-job.episodes // SHARD_EPISODES)
    missing = [k for k in range(count) if not _is_complete(job, k)]
    _write_manifest(job)
    # GL contexts do not survive a fork.
    with ProcessPoolExecutor(job.workers, mp_context=get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_write_shard, [job] * len(missing), missing), start=1):
            sys.stdout.write(f"{job.out.name}: {count - len(missing) + done}/{count} shards\n")
            sys.stdout.flush()
    _write_manifest(job)


def _refuse_mixture(job: Collection) -> None:
    path = job.out / MANIFEST
    if not path.is_file():
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    wanted = _identity(job)
    other = {key: there.get(key) for key, value in wanted.items() if there.get(key) != value}
    if other:
        raise ConfigError(
            f"{path} is of another collection: it has {other}, asked is "
            f"{ {key: wanted[key] for key in other} }; choose another folder with --out"
        )


def _identity(job: Collection) -> dict[str, object]:
    """What all shards of one folder share."""
    return {
        "task": job.task,
        "grounding": job.grounding,
        "first_seed": job.first_seed,
        "rig_hash": load_rig(job.rig).content_hash,
    }


def _seeds(job: Collection, index: int) -> range:
    first = job.first_seed + index * SHARD_EPISODES
    return range(first, min(first + SHARD_EPISODES, job.first_seed + job.episodes))


def _attempted(path: Path) -> int:
    """How many seeds a shard tried; early shards do not say, and were whole."""
    with np.load(path) as shard:
        return int(shard["attempted"]) if "attempted" in shard else SHARD_EPISODES


def _is_complete(job: Collection, index: int) -> bool:
    path = _shard_path(job, index)
    return path.is_file() and _attempted(path) >= len(_seeds(job, index))


def _shard_path(job: Collection, index: int) -> Path:
    return job.out / f"shard-{index:05d}.npz"


def _write_shard(job: Collection, index: int) -> None:
    cell = SimCell(load_arm(job.arm), load_rig(job.rig))
    seeds = _seeds(job, index)
    rows = [row for seed in seeds if (row := _episode(cell, job, seed)) is not None]
    cell.close()
    if not rows:
        raise ConfigError(
            f"the expert failed in all {len(seeds)} scenes from seed {seeds[0]} of {job.task}; "
            "`mvista eval experts` says why"
        )
    arrays: dict[str, Any] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    path = _shard_path(job, index)
    # A leading dot: readers look for shard-*.npz, and must not find half a file.
    partial = path.with_name(f".{path.name}")
    np.savez(partial, attempted=np.array(len(seeds)), **arrays)
    partial.rename(path)


def _episode(cell: SimCell, job: Collection, seed: int) -> Arrays | None:
    """One episode's arrays, or None when the expert fails."""
    cell.reset(job.task, seed)
    initial = cell.state().positions.astype(np.float32)
    try:
        if job.grounding:
            return {**_grounding(cell, job.task), "initial": initial, "seed": np.array(seed)}
        actions = cell.expert(style=MotionStyle.drawn(np.random.default_rng(seed)))
    except MvistaError:
        return None
    frames = cell.run_actions(actions, TINY.frame_times_s)
    if not cell.evaluate().success:
        return None
    color, depth_mm = _images(frames)
    return {
        "color": color.transpose(1, 0, 2, 3, 4),
        "depth_mm": depth_mm.transpose(1, 0, 2, 3),
        "actions": actions.positions.astype(np.float32),
        "initial": initial,
        "seed": np.array(seed),
        "instruction": np.array(cell.instruction),
    }


def _grounding(cell: SimCell, task: str) -> Arrays:
    words = instructions.expand(TEMPLATES[task])
    plans = np.stack([cell.expert(word).positions for word in words]).astype(np.float32)
    color, depth_mm = _images([[cell.latest(name) for name in cell.cameras()]])
    return {
        "color": color[0],
        "depth_mm": depth_mm[0],
        "actions": plans,
        "instructions": np.array(words),
    }


def _images(
    frames: Sequence[Sequence[CameraFrame]],
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Windows of frames [T][V]: color [T, V, H, W, 3], depth in millimetres [T, V, H, W]."""
    windows = [[TINY.window.frame(frame) for frame in row] for row in frames]
    color = np.stack([np.stack([f.color for f in row]) for row in windows])
    depth = np.stack([np.stack([f.depth_m for f in row]) for row in windows])
    return color, np.round(depth * 1000.0).astype(np.uint16)


def _write_manifest(job: Collection) -> None:
    """What lies in the folder now, whichever call made it."""
    kept = attempted = 0
    for path in sorted(job.out.glob("shard-*.npz")):
        with np.load(path) as shard:
            kept += len(shard["seed"])
        attempted += _attempted(path)
    rig = load_rig(job.rig)
    document = {
        **_identity(job),
        "templates": [TEMPLATES[job.task]],
        "episodes": kept,
        "dropped": attempted - kept,
        "rig": rig.name,
        "cameras": list(rig.names),
        "window": [TINY.window.width_px, TINY.window.height_px, TINY.window.reduce],
        "frame_times_s": TINY.frame_times_s.tolist(),
        "joint_names": list(load_arm(job.arm).joint_names),
        "mujoco": mujoco.__version__,
        "numpy": np.__version__,
    }
    (job.out / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")
