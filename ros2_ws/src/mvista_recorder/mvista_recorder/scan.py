"""Reads MCAP files that may be anything: torn, altered, empty, foreign.

Chunk by chunk, each checked by its own checksum before a message of it is believed. Nothing that a
file claims decides how much memory is taken: a record is read only if it fits in what is left of
the file and below `MOST_BYTES`. `mcap`'s own readers trust lengths, and give short data for whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Header, McapRecord, Message, Schema

from mvista_core.errors import EpisodeError

MAGIC = b"\x89MCAP0\r\n"
MOST_BYTES = 64 << 20
"""Of one record; ours are far below."""
LATEST_NS = 1 << 63
"""Stamps are unsigned in MCAP and signed in all that reads episodes: none is as late."""
_HEAD = struct.Struct("<BQ")
_UNREADABLE = (McapError, struct.error, ValueError, OverflowError, MemoryError, LookupError)
_INDEX = {
    Opcode.MESSAGE_INDEX, Opcode.CHUNK_INDEX, Opcode.ATTACHMENT_INDEX, Opcode.METADATA_INDEX,
    Opcode.STATISTICS, Opcode.SUMMARY_OFFSET, Opcode.METADATA, Opcode.DATA_END, Opcode.SCHEMA,
    Opcode.CHANNEL,
}  # fmt: skip
"""Records that repeat or count what the chunks hold."""


@dataclass(frozen=True)
class Fault:
    """Where a file stops being readable, and why."""

    offset: int
    cause: str

    def __str__(self) -> str:
        return f"at byte {self.offset}: {self.cause}"


@dataclass(frozen=True)
class RecordedMessage:
    """One message: heard at `log_ns`, captured at `capture_ns`; `data` is serialised (CDR)."""

    topic: str
    type: str
    log_ns: int
    capture_ns: int
    sequence: int
    data: bytes


@dataclass
class Scan:
    """One pass over a file. Iterate it to the end; then `fault` says whether it was whole.

    `verified_bytes`: up to here every byte belongs to a chunk whose checksum holds. `finished`: the
    index and the end of the file are there as well.
    """

    path: Path
    fault: Fault | None = None
    finished: bool = False
    verified_bytes: int = 0
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)

    def __iter__(self) -> Iterator[list[RecordedMessage]]:
        """The messages of one verified chunk after the other.

        Raises:
            EpisodeError: the file cannot be opened.
        """
        try:
            size = self.path.stat().st_size
            file = self.path.open("rb")
        except OSError as error:
            raise EpisodeError(f"{self.path} cannot be read: {error.strerror}") from None
        with file:
            yield from self._chunks(file, size)

    def _chunks(self, file: BinaryIO, size: int) -> Iterator[list[RecordedMessage]]:
        at = 0
        try:
            at = self._begin(file, size)
            while not self.finished:
                opcode, body = _record(file, at, size)
                after = at + _HEAD.size + len(body)
                if opcode == Opcode.CHUNK:
                    yield self._messages(body)
                    self.verified_bytes = after
                elif opcode == Opcode.FOOTER:
                    self._end(file, body, size)
                # MCAP knows more kinds; in an episode they are damage.
                elif opcode not in _INDEX:
                    raise EpisodeError(
                        f"a record of kind {opcode}, which this recorder does not write"
                    )
                at = after
        except (EpisodeError, OSError, *_UNREADABLE) as error:
            self.fault = Fault(at, _words(error))

    def _begin(self, file: BinaryIO, size: int) -> int:
        if not size:
            raise EpisodeError("the file is empty")
        if file.read(len(MAGIC)) != MAGIC:
            raise EpisodeError("no MCAP file (it does not begin as one)")
        opcode, body = _record(file, len(MAGIC), size)
        if opcode != Opcode.HEADER:
            raise EpisodeError("no MCAP file (it has no header)")
        profile = Header.read(_stream(body)).profile
        if profile != "ros2":
            raise EpisodeError(f"profile is '{profile[:40]}'; an episode's is 'ros2'")
        return len(MAGIC) + _HEAD.size + len(body)

    def _end(self, file: BinaryIO, body: bytes, size: int) -> None:
        Footer.read(_stream(body))
        if file.read(len(MAGIC)) != MAGIC:
            raise EpisodeError("the last bytes of an MCAP file are missing")
        if file.tell() != size:
            raise EpisodeError(f"{size - file.tell()} bytes lie behind the end")
        self.finished = True

    def _messages(self, body: bytes) -> list[RecordedMessage]:
        chunk = Chunk.read(_stream(body))
        if chunk.compression:
            raise EpisodeError(f"a chunk compressed by '{chunk.compression[:16]}'; ours are not")
        if len(chunk.data) != chunk.uncompressed_size:
            raise EpisodeError(
                f"a chunk of {len(chunk.data)} bytes claims {chunk.uncompressed_size}"
            )
        # In MCAP a sum of 0 means that there is none; ours always have one, so that is no excuse.
        if zlib.crc32(chunk.data) != chunk.uncompressed_crc:
            raise EpisodeError("a chunk's checksum does not hold")
        return [found for found in map(self._of, _within(chunk.data)) if found is not None]

    def _of(self, record: McapRecord) -> RecordedMessage | None:
        if isinstance(record, Schema):
            self.schemas[record.id] = record
            return None
        if isinstance(record, Channel):
            self.channels[record.id] = record
            return None
        assert isinstance(record, Message)
        if (late_ns := max(record.log_time, record.publish_time)) >= LATEST_NS:
            raise EpisodeError(f"a message of {late_ns} ns; the latest stamp is {LATEST_NS - 1}")
        channel = self.channels[record.channel_id]
        return RecordedMessage(
            channel.topic,
            self.schemas[channel.schema_id].name,
            record.log_time,
            record.publish_time,
            record.sequence,
            record.data,
        )


def _record(file: BinaryIO, at: int, size: int) -> tuple[int, bytes]:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EpisodeError("the file ends here, without its index")
    opcode, length = _HEAD.unpack(head)
    left = size - at - _HEAD.size
    if length > left:
        raise EpisodeError(f"a record of {length} bytes, {left} are left of the file")
    if length > MOST_BYTES:
        raise EpisodeError(f"a record of {length} bytes; allowed: {MOST_BYTES}")
    body = file.read(length)
    if len(body) < length:
        raise EpisodeError("the file became shorter while it was read")
    return opcode, body


def _within(data: bytes) -> Iterator[McapRecord]:
    at = 0
    kinds: dict[int, type[Schema] | type[Channel]] = {
        Opcode.SCHEMA: Schema,
        Opcode.CHANNEL: Channel,
    }
    while at < len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if length > len(data) - at:
            raise EpisodeError("a message is longer than its chunk")
        body = data[at : at + length]
        if opcode == Opcode.MESSAGE:
            yield Message.read(_stream(body), length)
        elif opcode in kinds:
            yield kinds[opcode].read(_stream(body))
        else:
            raise EpisodeError(f"a record of kind {opcode} within a chunk")
        at += length


def _stream(body: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(body))


def _words(error: Exception) -> str:
    if isinstance(error, EpisodeError):
        return str(error)
    return f"unreadable ({' '.join(f'{type(error).__name__} {error}'.split())[:80]})"
