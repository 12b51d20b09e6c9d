"""An episode's messages on their way to disk: MCAP in small chunks, each with a checksum.

A chunk ends at 1 MiB or a quarter of a second, and twice a second the disk is told to hold what was
written: a kill loses a quarter of a second, a power cut three quarters. Chunks are not compressed:
what is large, the pictures, is already.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO, cast

from mcap.writer import CompressionType, Writer

from mvista_core.errors import DiskSpaceError, MvistaError
from mvista_core.timing import seconds_to_ns
from mvista_recorder import schemas
from mvista_recorder.bag_metadata import channel_metadata
from mvista_recorder.layout import Topic
from mvista_recorder.owned_file import OwnedFile

CHUNK_BYTES = 1 << 20
CHUNK_S = 0.25
SYNC_S = 0.5
RESERVE_BYTES = 16 << 20
"""Of the disk, ahead of what is written: the last chunks and the index fit in it."""
LIBRARY = f"mvista_recorder mcap/{version('mcap')}"


class EpisodeFile:
    """Writes `episode.mcap`. One thread at a time; `tick` ends chunks and syncs as time goes by."""

    def __init__(self, path: Path, now_ns: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        """`now_ns` is steady time, here and in `add` and `tick`.

        Raises:
            RecordingError, DiskSpaceError: the file cannot be made there.
        """
        self._file = OwnedFile(path, reserve_bytes)
        # `cast`: `OwnedFile` is no RawIOBase, or `mcap` would put a buffer of its own before it.
        self._mcap = Writer(cast(IO[bytes], self._file), CHUNK_BYTES, CompressionType.NONE)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._pending_bytes = 0
        self._pending_since_ns: int | None = None
        self._synced_at_ns = now_ns
        self._whole_bytes = 0
        self.failed: MvistaError | None = None
        self._guarded(lambda: self._mcap.start("ros2", LIBRARY))

    @property
    def full(self) -> DiskSpaceError | None:
        """Set when the disk was full: end the episode now, while the reserve lasts."""
        return self._file.full

    @property
    def written_bytes(self) -> int:
        """On its way to disk."""
        return self._file.written_bytes

    @property
    def synced_bytes(self) -> int:
        """On disk."""
        return self._file.synced_bytes

    def open(self, topic: Topic) -> None:
        """Make a topic known; before its first message.

        Raises:
            ConfigError: nobody defines its type. RecordingError, DiskSpaceError: a write failed.
        """
        if topic.name not in self._channels:
            # Outside the guard: a type that nobody defines refuses a topic, and is no failed write.
            known, about = topic.type in self._schemas, channel_metadata(topic)
            text = b"" if known else schemas.definition(topic.type)
            self._guarded(lambda: self._register(topic, text, about))

    def _register(self, topic: Topic, text: bytes, about: dict[str, str]) -> None:
        """Writes, where it makes the chunk in hand too large."""
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._mcap.register_schema(topic.type, "ros2msg", text)
        self._channels[topic.name] = self._mcap.register_channel(
            topic.name, "cdr", self._schemas[topic.type], about
        )

    def add(
        self, topic: str, log_ns: int, publish_ns: int, data: bytes, sequence: int, now_ns: int
    ) -> None:
        """One message: heard at `log_ns`, captured at `publish_ns` (both wall time).

        Raises:
            RecordingError, DiskSpaceError: it could not be written.
        """
        self.tick(now_ns)
        # Ended here before `mcap` does it unseen: `_whole_bytes` says up to where chunks are whole.
        if self._pending_bytes and self._pending_bytes + len(data) > CHUNK_BYTES:
            self._end_chunk()
        if self._pending_since_ns is None:
            self._pending_since_ns = now_ns
        self._pending_bytes += len(data)
        # MCAP counts in 32 bits.
        number = sequence & 0xFFFFFFFF
        self._guarded(
            lambda: self._mcap.add_message(self._channels[topic], log_ns, data, publish_ns, number)
        )

    def tick(self, now_ns: int) -> None:
        """End a chunk that is old, and sync when it is time.

        Raises:
            RecordingError, DiskSpaceError: the disk failed.
        """
        since_ns = self._pending_since_ns
        if since_ns is not None and now_ns - since_ns >= seconds_to_ns(CHUNK_S):
            self._end_chunk()
        if now_ns - self._synced_at_ns >= seconds_to_ns(SYNC_S):
            self._synced_at_ns = now_ns
            self._guarded(self._file.sync)

    def finish(self) -> str:
        """Write the index, sync and close; returns the SHA-256 of the file.

        Raises:
            RecordingError, DiskSpaceError: it could not be written; `repair` finds all that was.
        """
        try:
            self._guarded(self._mcap.finish)
            self._guarded(self._file.sync)
        finally:
            self.close()
        return self._file.sha256()

    def close(self) -> None:
        """Close without an index. After a failed write the torn end is cut off."""
        if self.failed is not None:
            self._file.cut(self._whole_bytes)
        self._file.close()

    def _end_chunk(self) -> None:
        self._pending_since_ns, self._pending_bytes = None, 0
        self._guarded(self._mcap.flush)
        self._whole_bytes = self._file.written_bytes

    def _guarded(self, write: Callable[[], object]) -> None:
        """Once a write has failed nothing is written any more: `mcap` has lost its place."""
        if self.failed is not None:
            raise self.failed
        try:
            write()
        except MvistaError as error:
            self.failed = error
            raise
