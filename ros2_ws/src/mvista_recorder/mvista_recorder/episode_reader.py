"""Opens an episode, finished or torn, and reads it from front to back.

Every message that is handed out lies in a chunk whose checksum holds. What cannot be read ends in
one line: the episode, the byte, the cause, and what `mvista dataset repair` can do.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator
from pathlib import Path

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import EpisodeError
from mvista_core.records import JointState, RigCalibration
from mvista_core.rig import load_rig
from mvista_recorder import schemas
from mvista_recorder.layout import ARM, EPISODE, JOINT_STATE, RIG, is_finished
from mvista_recorder.manifest import Manifest, load_manifest
from mvista_recorder.scan import RecordedMessage, Scan


class EpisodeReader:
    """One episode. Reading begins anew with each iterator; in memory is one chunk at a time."""

    def __init__(self, folder: Path | str) -> None:
        """Raises EpisodeError: no episode there, or its manifest cannot be read."""
        self.folder = Path(folder)
        if not (self.folder / EPISODE).is_file():
            raise EpisodeError(f"no episode at {self.folder}: it has no {EPISODE}")
        self.manifest: Manifest = load_manifest(self.folder)

    @property
    def finished(self) -> bool:
        """Whether its writer came to the end."""
        return is_finished(self.folder)

    def rig(self) -> RigCalibration:
        """The rig it was recorded with; `RigError` where the file is not one."""
        # Whether calibration passed it was asked before recording (`Recorder.start`).
        return load_rig(self.folder / RIG, allow_failed=True)

    def arm(self) -> ArmModel:
        """The arm it was recorded with; `ConfigError` where the file is not one."""
        return load_arm(self.folder / ARM)

    def chunks(self, torn: bool = False) -> Iterator[list[RecordedMessage]]:
        """Messages in the order they were written, chunk by chunk.

        `torn`: what is left of an episode will do, and the end is the last chunk that holds.

        Raises:
            EpisodeError: after the last message that can be read, unless `torn`.
        """
        scan = Scan(self.folder / EPISODE)
        yield from scan
        if not torn and scan.fault is not None:
            raise EpisodeError(refusal(self.folder, scan))

    def messages(
        self, topics: Collection[str] | None = None, torn: bool = False
    ) -> Iterator[RecordedMessage]:
        """As `chunks`, one by one; of some topics, or of all.

        Raises:
            EpisodeError: see `chunks`.
        """
        for chunk in self.chunks(torn):
            for message in chunk:
                if topics is None or message.topic in topics:
                    yield message

    def joints(self, topic: str, torn: bool = False) -> tuple[JointState, ...]:
        """All states of one topic, in the order they came.

        Raises:
            EpisodeError: the episode is torn, or the topic is missing or no joint states.
        """
        kind = self.manifest.streams.get(topic)
        if kind is not None and kind.type != JOINT_STATE:
            raise EpisodeError(f"{self.folder}: {topic} is {kind.type}, not {JOINT_STATE}")
        found = tuple(
            schemas.joints_from_bytes(message.data) for message in self.messages({topic}, torn)
        )
        if not found:
            raise EpisodeError(
                f"{self.folder} has no {topic}; it has {list(self.manifest.streams)}"
            )
        return found


def refusal(folder: Path, scan: Scan) -> str:
    """Why a scanned episode is not whole, in one line; "" where it is."""
    if scan.fault is None:
        return ""
    if not scan.verified_bytes:
        return f"{folder.name}: {EPISODE} {scan.fault}; nothing before it can be kept"
    return (
        f"{folder.name}: {EPISODE} {scan.fault}; `mvista dataset repair {folder}` keeps the "
        f"{scan.verified_bytes} bytes before it"
    )


def is_being_written(folder: Path) -> bool:
    """Whether a recorder holds the episode's file at this moment."""
    try:
        with (folder / EPISODE).open("rb") as file:
            try:
                # Shared, so that two who ask at once do not take each other for a recorder.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:
        pass
    return False
