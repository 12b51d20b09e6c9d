"""What is wrong with an episode, and a new one of all that can be trusted in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mvista_core.errors import EpisodeError, MvistaError
from mvista_core.timing import ManualClock
from mvista_recorder import schemas
from mvista_recorder.episode_reader import is_being_written, refusal
from mvista_recorder.episode_writer import EpisodeHead, EpisodeWriter, file_record
from mvista_recorder.layout import ARM, EPISODE, RIG, TF_STATIC, CameraChannels, Topic, is_finished
from mvista_recorder.manifest import FINISHED, UNLABELLED, Manifest, load_manifest
from mvista_recorder.scan import RecordedMessage, Scan
from mvista_recorder.tally import Tally

UNKNOWN = "unknown: the manifest was lost"


def faults(folder: Path) -> list[str]:
    """What is wrong with an episode, a line each; empty where it is whole.

    Checksums of all files, those within the MCAP, counts, and that it was finished.
    """
    if is_being_written(folder):
        return [f"{folder.name}: is being recorded now"]
    found: list[str] = []
    manifest: Manifest | None = None
    try:
        manifest = load_manifest(folder)
    except EpisodeError as error:
        found.append(f"{folder.name}: {error}")
    tally, scan = Tally(), Scan(folder / EPISODE)
    try:
        for chunk in scan:
            for message in chunk:
                _count(tally, message)
    except EpisodeError as error:
        return [*found, f"{folder.name}: {error}"]
    if scan.fault is not None:
        found.append(refusal(folder, scan))
    if manifest is not None:
        found += _against(manifest, folder, tally)
    return found


def _against(manifest: Manifest, folder: Path, tally: Tally) -> list[str]:
    if manifest.state != FINISHED or not is_finished(folder):
        return [f"{folder.name}: was never finished; `mvista dataset repair {folder}`"]
    found = []
    for name, said in manifest.files.items():
        try:
            if file_record(folder / name) != said:
                found.append(f"{folder.name}: {name} is not what was recorded (SHA-256)")
        except MvistaError as error:
            found.append(f"{folder.name}: {error}")
    counted = tally.streams()
    for topic, stream in manifest.streams.items():
        there = counted[topic].count if topic in counted else 0
        if there != stream.count:
            found.append(f"{folder.name}: {topic} has {there} messages, not {stream.count}")
    return found


def repair(folder: Path, out: Path) -> Path:
    """Write the longest prefix whose checksums hold as a new episode below `out`; returns it.

    The same bytes come out of the same episode each time; the old one is left as it is.

    Raises:
        EpisodeError: it is being recorded, it is whole, or not one message can be trusted.
        RecordingError: it cannot be written there.
    """
    if is_being_written(folder):
        raise EpisodeError(f"{folder.name} is being recorded now; end it first")
    if not faults(folder):
        raise EpisodeError(f"{folder.name} is whole; there is nothing to repair")
    scan = Scan(folder / EPISODE)
    manifest, lost = _manifest_of(folder)
    head, missing = _head_of(folder, manifest)
    chunks = iter(scan)
    # A chunk may hold schemas and channels alone; they are known with the next one.
    first = next((chunk for chunk in chunks if chunk), None)
    if first is None:
        raise EpisodeError(refusal(folder, scan) or f"{folder.name} holds no message")
    # It stands still: the name is that of the old start, chunks end by their size alone, and a
    # second repair gives the same bytes.
    clock = ManualClock(manifest.started_ns or first[0].log_ns)
    writer = EpisodeWriter(out, head, clock, reserve_bytes=0)
    try:
        _copy(scan, first, writer)
        for chunk in chunks:
            _copy(scan, chunk, writer)
    except MvistaError:
        writer.discard()
        raise
    for words in (*lost, *missing, *manifest.events):
        writer.note(words)
    for topic, stream in manifest.streams.items():
        writer.tally.drop(topic, stream.dropped)
    # The episode ends with its last message, not when it is repaired.
    clock.sleep_until(writer.tally.last_ns)
    cause = (
        str(scan.fault)
        if scan.fault is not None
        else "its index or a file beside it is not what was recorded"
    )
    writer.repaired = {"from": folder.name, "cause": cause, "kept_bytes": scan.verified_bytes}
    return writer.finish(manifest.label, manifest.ended_because or "it was torn")


def _manifest_of(folder: Path) -> tuple[Manifest, list[str]]:
    try:
        return load_manifest(folder), []
    except EpisodeError as error:
        # A folder is called <start>-<id>, `.partial` behind it.
        name = folder.name.partition(".")[0].rpartition("-")[2]
        return Manifest(name or "unknown", UNKNOWN, 0, label=UNLABELLED), [str(error)]


def _head_of(folder: Path, manifest: Manifest) -> tuple[EpisodeHead, list[str]]:
    contents, missing = {}, []
    for name in (RIG, ARM):
        contents[name] = b""
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            missing.append(f"{name} was lost: {error.strerror}")
    head = EpisodeHead(
        manifest.id,
        manifest.instruction,
        manifest.cameras,
        manifest.arms,
        contents[RIG],
        contents[ARM],
        manifest.practice,
        manifest.config,
    )
    return head, missing


def _copy(scan: Scan, chunk: list[RecordedMessage], writer: EpisodeWriter) -> None:
    for schema in scan.schemas.values():
        # From the file: it is repaired also where the packages of its types are not installed.
        schemas.learn(schema.name, schema.data.decode())
    shown = {CameraChannels.of(name).color.name: name for name in writer.cameras}
    for message in chunk:
        writer.open(Topic(message.topic, message.type, message.topic == TF_STATIC))
        writer.add(
            message.topic, message.log_ns, message.capture_ns, message.data, message.sequence
        )
        if message.topic in shown:
            with suppress(EpisodeError):
                jpeg = schemas.picture_from_bytes(message.data).data
                writer.show(shown[message.topic], bytes(jpeg))


def _count(tally: Tally, message: RecordedMessage) -> None:
    tally.open(message.topic, message.type)
    tally.add(message.topic, message.log_ns, message.capture_ns)
