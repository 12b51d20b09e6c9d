"""Episodes as a LeRobot v3.0 data set, written without LeRobot.

Each episode is one piece of work: its videos under their final names, its numbers in a folder that
is removed when the tables are written. What is there already is left as it is, so that an
interrupted export goes on; the same episodes give the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.capture import Capture
from mvista_core.errors import ConfigError, EpisodeError, MvistaError
from mvista_core.files import make_folder, replace_file
from mvista_core.records import UInt8, UInt16
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import CameraChannels
from mvista_recorder.lerobot_frames import FrameRules, Frames, frames_of, joint_labels
from mvista_recorder.lerobot_layout import (
    INFO,
    SOURCES,
    ExportedEpisode,
    SharedShape,
    video_features,
    video_path,
    write_tables,
)
from mvista_recorder.lerobot_stats import BRIGHTEST, Stats, image_stats, sampled, thinned
from mvista_recorder.lerobot_video import COLOR, DEPTH, DEPTH_MOST_MM, VideoFile
from mvista_recorder.manifest import load_manifest
from mvista_recorder.many import Converted, in_parallel
from mvista_recorder.recorded_cameras import EpisodeCamera, captures, recorded_cameras
from mvista_recorder.sync import Stamps

UNFINISHED = ".unfinished"
MADE_BEFORE = "made before"


@dataclass(frozen=True)
class LeRobotJob:
    """Which episodes, where to, and how. `mark_far`: depth beyond 4,095 mm becomes invalid (0)
    instead of being refused."""

    folders: tuple[Path, ...]
    out: Path
    rules: FrameRules
    mark_far: bool = False


def convert_to_lerobot(job: LeRobotJob, workers: int) -> Iterator[Converted]:
    """Export what is not there yet, then write the tables; a report per episode, in their order.

    An episode that cannot be exported is left out and says why.

    Raises:
        ConfigError: the folder holds something else.
        EpisodeError: the first episode cannot be read, their images are of several sizes, or none
            could be exported.
    """
    identity = _identity(job)
    if (told := _finished(job, identity)) is not None:
        yield from told
        return
    _refuse_sizes(job.folders)
    make_folder(job.out / UNFINISHED, ConfigError)
    # Before any work: by it half an export is gone on with, and one of other choices refused.
    _write_sources(job, identity)
    reports = []
    jobs = [(job, index) for index in range(len(job.folders))]
    for _, report in in_parallel(_export, jobs, workers):
        reports.append(report)
        yield report
    kept = [index for index, report in enumerate(reports) if report.kept]
    if not kept:
        _leave_nothing(job.out)
        raise EpisodeError(f"none of {len(reports)} episodes could be exported; see above")
    shape = _shape(EpisodeReader(job.folders[kept[0]]), job.rules)
    write_tables(job.out, shape, [_exported(job, index) for index in kept])
    _write_sources(job, {**identity, "episodes": [_noted(report) for report in reports]})
    shutil.rmtree(job.out / UNFINISHED)


def _leave_nothing(out: Path) -> None:
    """Of an export that gave no episode: the same folder may be asked for with other choices."""
    shutil.rmtree(out / UNFINISHED)
    (out / SOURCES).unlink()
    for folder in sorted((path for path in out.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()  # what others put there stays


def _noted(report: Converted) -> dict[str, Any]:
    """A report as it would be had nothing been made before: the bytes are the same then."""
    return asdict(replace(report, words=_words(report)) if report.kept else report)


def _words(report: Converted) -> str:
    return f"{report.kept} of {report.kept + report.dropped} frames"


def _identity(job: LeRobotJob) -> dict[str, Any]:
    """What tells this export from another, and what LeRobot has no place for."""
    first = EpisodeReader(job.folders[0])
    rig = first.rig()
    return {
        "sources": [folder.name for folder in job.folders],
        "labels": [load_manifest(folder).label for folder in job.folders],
        "rules": asdict(job.rules),
        "mark_far": job.mark_far,
        "rig": rig.name,
        "rig_hash": first.manifest.rig_hash,
        "base_from_camera": {
            name: rig.camera(name).base_from_camera.tolist() for name in first.manifest.cameras
        },
    }


def _write_sources(job: LeRobotJob, document: Mapping[str, Any]) -> None:
    make_folder((job.out / SOURCES).parent, ConfigError)
    replace_file(job.out / SOURCES, json.dumps(document, indent=1) + "\n", ConfigError)


def _finished(job: LeRobotJob, identity: Mapping[str, Any]) -> list[Converted] | None:
    """What was told of an export that is there; None where there is none, or half of one."""
    path = job.out / SOURCES
    if not path.is_file():
        if (job.out / INFO).is_file():
            raise ConfigError(f"{job.out} holds another data set; choose another folder")
        return None
    there = json.loads(path.read_text(encoding="utf-8"))
    other = sorted(key for key, value in identity.items() if there.get(key) != value)
    if other:
        raise ConfigError(
            f"{path} is of another export (it differs in {other}); choose another folder"
        )
    # That folder goes last: while it is there, tables may be missing.
    if "episodes" not in there or (job.out / UNFINISHED).is_dir():
        return None
    return [
        replace(found, words=MADE_BEFORE) if found.kept else found
        for found in (Converted(**report) for report in there["episodes"])
    ]


def _refuse_sizes(folders: Sequence[Path]) -> None:
    """An export states one size for each camera, and has the videos of all episodes."""
    first: dict[str, tuple[str, tuple[int, int]]] = {}
    for folder in folders:
        for name, size in _sizes(EpisodeReader(folder)).items():
            other, known = first.setdefault(name, (folder.name, size))
            if size != known:
                raise EpisodeError(
                    f"{folder.name}: {name} took images of {size[0]}x{size[1]}, in {other} of "
                    f"{known[0]}x{known[1]}; an export has one size: convert those of one at a time"
                )


def _sizes(reader: EpisodeReader) -> dict[str, tuple[int, int]]:
    """Width and height of each camera's images, by the first word on its lens; only so far is the
    file read. What cannot be read is told when the episode's turn comes."""
    topics = {CameraChannels.of(name).color_info.name: name for name in reader.manifest.cameras}
    found: dict[str, tuple[int, int]] = {}
    with suppress(MvistaError):
        for message in reader.messages(topics, torn=True):
            lens = schemas.lens_from_bytes(message.data)
            found.setdefault(topics[message.topic], (lens.width_px, lens.height_px))
            if len(found) == len(topics):
                break
    return found


def _shape(reader: EpisodeReader, rules: FrameRules) -> SharedShape:
    sizes = {}
    for name, camera in recorded_cameras(reader).items():
        lens = camera.calibration.color
        sizes[name] = lens.width_px, lens.height_px
    return SharedShape(rules.rate_hz, joint_labels(reader), sizes, reader.arm().name)


def _numbers_path(job: LeRobotJob, index: int) -> Path:
    return job.out / UNFINISHED / f"episode-{index:05d}.npz"


def _export(task: tuple[LeRobotJob, int]) -> Converted:
    """One episode: its videos, then its numbers."""
    job, index = task
    folder, path = job.folders[index], _numbers_path(job, index)
    if path.is_file():
        there = _exported(job, index).frames
        return Converted(folder.name, len(there), there.left_out, MADE_BEFORE)
    try:
        reader = EpisodeReader(folder)
        cameras = recorded_cameras(reader)
        frames = frames_of(reader, cameras, job.rules)
        if not len(frames):
            raise EpisodeError(f"{folder.name}: no frame of {frames.left_out} is whole")
        stats = _Videos(job, index, frames, cameras).write(reader)
    except MvistaError as error:
        return Converted(folder.name, 0, 0, f"[{error.code}] {error}")
    arrays: dict[str, Any] = {
        f"stats/{feature}/{key}": value
        for feature, found in stats.items()
        for key, value in found.items()
    }
    # Behind the videos and by renaming: where the numbers are, the videos are whole.
    aside = path.with_name(f".{path.name}")
    np.savez(aside, **asdict(frames), **arrays)
    aside.rename(path)
    report = Converted(folder.name, len(frames), frames.left_out, "")
    return replace(report, words=_words(report))


def _exported(job: LeRobotJob, index: int) -> ExportedEpisode:
    """An episode's numbers, as `_export` left them."""
    manifest = load_manifest(job.folders[index])
    stats: dict[str, dict[str, NDArray[np.generic]]] = {}
    with np.load(_numbers_path(job, index)) as found:
        frames = Frames(
            found["stamps_ns"], found["states"], found["actions"], int(found["left_out"])
        )
        for key in found.files:
            if key.startswith("stats/"):
                _, feature, name = key.split("/")
                stats.setdefault(feature, {})[name] = found[key]
    return ExportedEpisode(
        job.folders[index].name, index, manifest.instruction, manifest.label, manifest.practice,
        frames, stats,
    )  # fmt: skip


class _Videos:
    """The videos of one episode, all at once: one pass over its images, in the order they came."""

    def __init__(
        self,
        job: LeRobotJob,
        index: int,
        frames: Frames,
        cameras: Mapping[str, EpisodeCamera],
    ) -> None:
        self._job, self._cameras = job, cameras
        self._tracks = {
            name: _Track(job, index, camera, frames.stamps_ns[:, view])
            for view, (name, camera) in enumerate(cameras.items())
        }

    def write(self, reader: EpisodeReader) -> dict[str, Stats]:
        """Statistics by feature.

        Raises:
            EpisodeError: an image cannot be read or encoded; then no video is left.
        """
        wanted = {name: track.wanted for name, track in self._tracks.items()}
        with ExitStack() as on_failure:
            for track in self._tracks.values():
                # Before it opens: what is half open is removed as well.
                on_failure.callback(track.discard)
                track.open()
            for capture in captures(reader, self._cameras, wanted):
                self._tracks[capture.camera].take(capture)
            found: dict[str, Stats] = {}
            for track in self._tracks.values():
                found |= track.finish()
            on_failure.pop_all()
        return found


class _Track:
    """One camera: captures as they come, images in the order of the frames."""

    def __init__(
        self, job: LeRobotJob, index: int, camera: EpisodeCamera, stamps_ns: Stamps
    ) -> None:
        self._job, self._index, self._camera = job, index, camera
        self._stamps, self._next = [int(stamp) for stamp in stamps_ns], 0
        self._waiting: dict[int, Capture] = {}
        self._sampled = sampled(len(self._stamps))
        self._seen: dict[str, list[NDArray[np.generic]]] = {}
        self._files: dict[str, VideoFile] = {}

    @property
    def wanted(self) -> frozenset[int]:
        return frozenset(self._stamps)

    def open(self) -> None:
        lens = self._camera.calibration.color
        size = lens.width_px, lens.height_px
        for feature, kind in zip(video_features(self._camera.name), (COLOR, DEPTH), strict=True):
            path = video_path(self._job.out, feature, self._index)
            make_folder(path.parent, ConfigError)
            self._files[feature] = VideoFile(path, kind, size, self._job.rules.rate_hz)
            self._seen[feature] = []

    def take(self, capture: Capture) -> None:
        self._waiting[capture.stamp_ns] = capture
        while self._next < len(self._stamps):
            stamp = self._stamps[self._next]
            found = self._waiting.get(stamp)
            if found is None:
                return
            self._add(found)
            self._next += 1
            # A slower camera's image belongs to several frames; it goes when the next is due.
            if self._next == len(self._stamps) or self._stamps[self._next] != stamp:
                del self._waiting[stamp]

    def finish(self) -> dict[str, Stats]:
        if self._next < len(self._stamps):
            raise EpisodeError(
                f"{self._camera.name}: the image of {self._stamps[self._next]} ns is not there"
            )
        for file in self._files.values():
            file.finish()
        scales = (BRIGHTEST, 1.0)
        return {
            feature: image_stats(seen, scale)
            for (feature, seen), scale in zip(self._seen.items(), scales, strict=True)
        }

    def discard(self) -> None:
        for file in self._files.values():
            file.discard()

    def _add(self, capture: Capture) -> None:
        images: tuple[UInt8 | UInt16, ...] = capture.pixels(), self._depth(capture)
        for (feature, file), image in zip(self._files.items(), images, strict=True):
            file.add(image)
            if self._next in self._sampled:
                self._seen[feature].append(thinned(image))

    def _depth(self, capture: Capture) -> UInt16:
        depth_mm = capture.registered_depth_mm()
        far = depth_mm > DEPTH_MOST_MM
        if not far.any():
            return depth_mm
        if self._job.mark_far:
            return np.where(far, 0, depth_mm).astype(np.uint16)
        raise EpisodeError(
            f"{capture.camera}, frame {self._next}: depth of {int(depth_mm.max())} mm; LeRobot's "
            f"12 bits hold {DEPTH_MOST_MM} mm. --mark-far makes what is farther invalid (0)"
        )
