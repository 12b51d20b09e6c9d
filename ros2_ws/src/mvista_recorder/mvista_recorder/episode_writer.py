"""One episode, one folder: written aside, synced, checksummed, then renamed.

Whenever the process is killed, an episode that had been finished is whole, and the one in hand is a
folder `<name>.partial` whose file `repair` reads up to the last chunk.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mvista_core.errors import MvistaError, RecordingError
from mvista_core.files import make_folder, replace_file
from mvista_core.ports import Clock
from mvista_recorder.bag_metadata import bag_metadata
from mvista_recorder.episode_file import RESERVE_BYTES, EpisodeFile
from mvista_recorder.layout import (
    ARM,
    DISCARDED,
    EPISODE,
    METADATA,
    PARTIAL,
    RIG,
    SHEET,
    Topic,
)
from mvista_recorder.manifest import FINISHED, UNLABELLED, Manifest
from mvista_recorder.sheet import ContactSheet
from mvista_recorder.sync import SyncBounds
from mvista_recorder.tally import Tally


@dataclass(frozen=True)
class EpisodeHead:
    """What is known of an episode before it begins; `rig` and `arm` are the files' texts."""

    id: str
    instruction: str
    cameras: tuple[str, ...]
    arms: tuple[str, ...]
    rig: bytes
    arm: bytes
    practice: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    bounds: SyncBounds = field(default_factory=SyncBounds)


class EpisodeWriter:
    """Writes one episode. One thread at a time."""

    def __init__(
        self, root: Path, head: EpisodeHead, clock: Clock, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        """Raises RecordingError, DiskSpaceError: it cannot be written there; nothing is left."""
        self._head, self._clock = head, clock
        started_ns = clock.now_ns()
        # UTC: names sort by age (`episode_folders`), and local time goes back an hour in autumn.
        said = datetime.fromtimestamp(started_ns / 1e9, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        self._final = root / f"{said}-{head.id}"
        self.folder = root / f"{self._final.name}{PARTIAL}"
        self._manifest = Manifest(
            head.id,
            head.instruction,
            started_ns,
            practice=head.practice,
            cameras=head.cameras,
            arms=head.arms,
            rig_hash=hashlib.sha256(head.rig).hexdigest(),
            config=head.config,
            versions=_versions(),
        )
        self.tally = Tally()
        self.repaired: Mapping[str, Any] = {}
        self._sheet = ContactSheet(head.cameras)
        self._events: list[str] = []
        self._file = self._begin(root, reserve_bytes)

    def _begin(self, root: Path, reserve_bytes: int) -> EpisodeFile:
        make_folder(root, RecordingError)
        try:
            self.folder.mkdir()
        except OSError as error:
            raise RecordingError(f"cannot make {self.folder}: {error.strerror}") from None
        try:
            # Before any message: torn at whatever moment, an episode says what it was to be.
            replace_file(self.folder / RIG, self._head.rig, RecordingError)
            replace_file(self.folder / ARM, self._head.arm, RecordingError)
            self._manifest.save(self.folder)
            return EpisodeFile(self.folder / EPISODE, self._clock.monotonic_ns(), reserve_bytes)
        except MvistaError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def id(self) -> str:
        """Of the episode."""
        return self._head.id

    @property
    def cameras(self) -> tuple[str, ...]:
        """Whose pictures it holds."""
        return self._head.cameras

    @property
    def full(self) -> MvistaError | None:
        """Why the episode must be ended now: the disk is full."""
        return self._file.full

    @property
    def written_bytes(self) -> int:
        """Of the episode's file."""
        return self._file.written_bytes

    @property
    def synced_bytes(self) -> int:
        """Of the episode's file: on disk."""
        return self._file.synced_bytes

    def open(self, topic: Topic) -> None:
        """Make a topic known, before its first message.

        Raises:
            ConfigError: nobody defines its type.
        """
        self._file.open(topic)
        self.tally.open(topic.name, topic.type)

    def add(self, topic: str, log_ns: int, capture_ns: int, data: bytes, sequence: int = 0) -> None:
        """One serialised message of a known topic; stamps are wall time.

        Raises:
            RecordingError, DiskSpaceError: the disk failed; `abandon` what there is.
        """
        self._file.add(topic, log_ns, capture_ns, data, sequence, self._clock.monotonic_ns())
        self.tally.add(topic, log_ns, capture_ns)

    def show(self, camera: str, jpeg: bytes) -> None:
        """Offer a picture to the contact sheet."""
        self._sheet.offer(camera, jpeg)

    def note(self, words: str) -> None:
        """Keep in the manifest what went wrong."""
        self._events.append(words)

    def tick(self) -> None:
        """End old chunks and sync; call it some times a second, also in silence.

        Raises:
            RecordingError, DiskSpaceError: the disk failed.
        """
        self._file.tick(self._clock.monotonic_ns())

    def finish(self, label: str = UNLABELLED, because: str = "") -> Path:
        """Bring the episode to its end; returns its folder. `because`: why, if nobody asked.

        Raises:
            RecordingError, DiskSpaceError: the disk failed; the folder stays `.partial`.
        """
        try:
            # First, since closing it gives back the room that the small files need on a full disk.
            digest = self._file.finish()
            for name, content in (
                (SHEET, self._sheet.jpeg()),
                (METADATA, self._bag_metadata()),
            ):
                replace_file(self.folder / name, content, RecordingError)
            manifest = self._told(because)
            files = {EPISODE: {"sha256": digest, "bytes": self._file.written_bytes}}
            files |= {name: file_record(self.folder / name) for name in (RIG, ARM, SHEET, METADATA)}
            manifest = replace(manifest, state=FINISHED, files=files)
            if label != UNLABELLED:
                manifest = manifest.labelled(label)
            # Last: a manifest that says finished has the sums of all that lies beside it.
            manifest.save(self.folder)
        except MvistaError as error:
            self.abandon(str(error))
            raise
        publish_folder(self.folder, self._final)
        return self._final

    def abandon(self, because: str) -> None:
        """Close what cannot be finished; the reason goes into its manifest if it can be written."""
        self._file.close()
        with suppress(MvistaError):
            self._told(because).save(self.folder)

    def discard(self) -> None:
        """Remove the episode."""
        self._file.close()
        # Under a name of its own: half of it must not look like something to repair.
        gone = self.folder.with_name(f"{self._final.name}{DISCARDED}")
        with suppress(OSError):
            self.folder.rename(gone)
            shutil.rmtree(gone)

    def _told(self, because: str) -> Manifest:
        return replace(
            self._manifest,
            ended_ns=self._clock.now_ns(),
            ended_because=because,
            streams=self.tally.streams(),
            events=tuple(self._events),
            sync=self.tally.sync(self._head.cameras, self._head.bounds),
            repaired=self.repaired,
        )

    def _bag_metadata(self) -> str:
        return bag_metadata(self.tally.streams(), self.tally.first_ns, self.tally.last_ns)


def file_record(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a file.

    Raises:
        RecordingError: it cannot be read.
    """
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
            return {"sha256": found.hexdigest(), "bytes": file.tell()}
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from None


def publish_folder(aside: Path, final: Path) -> None:
    """Give a folder that is whole its name, such that a power cut leaves one or the other.

    Raises:
        RecordingError: the name is taken, or the disk refuses.
    """
    try:
        # fsync(2): that a folder has an entry, or another name for it, is on disk only once the
        # folder itself is synced.
        for folder in (aside, aside.parent):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            if folder == aside:
                os.rename(aside, final)
    except OSError as error:
        raise RecordingError(f"cannot rename {aside} to {final.name}: {error.strerror}") from None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("mvista_recorder", "mcap", "rosbags", "isal", "numpy", "pillow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
