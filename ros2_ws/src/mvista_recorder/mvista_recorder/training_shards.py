"""Episodes as training data: the shards and the manifest that `mvista train` reads.

`shard-00007.npz` is the eighth episode: N windows of the model's length, `stride_s` apart, with V
views, T frames, L actions and J joints:

    color uint8 [N, V, T, H, W, 3], depth_mm uint16 [N, V, T, H, W]     the model's window
    intrinsics float64 [N, V, 4]                        fx, fy, cx, cy of the window, px
    base_from_camera float64 [N, V, 4, 4]               by the episode's rig
    actions float32 [N, L, J], initial float32 [N, J]   joints as measured, between their samples
    seed int64 [N], instruction [N], capture_ns int64 [N, V, T], attempted

Depth is registered at the camera's own size; then both are reduced to 320x180 and cut to the
window. Images are the nearest by capture stamp, never by arrival. A window that lacks an image or a
joint sample is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.episode_shape import TINY, EpisodeShape
from mvista_core.errors import ConfigError, EpisodeError, MvistaError
from mvista_core.files import make_folder, replace_file
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraFrame, Float64, Intrinsics, JointState
from mvista_core.timing import NS_PER_S, seconds_to_ns
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.manifest import SUCCESS, load_manifest
from mvista_recorder.many import Converted, in_parallel
from mvista_recorder.recorded_cameras import EpisodeCamera, captures, recorded_cameras
from mvista_recorder.sync import Stamps, SyncBounds, interpolated, nearest

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished.json"
"""What a folder's shards are of, while they are made: the manifest, by which a data set is found,
comes last."""
FULL_WIDTH_PX, FULL_HEIGHT_PX = 320, 180
"""What the stack reduces a camera's image to before it cuts the model's window."""
OFF_BY_MOST_S = 0.04
"""Between a wanted moment and an image's: half a period at 15 Hz, and the stamps' noise."""


@dataclass(frozen=True)
class TrainingJob:
    """Which episodes, where to, and how far apart their windows begin."""

    folders: tuple[Path, ...]
    out: Path
    stride_s: float = 1.6
    shape: EpisodeShape = TINY
    bounds: SyncBounds = field(default_factory=SyncBounds)

    def __post_init__(self) -> None:
        if not self.stride_s > 0:
            raise ConfigError(f"stride is {self.stride_s} s; allowed: above 0")


def chosen_episodes(
    folders: Sequence[Path], labels: Sequence[str] = (SUCCESS,), practice: bool = False
) -> tuple[Path, ...]:
    """The finished episodes with one of these labels, without practice unless asked for.

    Raises:
        EpisodeError: none is, or they were recorded with several rigs or cameras.
    """
    found, kinds = [], set()
    for folder in folders:
        manifest = load_manifest(folder)
        wanted = manifest.label in labels and (practice or not manifest.practice)
        if not wanted or not EpisodeReader(folder).finished:
            continue
        found.append(folder)
        kinds.add((manifest.rig_hash, manifest.cameras, manifest.arms))
    if not found:
        raise EpisodeError(
            f"none of {len(folders)} episodes is finished and labelled {' or '.join(labels)}"
        )
    if len(kinds) > 1:
        raise EpisodeError(
            f"{len(found)} episodes were recorded with {len(kinds)} rigs, sets of cameras or arms; "
            "convert those of one at a time"
        )
    return tuple(found)


def convert_to_training(job: TrainingJob, workers: int) -> Iterator[Converted]:
    """Write every shard that is not there yet, then the manifest; a report per episode.

    The same episodes give the same bytes, also after an interruption.

    Raises:
        EpisodeError, ConfigError: see `chosen_episodes`; the folder holds another data set, or half
            of one made otherwise.
    """
    identity = _identity(job)
    _refuse_mixture(job, identity)
    make_folder(job.out, ConfigError)
    if not (job.out / MANIFEST).is_file():
        # Before any shard: one made by other choices must not count as made before.
        replace_file(job.out / UNFINISHED, _text(identity), ConfigError)
    reports = []
    jobs = [(job, index) for index in range(len(job.folders))]
    for _, report in in_parallel(_write_shard, jobs, workers):
        reports.append(report)
        yield report
    kept, dropped = sum(r.kept for r in reports), sum(r.dropped for r in reports)
    words = sorted({load_manifest(folder).instruction for folder in job.folders})
    document = {**identity, "templates": words, "episodes": kept, "dropped": dropped}
    replace_file(job.out / MANIFEST, _text(document), ConfigError)
    (job.out / UNFINISHED).unlink(missing_ok=True)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def _identity(job: TrainingJob) -> dict[str, Any]:
    """What all shards of one folder share."""
    first = EpisodeReader(job.folders[0])
    window = job.shape.window
    return {
        "task": "recorded",
        "grounding": False,
        "first_seed": 0,
        "stride_s": job.stride_s,
        "rig": first.rig().name,
        "rig_hash": first.manifest.rig_hash,
        "cameras": list(first.manifest.cameras),
        "joint_names": list(first.arm().joint_names),
        "window": [window.width_px, window.height_px, window.reduce],
        "frame_times_s": job.shape.frame_times_s.tolist(),
        "sources": [folder.name for folder in job.folders],
    }


def _refuse_mixture(job: TrainingJob, identity: dict[str, Any]) -> None:
    said = [path for name in (MANIFEST, UNFINISHED) if (path := job.out / name).is_file()]
    shards = list(job.out.glob("shard-*.npz"))
    # Interrupted before the first shard: there is nothing to mix with.
    if not shards and not (job.out / MANIFEST).is_file():
        return
    if not said:
        raise ConfigError(
            f"{job.out} holds {len(shards)} shards and neither {MANIFEST} nor {UNFINISHED} says "
            "what of; choose another folder, or remove them"
        )
    for path in said:
        there = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key, value in identity.items() if there.get(key) != value)
        if other:
            raise ConfigError(
                f"{path} is of another data set (it differs in {other}); choose another folder"
            )


def _write_shard(task: tuple[TrainingJob, int]) -> Converted:
    job, index = task
    folder, path = job.folders[index], job.out / f"shard-{index:05d}.npz"
    if (there := _made_before(path, folder, job)) is not None:
        return there
    try:
        arrays, attempted = _windows(EpisodeReader(folder), job, index)
    except MvistaError as error:
        return Converted(folder.name, 0, 0, f"[{error.code}] {error}")
    kept = len(arrays["seed"]) if arrays else 0
    if not kept:
        words = f"no window of {job.shape.action_times_s[-1]:.1f} s is whole"
        return Converted(folder.name, 0, attempted, words)
    # A leading dot: readers look for shard-*.npz, and must not find half a file.
    aside = path.with_name(f".{path.name}")
    np.savez(
        aside,
        attempted=np.array(attempted),
        source=np.array(folder.name),
        stride_s=np.array(job.stride_s),
        **arrays,
    )
    aside.rename(path)
    return Converted(folder.name, kept, attempted - kept, f"{kept} of {attempted} windows")


def _made_before(path: Path, folder: Path, job: TrainingJob) -> Converted | None:
    if not path.is_file():
        return None
    with np.load(path) as shard:
        same = str(shard["source"]) == folder.name and float(shard["stride_s"]) == job.stride_s
        kept, attempted = len(shard["seed"]), int(shard["attempted"])
    if not same:
        raise ConfigError(f"{path} is of another episode or stride; choose another folder")
    return Converted(folder.name, kept, attempted - kept, "made before")


def _windows(reader: EpisodeReader, job: TrainingJob, index: int) -> tuple[dict[str, Any], int]:
    """All windows of one episode, and how many there could be."""
    arms = reader.manifest.arms
    if len(arms) != 1:
        raise EpisodeError(f"{reader.folder.name} has {len(arms)} arms; the model acts with one")
    cameras = recorded_cameras(reader)
    names = reader.arm().joint_names
    # By the arm file's order: a driver may send its joints in another.
    states = [
        replace(state, names=names, positions=state.ordered(names), velocities=np.zeros(len(names)))
        for state in reader.joints(f"/{arms[0]}/joint_states")
    ]
    starts = _starts(cameras, job)
    plans = [plan for start in starts if (plan := _plan(start, cameras, states, job))]
    if not plans:
        return {}, len(starts)
    wanted = {
        name: frozenset(int(s) for plan in plans for s in plan.stamps[view])
        for view, name in enumerate(cameras)
    }
    frames: dict[tuple[str, int], CameraFrame] = {}
    for capture in captures(reader, cameras, wanted):
        frames[capture.camera, capture.stamp_ns] = windowed(capture.frame(), job.shape.window)
    rig = reader.rig()
    views = [[frames[name, int(plans[0].stamps[v][0])]] for v, name in enumerate(cameras)]
    lenses = np.array([_numbers(row[0].intrinsics) for row in views])
    poses = np.stack([rig.camera(name).base_from_camera for name in cameras])
    count = len(plans)
    depth = np.stack([_stack(plan, cameras, frames, "depth_m") for plan in plans])
    return {
        "color": np.stack([_stack(plan, cameras, frames, "color") for plan in plans]),
        # Exact: reducing picks depths that are there, which came as whole millimetres.
        "depth_mm": np.round(depth * 1000.0).astype(np.uint16),
        "intrinsics": np.tile(lenses, (count, 1, 1)),
        "base_from_camera": np.tile(poses, (count, 1, 1, 1)),
        "actions": np.stack([plan.actions for plan in plans]).astype(np.float32),
        "initial": np.stack([plan.initial for plan in plans]).astype(np.float32),
        # Nothing was drawn by it: a number of its own for each window of the folder.
        "seed": np.array([index * 100_000 + plan.number for plan in plans]),
        "instruction": np.array([reader.manifest.instruction] * count),
        "capture_ns": np.stack([plan.stamps for plan in plans]),
    }, len(starts)


@dataclass(frozen=True)
class _Plan:
    """One window: its images by capture stamp [V, T], initial joints [J], actions [L, J]."""

    number: int
    stamps: Stamps
    initial: Float64
    actions: Float64


def _starts(cameras: dict[str, EpisodeCamera], job: TrainingJob) -> list[tuple[int, int]]:
    """(number, stamp) of each window that could be: the first camera's first image, and so on."""
    begin = max(int(camera.color_ns[0]) for camera in cameras.values())
    end = min(int(camera.color_ns[-1]) for camera in cameras.values())
    length_ns = seconds_to_ns(float(max(job.shape.frame_times_s[-1], job.shape.action_times_s[-1])))
    stride_ns = seconds_to_ns(job.stride_s)
    return list(enumerate(range(begin, end - length_ns + 1, stride_ns)))


def _plan(
    start: tuple[int, int],
    cameras: dict[str, EpisodeCamera],
    states: Sequence[JointState],
    job: TrainingJob,
) -> _Plan | None:
    """One window; None where an image or a joint sample is missing."""
    number, begin_ns = start
    wanted = begin_ns + np.round(job.shape.frame_times_s * NS_PER_S).astype(np.int64)
    due = begin_ns + np.round(job.shape.action_times_s * NS_PER_S).astype(np.int64)
    stamps = np.stack(
        [camera.color_ns[nearest(camera.color_ns, wanted)] for camera in cameras.values()]
    )
    if np.abs(stamps - wanted).max() > seconds_to_ns(OFF_BY_MOST_S):
        return None
    try:
        for view, camera in enumerate(cameras.values()):
            for stamp in stamps[view]:
                camera.depth_for(int(stamp))
        at = np.concatenate([[begin_ns], due])
        positions = interpolated(states, at, job.bounds.joints_ms)
    except EpisodeError:
        return None
    return _Plan(number, stamps, positions[0], positions[1:])


def windowed(frame: CameraFrame, window: ModelWindow) -> CameraFrame:
    """A camera's whole frame at 320x180, cut to the model's window.

    Raises:
        EpisodeError: its size is no whole multiple of 320x180.
    """
    lens = frame.intrinsics
    reduce = lens.width_px // FULL_WIDTH_PX
    if (lens.width_px, lens.height_px) != (FULL_WIDTH_PX * reduce, FULL_HEIGHT_PX * reduce):
        raise EpisodeError(
            f"{frame.camera}: images of {lens.width_px}x{lens.height_px} are no whole multiple of "
            f"{FULL_WIDTH_PX}x{FULL_HEIGHT_PX}"
        )
    whole = ModelWindow(FULL_WIDTH_PX, FULL_HEIGHT_PX, reduce).frame(frame) if reduce > 1 else frame
    return window.frame(whole)


def _stack(
    plan: _Plan,
    cameras: dict[str, EpisodeCamera],
    frames: dict[tuple[str, int], CameraFrame],
    what: str,
) -> NDArray[Any]:
    rows = [
        np.stack([getattr(frames[name, int(stamp)], what) for stamp in plan.stamps[view]])
        for view, name in enumerate(cameras)
    ]
    return np.stack(rows)


def _numbers(lens: Intrinsics) -> list[float]:
    return [lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px]
