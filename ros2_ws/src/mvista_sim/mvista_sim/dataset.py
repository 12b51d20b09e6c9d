"""Collects training episodes from the cell: shards of NumPy arrays and a manifest.

`shard-00000.npz`, compressed, holds 50 episodes of V views, T frames, L actions and J joints:

    color uint8 [N, V, T, H, W, 3], depth_mm uint16 [N, V, T, H, W]     the model's window
    still_color, still_depth_mm [N, V, H, W(, 3)]      the same views without arm and objects
    intrinsics float64 [N, V, 4]      fx, fy, cx, cy of the window, px
    base_from_camera, true_base_from_camera float64 [N, V, 4, 4]        as told, and as they are
    actions float32 [N, L, J], initial float32 [N, J], style float32 [N, 4] (`MotionStyle.numbers`)
    seed [N], instruction [N]

With `grounding`, nothing is executed: first frames only (no time axis) and the expert's actions for
every instruction of the scene, actions [N, K, L, J] and instructions [N, K]. Episodes the expert
fails are dropped and counted. What an episode is, says `episodes`.

Seeds: episode i is `FIRST_SEED + i`; evaluation uses 10000 and up, below `FIRST_SEED`.

Shards that are there are not made again, so an interrupted collection goes on where it stopped and
a longer one adds to a shorter one. `attempted` in a shard is the number of its seeds that were
tried: what is missing from it was dropped, and the manifest says how many.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mvista_core.arm import load_arm
from mvista_core.camera_range import TRAINED
from mvista_core.episode_shape import TINY, EpisodeShape
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_core.vantage import SUFFIX, Vantage
from mvista_sim.episodes import EpisodeKind, EpisodeMaker
from mvista_sim.rigs import MOST_CAMERAS
from mvista_sim.tasks import TEMPLATES

FIRST_SEED = 1_000_000
SHARD_EPISODES = 50
MANIFEST = "manifest.json"
SCHEMA = 2
"""Of the shards: 1, which says nothing, had neither cameras nor stills nor styles."""


@dataclass(frozen=True)
class Collection:
    """What to collect and where to; see `EpisodeKind` for `grounding` to `vantage`."""

    task: str
    episodes: int
    out: Path
    rig: Path
    arm: Path
    grounding: bool = False
    first_seed: int = FIRST_SEED
    workers: int = 2
    shape: EpisodeShape = TINY
    drawn_cameras: int = 0
    held_out: bool = False
    vantage: Vantage | None = None
    shard_episodes: int = SHARD_EPISODES

    def __post_init__(self) -> None:
        if self.task not in TEMPLATES:
            raise ConfigError(f"no task '{self.task}'; there are {sorted(TEMPLATES)}")
        if min(self.episodes, self.workers, self.shard_episodes) < 1 or self.first_seed < 0:
            raise ConfigError(
                f"{self.episodes} episodes from seed {self.first_seed} by {self.workers} workers: "
                "at least 1 episode and 1 worker, seeds count from 0"
            )
        if not 0 <= self.drawn_cameras <= MOST_CAMERAS:
            raise ConfigError(
                f"{self.drawn_cameras} drawn cameras; allowed: 1 to {MOST_CAMERAS}, or 0 for the "
                "rig's own"
            )
        if self.held_out and not self.drawn_cameras:
            raise ConfigError("held-out cameras are drawn ones: say how many, 1 or more")
        if self.shape.action_times_s.tolist() != TINY.action_times_s.tolist():
            raise ConfigError(
                f"{self.shape.action_count} actions at {self.shape.action_rate_hz} Hz; the experts "
                f"give {TINY.action_count} at {TINY.action_rate_hz} Hz, see episode_shape.TINY"
            )

    @property
    def kind(self) -> EpisodeKind:
        """What its episodes share."""
        cameras = self.drawn_cameras, self.held_out, self.vantage
        return EpisodeKind(self.shape, self.grounding, *cameras)


def collect(job: Collection) -> None:
    """Write every shard that is not there yet; the manifest says at any time what is there.

    Raises:
        ConfigError: the folder holds another collection, or no episode of a shard succeeded.
    """
    _refuse_mixture(job)
    job.out.mkdir(parents=True, exist_ok=True)
    count = -(-job.episodes // job.shard_episodes)
    missing = [k for k in range(count) if not _is_complete(job, k)]
    _write_manifest(job)
    spent_s, tried = 0.0, 0
    # GL contexts do not survive a fork.
    with ProcessPoolExecutor(job.workers, get_context("spawn"), _draw_on_one_thread) as pool:
        for done, shard_s in enumerate(pool.map(_write_shard, [job] * len(missing), missing), 1):
            spent_s, tried = spent_s + shard_s, tried + len(_seeds(job, missing[done - 1]))
            sys.stdout.write(
                f"{job.out.name}: {count - len(missing) + done}/{count} shards, "
                f"{spent_s / tried:.2f} CPU s an episode\n"
            )
            sys.stdout.flush()
    _write_manifest(job)


def _draw_on_one_thread() -> None:
    """Mesa's software renderer would start a thread per core in every process."""
    os.environ.setdefault("LP_NUM_THREADS", "0")


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
    window = job.shape.window
    return {
        "schema": SCHEMA,
        "task": job.task,
        "grounding": job.grounding,
        "first_seed": job.first_seed,
        "shard_episodes": job.shard_episodes,
        "rig_hash": "" if job.drawn_cameras else load_rig(job.rig).content_hash,
        "drawn_cameras": job.drawn_cameras,
        "held_out": job.held_out,
        "vantage": None if job.vantage is None else asdict(job.vantage),
        "camera_range": json.loads(json.dumps(TRAINED.document())) if job.drawn_cameras else None,
        "window": [window.width_px, window.height_px, window.reduce],
        "frame_times_s": job.shape.frame_times_s.tolist(),
    }


def _seeds(job: Collection, index: int) -> range:
    first = job.first_seed + index * job.shard_episodes
    return range(first, min(first + job.shard_episodes, job.first_seed + job.episodes))


def _attempted(path: Path) -> int:
    """How many seeds a shard tried."""
    with np.load(path) as shard:
        return int(shard["attempted"])


def _is_complete(job: Collection, index: int) -> bool:
    path = _shard_path(job, index)
    return path.is_file() and _attempted(path) >= len(_seeds(job, index))


def _shard_path(job: Collection, index: int) -> Path:
    return job.out / f"shard-{index:05d}.npz"


def _write_shard(job: Collection, index: int) -> float:
    """Make one shard; returns the CPU seconds it took."""
    started_s = time.process_time()
    maker = EpisodeMaker(load_arm(job.arm), load_rig(job.rig), job.kind)
    seeds = _seeds(job, index)
    rows = [row for seed in seeds if (row := maker.make(job.task, seed)) is not None]
    maker.close()
    if not rows:
        raise ConfigError(
            f"the expert failed in all {len(seeds)} scenes from seed {seeds[0]} of {job.task}; "
            "`mvista eval experts` says why"
        )
    arrays: dict[str, Any] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    path = _shard_path(job, index)
    # A leading dot: readers look for shard-*.npz, and must not find half a file.
    partial = path.with_name(f".{path.name}")
    np.savez_compressed(partial, attempted=np.array(len(seeds)), **arrays)
    partial.rename(path)
    return time.process_time() - started_s


def _write_manifest(job: Collection) -> None:
    """What lies in the folder now, whichever call made it."""
    kept = attempted = 0
    for path in sorted(job.out.glob("shard-*.npz")):
        with np.load(path) as shard:
            kept += len(shard["seed"])
        attempted += _attempted(path)
    rig = load_rig(job.rig)
    cameras = [f"cam{k}" for k in range(job.drawn_cameras)] or list(rig.names)
    if job.vantage is not None:
        cameras.append(cameras[0] + SUFFIX)
    document = {
        **_identity(job),
        "templates": [TEMPLATES[job.task]],
        "episodes": kept,
        "dropped": attempted - kept,
        "rig": f"{job.drawn_cameras} cameras an episode" if job.drawn_cameras else rig.name,
        "cameras": cameras,
        "joint_names": list(load_arm(job.arm).joint_names),
        "mujoco": mujoco.__version__,
        "numpy": np.__version__,
    }
    (job.out / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")
