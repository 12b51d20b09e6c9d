"""Recordings on disk: a folder that any tool can read or write.

<recording>/recording.yaml            version and, per camera, its intrinsics
<recording>/<camera>/frames.csv       stamp_ns,color,depth: one line per frame, stamps rising
<recording>/<camera>/color/000000.png 8-bit RGB, PNG or JPEG
<recording>/<camera>/depth/000000.png 16-bit grey, millimetres, 0 invalid, registered to colour
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from mvista_core.capture import Capture
from mvista_core.documents import read_document
from mvista_core.errors import ConfigError, ObservationError
from mvista_core.records import Intrinsics
from mvista_core.rig import lens_document, parse_lens

VERSION = 1
INDEX = "recording.yaml"
COLUMNS = ["stamp_ns", "color", "depth"]


@dataclass(frozen=True)
class RecordedFrame:
    """Where one frame lies and when it was captured."""

    stamp_ns: int
    color: Path
    depth: Path


@dataclass(frozen=True)
class RecordedCamera:
    """One camera of a recording: its frames by rising stamp."""

    name: str
    intrinsics: Intrinsics
    frames: tuple[RecordedFrame, ...]

    def shot(self, index: int) -> Capture:
        """Read one frame.

        Raises:
            ObservationError: a picture is missing, damaged, or of another size or kind.
        """
        frame, lens = self.frames[index], self.intrinsics
        color, depth = _pixels(frame.color, "RGB"), _pixels(frame.depth, "I;16")
        size = (lens.height_px, lens.width_px)
        if color.shape != (*size, 3) or depth.shape != size:
            raise ObservationError(
                f"{frame.color} is {color.shape}, {frame.depth} is {depth.shape}; "
                f"the intrinsics say {size}"
            )
        depth_mm = depth.astype(np.uint16)
        return Capture.of_pixels(self.name, color, depth_mm, lens, frame.stamp_ns, index)


def load_recording(folder: Path | str) -> tuple[RecordedCamera, ...]:
    """The cameras of a recording, in its order; pictures are read when they are asked for.

    Raises:
        ConfigError: no recording there, another version, or a list of frames that is none.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise ConfigError(f"no recording at {folder}: it has no {INDEX}")
    document = read_document(folder / INDEX, ConfigError, "`save_recording` writes one")
    version = document["version"].whole(0, 1000)
    if version != VERSION:
        raise ConfigError(f"{folder}: version {version}, readable is {VERSION}")
    cameras = tuple(
        RecordedCamera(name, parse_lens(body), _frames(folder / name))
        for name, body in document["cameras"].entries().items()
    )
    if not cameras:
        raise ConfigError(f"{folder / INDEX} names no camera")
    return cameras


def save_recording(folder: Path | str, shots: Iterable[Capture], lossless: bool = True) -> int:
    """Write shots (of one or more cameras) as a new recording; returns how many.

    Raises:
        ConfigError: there is one already.
    """
    folder = Path(folder)
    if (folder / INDEX).exists():
        raise ConfigError(f"{folder} holds a recording already; nothing was written")
    lines: dict[str, list[tuple[int, str, str]]] = {}
    lenses: dict[str, Intrinsics] = {}
    for shot in shots:
        rows = lines.setdefault(shot.camera, [])
        lenses[shot.camera] = shot.intrinsics
        color = f"color/{len(rows):06d}.{'png' if lossless else 'jpg'}"
        depth = f"depth/{len(rows):06d}.png"
        for name in ("color", "depth"):
            (folder / shot.camera / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(shot.pixels()).save(folder / shot.camera / color)
        Image.fromarray(shot.registered_depth_mm()).save(folder / shot.camera / depth)
        rows.append((shot.stamp_ns, color, depth))
    for camera, rows in lines.items():
        with (folder / camera / "frames.csv").open("w", newline="", encoding="utf-8") as output:
            csv.writer(output).writerows([COLUMNS, *rows])
    cameras = {name: lens_document(lens) for name, lens in lenses.items()}
    text = yaml.safe_dump({"version": VERSION, "cameras": cameras}, sort_keys=False)
    (folder / INDEX).write_text(text, encoding="utf-8")
    return sum(len(rows) for rows in lines.values())


def _frames(folder: Path) -> tuple[RecordedFrame, ...]:
    path = folder / "frames.csv"
    if not path.is_file():
        raise ConfigError(f"no list of frames at {path}")
    try:
        with path.open(newline="", encoding="utf-8") as source:
            frames = tuple(
                RecordedFrame(int(row["stamp_ns"]), folder / row["color"], folder / row["depth"])
                for row in csv.DictReader(source)
            )
    except (csv.Error, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path} is not a list of frames; its columns are {COLUMNS}") from None
    if not frames:
        raise ConfigError(f"{path} lists no frame")
    for before, after in pairwise(frames):
        if after.stamp_ns <= before.stamp_ns:
            raise ConfigError(f"{path}: stamp {after.stamp_ns} does not follow {before.stamp_ns}")
    return frames


def _pixels(path: Path, mode: str) -> Any:
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ObservationError(f"{path} cannot be read: {error}") from None
