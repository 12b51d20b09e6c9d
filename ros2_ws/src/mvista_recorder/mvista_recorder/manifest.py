"""`manifest.json`: what an episode shows, how it went, and what is in its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mvista_core.documents import Document
from mvista_core.errors import EpisodeError, RecordingError
from mvista_core.files import replace_file
from mvista_recorder.layout import MANIFEST

VERSION = 1
UNLABELLED, SUCCESS, FAILURE = "unlabelled", "success", "failure"
LABELS = (SUCCESS, FAILURE)
RECORDING, FINISHED = "recording", "finished"
_STAMP_MOST = 1 << 63
_COUNT_MOST = 1 << 53


@dataclass(frozen=True)
class StreamRecord:
    """One topic of an episode: how much of it was heard, and how much was lost on the way.

    `dropped` is counted by sequence where the sender counts, and by what the recorder had to drop.
    """

    type: str
    count: int = 0
    dropped: int = 0
    first_ns: int = 0
    last_ns: int = 0

    @property
    def rate_hz(self) -> float:
        """By capture stamps; 0 with fewer than two messages."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * 1e9 / span_ns if self.count > 1 and span_ns > 0 else 0.0


@dataclass(frozen=True)
class Manifest:
    """See the fields; stamps are wall time. `ended_because` is "" where the operator ended it.

    `events` are what went wrong meanwhile, in words; `sync` the figures of `sync.py`; `files` the
    SHA-256 and size of every other file; `repaired` from which episode, up to which byte, and why.
    """

    id: str
    instruction: str
    started_ns: int
    ended_ns: int = 0
    state: str = RECORDING
    label: str = UNLABELLED
    practice: bool = False
    ended_because: str = ""
    arms: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    streams: Mapping[str, StreamRecord] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    sync: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rig_hash: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """From start to end."""
        return (self.ended_ns - self.started_ns) / 1e9

    def save(self, folder: Path) -> None:
        """Write it in one step.

        Raises:
            RecordingError: it cannot be written there.
        """
        document = {"version": VERSION, **asdict(self)}
        streams = {
            # The rate is for people: it follows from the rest, and is not read back.
            name: {**asdict(stream), "rate_hz": round(stream.rate_hz, 4)}
            for name, stream in self.streams.items()
        }
        text = json.dumps({**document, "streams": streams}, indent=1)
        replace_file(folder / MANIFEST, text + "\n", RecordingError)

    def labelled(self, label: str) -> Manifest:
        """With a label.

        Raises:
            RecordingError: no such label, or it has one already.
        """
        if label not in LABELS:
            raise RecordingError(f"label '{label}'; allowed: {list(LABELS)}")
        if self.label != UNLABELLED:
            raise RecordingError(
                f"episode {self.id} is labelled '{self.label}' already; a label is given once"
            )
        return replace(self, label=label)


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an episode.

    Raises:
        EpisodeError: it is missing, not readable, or of another version.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise EpisodeError(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > 1 << 26:
        raise EpisodeError(f"{path} has {len(text)} bytes; no manifest is as long")
    try:
        document = Document(json.loads(text), str(path), EpisodeError)
    # `json` follows brackets by recursion: a file of nothing else ends in RecursionError.
    except (ValueError, RecursionError):
        raise EpisodeError(f"{path} is not JSON") from None
    version = document["version"].whole(0, 1000)
    if version != VERSION:
        raise EpisodeError(f"{path} is of version {version}; readable is {VERSION}")
    return _parsed(document)


def _parsed(document: Document) -> Manifest:
    label = document["label"].text()
    if label not in (UNLABELLED, *LABELS):
        raise document["label"].refuse(f"is '{label[:20]}'; allowed: {[UNLABELLED, *LABELS]}")
    return Manifest(
        document["id"].text(),
        document["instruction"].text(),
        document["started_ns"].whole(0, _STAMP_MOST),
        document["ended_ns"].whole(0, _STAMP_MOST),
        document["state"].text(),
        label,
        document["practice"].truth(),
        document["ended_because"].text(),
        tuple(item.text() for item in document["arms"].items()),
        tuple(item.text() for item in document["cameras"].items()),
        {name: _stream(body) for name, body in document["streams"].entries().items()},
        tuple(item.text() for item in document["events"].items()),
        _mapping(document["sync"]),
        {name: _file(body) for name, body in document["files"].entries().items()},
        document["rig_hash"].text(),
        _mapping(document["config"]),
        {name: body.text() for name, body in document["versions"].entries().items()},
        _mapping(document["repaired"]),
    )


def _stream(body: Document) -> StreamRecord:
    return StreamRecord(
        body["type"].text(),
        body["count"].whole(0, _COUNT_MOST),
        body["dropped"].whole(0, _COUNT_MOST),
        body["first_ns"].whole(-_STAMP_MOST, _STAMP_MOST),
        body["last_ns"].whole(-_STAMP_MOST, _STAMP_MOST),
    )


def _file(body: Document) -> dict[str, Any]:
    return {"sha256": body["sha256"].text(), "bytes": body["bytes"].whole(0, _COUNT_MOST)}


def _mapping(body: Document) -> Mapping[str, Any]:
    # Called to refuse what is no mapping; what one holds is free.
    body.entries()
    return dict(body.value)
