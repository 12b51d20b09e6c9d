"""Whatever happens to an episode's file: what had been synced before it is found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mcap.data_stream import RecordBuilder
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.writer import CompressionType, Writer
from rosbags.highlevel import AnyReader

from mvista_core.errors import EpisodeError, MvistaError
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import EPISODE, MANIFEST, METADATA, RIG, SHEET
from mvista_recorder.manifest import load_manifest
from mvista_recorder.repair import faults, repair
from mvista_recorder.scan import MAGIC, Scan
from tests.recorder.made import JOINTS, finished, started

PERIODS = 16

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list]:
    folder, feed = finished(tmp_path_factory.mktemp("whole"), PERIODS)
    return folder, (folder / EPISODE).read_bytes(), feed.written


def altered(whole: tuple[Path, bytes, list], root: Path, content: bytes) -> Path:
    folder = root / f"{whole[0].name}.partial"
    shutil.copytree(whole[0], folder)
    (folder / EPISODE).write_bytes(content)
    return folder


def chunk_ends(path: Path) -> list[int]:
    scan = Scan(path)
    return [scan.verified_bytes for _ in scan] + [scan.verified_bytes]


def opened_everywhere(folder: Path) -> int:
    """Messages of an episode, as three readers count them."""
    ours = sum(1 for _ in EpisodeReader(folder).messages())
    with (folder / EPISODE).open("rb") as file:
        theirs = sum(1 for _ in make_reader(file, validate_crcs=True).iter_messages())
    with AnyReader([folder]) as bag:
        bags = sum(1 for _ in bag.messages())
    assert ours == theirs == bags and faults(folder) == []
    return ours


@pytest.mark.parametrize("seed", range(5))
def test_cut_anywhere_everything_in_whole_chunks_is_kept(
    whole: tuple[Path, bytes, list], tmp_path: Path, seed: int
) -> None:
    content, written = whole[1], whole[2]
    ends = chunk_ends(whole[0] / EPISODE)
    at = int(np.random.default_rng(seed).integers(ends[1], len(content)))
    torn = altered(whole, tmp_path, content[:at])
    (line,) = [line for line in faults(torn) if EPISODE in line]
    assert torn.name in line and "at byte" in line and "repair" in line
    mended = repair(torn, tmp_path / "out")
    found = [(m.topic, m.capture_ns, m.data) for m in EpisodeReader(mended).messages()]
    assert found == written[: len(found)]
    assert opened_everywhere(mended) == len(found)
    kept = max(end for end in ends if end <= at)
    assert load_manifest(mended).repaired["kept_bytes"] == kept
    assert load_manifest(mended).instruction == "open the drawer"
    (again := tmp_path / "again").mkdir()
    second = repair(torn, again)
    assert all((second / p.name).read_bytes() == p.read_bytes() for p in mended.iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_ends_what_is_believed(
    whole: tuple[Path, bytes, list], tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(100 + seed)
    content, written = bytearray(whole[1]), whole[2]
    at = int(rng.integers(len(MAGIC), len(content)))
    content[at] ^= 1 << int(rng.integers(8))
    bent = altered(whole, tmp_path, bytes(content))
    assert faults(bent), f"byte {at} was flipped and nobody noticed"
    read: list = []
    try:
        read.extend((m.topic, m.capture_ns, m.data) for m in EpisodeReader(bent).messages())
    except EpisodeError as error:
        assert "at byte" in str(error) and "\n" not in str(error)
    assert read == written[: len(read)], "a message that was never written was believed"
    try:
        mended = repair(bent, tmp_path / "out")
    except EpisodeError as error:
        assert at < chunk_ends(whole[0] / EPISODE)[1], error
        return
    assert opened_everywhere(mended) <= len(written)


FOREIGN = {
    "empty": b"",
    "text": b"hello, I am no episode\n" * 100,
    "magic": MAGIC,
    "a huge record": MAGIC + bytes([6]) + b"\xff" * 8 + b"x" * 100,
    "zeros": MAGIC + bytes(4096),
    "a bag": b"SQLite format 3\0" + bytes(2048),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_episode_is_one_line(
    whole: tuple[Path, bytes, list], tmp_path: Path, kind: str
) -> None:
    folder = altered(whole, tmp_path, FOREIGN[kind])
    with pytest.raises(EpisodeError, match="at byte"):
        list(EpisodeReader(folder).messages())
    with pytest.raises(EpisodeError, match="nothing before it can be kept"):
        repair(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_noise_neither_crashes_nor_fills_memory(
    whole: tuple[Path, bytes, list], tmp_path: Path
) -> None:
    """Bytes replaced, inserted, removed, doubled: lines, never another exception."""
    rng, content = np.random.default_rng(5), whole[1]
    folder = altered(whole, tmp_path, content)
    for _ in range(60):
        bent = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            at, size = (int(v) for v in rng.integers(0, (len(bent), 64)))
            kind = rng.integers(4)
            if kind == 0:
                bent[at : at + size] = rng.bytes(size)
            elif kind == 1:
                del bent[at : at + size]
            elif kind == 2:
                bent[at:at] = bent[at : at + size]
            else:
                bent[at : at + 8] = b"\xff" * 8
        (folder / EPISODE).write_bytes(bytes(bent))
        scan = Scan(folder / EPISODE)
        assert sum(map(len, scan)) >= 0
        assert bytes(bent) == content or not scan.finished or faults(folder)


@pytest.mark.parametrize("lost", [MANIFEST, RIG, METADATA, SHEET])
def test_a_lost_file_beside_it_is_told_and_mended(
    whole: tuple[Path, bytes, list], tmp_path: Path, lost: str
) -> None:
    folder = tmp_path / whole[0].name
    shutil.copytree(whole[0], folder)
    (folder / lost).unlink()
    assert any(lost in line for line in faults(folder))
    mended = repair(folder, tmp_path / "out")
    assert opened_everywhere(mended) == len(whole[2])


def test_a_chunk_without_messages_is_no_beginning(
    whole: tuple[Path, bytes, list], tmp_path: Path
) -> None:
    folder = altered(whole, tmp_path, whole[1])
    builder = RecordBuilder()
    Chunk("", b"", 0, 0, 0, 0).write(builder)
    # Behind magic and header: kind, length, body.
    at = len(MAGIC) + 9 + int.from_bytes(whole[1][len(MAGIC) + 1 : len(MAGIC) + 9], "little")
    (folder / EPISODE).write_bytes(whole[1][:at] + builder.end() + whole[1][at:])
    (folder / MANIFEST).unlink()
    assert opened_everywhere(repair(folder, tmp_path / "out")) == len(whole[2])


@pytest.mark.parametrize("late", ["log_time", "publish_time"])
def test_a_stamp_that_no_reader_holds_is_one_line(
    whole: tuple[Path, bytes, list], tmp_path: Path, late: str
) -> None:
    folder = altered(whole, tmp_path, b"")
    with (folder / EPISODE).open("wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start("ros2")
        schema = writer.register_schema(JOINTS.type, "ros2msg", b"")
        channel = writer.register_channel(JOINTS.name, "cdr", schema)
        stamps = {"log_time": 7, "publish_time": 7, late: 1 << 63}
        writer.add_message(channel, stamps["log_time"], b"", stamps["publish_time"])
        writer.finish()
    (line,) = [line for line in faults(folder) if EPISODE in line]
    assert "a message of 9223372036854775808 ns" in line
    with pytest.raises(EpisodeError, match="nothing before it can be kept"):
        repair(folder, tmp_path / "out")


def test_manifests_of_any_kind_are_one_line(
    whole: tuple[Path, bytes, list], tmp_path: Path
) -> None:
    folder, rng = tmp_path / "episode", np.random.default_rng(3)
    shutil.copytree(whole[0], folder)
    text = (folder / MANIFEST).read_bytes()
    for k in range(100):
        bent = bytearray(text)
        at = int(rng.integers(len(bent)))
        bent[at : at + int(rng.integers(1, 30))] = rng.bytes(int(rng.integers(0, 5)))
        (folder / MANIFEST).write_bytes(bytes(bent) if k else b"[" * 100_000)
        try:
            load_manifest(folder)
        except EpisodeError as error:
            assert "\n" not in str(error)


def test_what_is_whole_or_being_recorded_is_not_repaired(
    whole: tuple[Path, bytes, list], tmp_path: Path
) -> None:
    with pytest.raises(EpisodeError, match="is whole"):
        repair(whole[0], tmp_path)
    feed = started(tmp_path)
    feed.period()
    with pytest.raises(MvistaError, match="being recorded"):
        repair(feed.writer.folder, tmp_path / "out")
    feed.writer.discard()
