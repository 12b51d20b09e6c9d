"""What the recorder is told before it begins, and what it says of itself."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvista_core.errors import MvistaError
from mvista_recorder.layout import episode_folders, is_finished
from mvista_recorder.manifest import load_manifest
from mvista_recorder.streams import StreamState
from mvista_recorder.sync import SyncBounds

GIB = 1 << 30
TORN = "torn"


@dataclass(frozen=True)
class RecorderSettings:
    """`rig` and `arm` are files, read anew for each episode.

    `least_free_gib` of the disk are left to others; `queue_mib` wait in memory at most.
    """

    root: Path
    cameras: tuple[str, ...]
    arms: tuple[str, ...]
    rig: Path
    arm: Path
    least_free_gib: float = 2.0
    queue_mib: int = 256
    bounds: SyncBounds = field(default_factory=SyncBounds)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecorderState:
    """What the operator sees. `episode` is "" while none is recorded; `said` the newest event."""

    episode: str
    instruction: str
    practice: bool
    elapsed_s: float
    streams: tuple[StreamState, ...]
    free_gib: float
    kept: Mapping[str, int]
    said: str

    @property
    def troubles(self) -> tuple[str, ...]:
        """Streams that are not in order, a line each."""
        return tuple(f"{s.topic} {s.words}" for s in self.streams if s.trouble is not None)


def free_bytes(folder: Path) -> int:
    """Of the disk that `folder` lies on, or would."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def count_labels(root: Path) -> dict[str, int]:
    """How many episodes of each label lie in a folder, and how many torn ones."""
    found: dict[str, int] = {}
    for folder in episode_folders(root) if root.is_dir() else ():
        try:
            kind = load_manifest(folder).label if is_finished(folder) else TORN
        except MvistaError:
            kind = TORN
        found[kind] = found.get(kind, 0) + 1
    return found
