"""A data set as LeRobot v3.0 reads it: its files, its features, its tables.

    meta/info.json                               features, rate, counts
    meta/stats.json                              of every feature
    meta/tasks.parquet                           instructions, the index of the table
    meta/episodes/chunk-000/file-000.parquet     a row an episode: bounds, tasks, files, label
    data/chunk-000/file-000.parquet              a row a frame, a row group an episode
    videos/<feature>/chunk-000/file-007.mp4      one episode of one camera
    meta/mvista.json                             where it comes from; for us, not for LeRobot

The format lets episodes share a video. Here each has its own: an interrupted export goes on, and
whoever takes a few episodes copies their files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mvista_core.errors import RecordingError
from mvista_core.files import make_folder
from mvista_recorder.lerobot_frames import Frames
from mvista_recorder.lerobot_stats import Stats, number_stats, together
from mvista_recorder.lerobot_video import COLOR, depth_info

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES, DATA = "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"
SOURCES = "meta/mvista.json"
FILES_PER_CHUNK = 1000
_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
STATE, ACTION, CAPTURE = "observation.state", "action", "observation.capture_ns"
_COUNTED = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class SharedShape:
    """What all episodes of an export share: rate, joints, and each camera's width and height."""

    rate_hz: int
    joints: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]]
    robot: str

    def features(self) -> dict[str, dict[str, Any]]:
        """LeRobot's description of every column and video."""
        joints = {
            "dtype": "float32",
            "shape": [len(self.joints)],
            "names": [joint.replace("/", "_") for joint in self.joints],
        }
        found: dict[str, dict[str, Any]] = {STATE: joints, ACTION: dict(joints)}
        for name, (width, height) in self.cameras.items():
            axes = ["height", "width", "channels"]
            color = COLOR.info(width, height, self.rate_hz)
            depth = depth_info(width, height, self.rate_hz)
            for feature, channels, info in zip(
                video_features(name), (3, 1), (color, depth), strict=True
            ):
                shape = [height, width, channels]
                found[feature] = {"dtype": "video", "shape": shape, "names": axes, "info": info}
        names = [_plain(name) for name in self.cameras]
        found[CAPTURE] = {"dtype": "int64", "shape": [len(names)], "names": names}
        for name in _COUNTED:
            kind = "float32" if name == "timestamp" else "int64"
            found[name] = {"dtype": kind, "shape": [1], "names": None}
        return found


@dataclass(frozen=True)
class ExportedEpisode:
    """One episode as it goes into the tables; `file` is the number of its video files."""

    source: str
    file: int
    instruction: str
    label: str
    practice: bool
    frames: Frames
    image_stats: Mapping[str, Stats]


def video_features(camera: str) -> tuple[str, str]:
    """A camera's features: colour, and depth registered to it."""
    key = f"observation.images.{_plain(camera)}"
    return key, f"{key}_depth"


def video_path(root: Path, feature: str, file: int) -> Path:
    """Where the video of an episode lies."""
    chunk, number = divmod(file, FILES_PER_CHUNK)
    part = _PATTERN.format(chunk_index=chunk, file_index=number)
    return root / "videos" / feature / f"{part}.mp4"


def _plain(name: str) -> str:
    """A camera's name without the slash of its namespace, which LeRobot refuses in features."""
    return name.replace("/", "_")


def write_tables(root: Path, shape: SharedShape, episodes: Sequence[ExportedEpisode]) -> None:
    """Everything but the videos, which are there; `info.json`, by which a data set is found, last.

    Raises:
        RecordingError: it cannot be written.
    """
    # In the order of first use: a set's order of texts changes from run to run.
    tasks = list(dict.fromkeys(episode.instruction for episode in episodes))
    begin = np.cumsum([0, *(len(episode.frames) for episode in episodes)])
    tables, rows, stats = [], [], []
    for k, episode in enumerate(episodes):
        columns = _columns(shape, episode, k, int(begin[k]), tasks.index(episode.instruction))
        numbers = {name: number_stats(_wide(values)) for name, values in columns.items()}
        stats.append({**numbers, **episode.image_stats})
        tables.append(_table(shape, columns))
        rows.append(_row(shape, episode, k, (int(begin[k]), int(begin[k + 1])), stats[-1]))
    of_all = {name: together([part[name] for part in stats]) for name in stats[0]}
    try:
        _write_parquet(root / DATA, tables)
        _write_parquet(root / EPISODES, [pa.Table.from_pylist(rows)])
        _write_parquet(root / TASKS, [_tasks(tasks)])
        _write_json(root / STATS, {name: _plain_stats(found) for name, found in of_all.items()})
        _write_json(root / INFO, _info(shape, len(episodes), int(begin[-1]), len(tasks)))
    except OSError as error:
        raise RecordingError(f"cannot write {root}: {error}") from None


def _info(shape: SharedShape, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    return {
        "codebase_version": VERSION,
        "fps": shape.rate_hz,
        "features": shape.features(),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        # LeRobot's own bounds; no file is split by them here.
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": f"data/{_PATTERN}.parquet",
        "video_path": f"videos/{{video_key}}/{_PATTERN}.mp4",
        "robot_type": shape.robot,
        "splits": {"train": f"0:{episodes}"},
    }


Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


def _columns(
    shape: SharedShape, episode: ExportedEpisode, index: int, begin: int, task_index: int
) -> Columns:
    frames = episode.frames
    numbers = np.arange(len(frames), dtype=np.int64)
    return {
        STATE: frames.states.astype(np.float32),
        ACTION: frames.actions.astype(np.float32),
        CAPTURE: frames.stamps_ns,
        # By the format it is index / rate; when an image was captured is in `capture_ns`.
        "timestamp": (numbers / shape.rate_hz).astype(np.float32),
        "frame_index": numbers,
        "episode_index": np.full_like(numbers, index),
        "index": begin + numbers,
        "task_index": np.full_like(numbers, task_index),
    }


def _wide(values: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    return values.reshape(len(values), -1)


def _table(shape: SharedShape, columns: Columns) -> Any:
    found = {}
    for name, values in columns.items():
        flat = pa.array(values.ravel())
        width = values.shape[1] if values.ndim > 1 else 1
        # A feature of shape [1] is a plain column to LeRobot, no list of one.
        found[name] = flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(found)


def _row(
    shape: SharedShape, episode: ExportedEpisode, index: int, bounds: tuple[int, int], stats: Any
) -> dict[str, Any]:
    length = bounds[1] - bounds[0]
    row: dict[str, Any] = {
        "episode_index": index,
        "tasks": [episode.instruction],
        "length": length,
        "label": episode.label,
        "practice": episode.practice,
        "source": episode.source,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": bounds[0],
        "dataset_to_index": bounds[1],
    }
    chunk, number = divmod(episode.file, FILES_PER_CHUNK)
    for camera in shape.cameras:
        for feature in video_features(camera):
            row[f"videos/{feature}/chunk_index"] = chunk
            row[f"videos/{feature}/file_index"] = number
            row[f"videos/{feature}/from_timestamp"] = 0.0
            row[f"videos/{feature}/to_timestamp"] = length / shape.rate_hz
    for name, found in stats.items():
        row |= {f"stats/{name}/{key}": value for key, value in _plain_stats(found).items()}
    return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}


def _plain_stats(stats: Stats) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in stats.items()}


def _tasks(tasks: Sequence[str]) -> Any:
    """The instructions as the index of a pandas table, which is how LeRobot looks them up."""
    table = pa.table({"task_index": np.arange(len(tasks)), "task": list(tasks)})

    def column(name: str, kind: str, numpy: str) -> dict[str, Any]:
        types = {"pandas_type": kind, "numpy_type": numpy, "metadata": None}
        return {"name": name, "field_name": name, **types}

    # Written by hand: pandas is no dependency.
    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _write_parquet(path: Path, tables: Sequence[Any]) -> None:
    """A row group for each table."""
    make_folder(path.parent, RecordingError)
    aside = path.with_name(f".{path.name}")
    with pq.ParquetWriter(aside, tables[0].schema, compression="snappy") as writer:
        for table in tables:
            writer.write_table(table)
    aside.rename(path)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")
    aside.rename(path)
