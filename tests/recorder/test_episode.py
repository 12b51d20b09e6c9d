"""Laws of an episode on disk: what was written is read, byte for byte, by us and by others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from PIL import Image
from rosbags.highlevel import AnyReader

from mvista_core.errors import DiskSpaceError, EpisodeError, RecordingError
from mvista_core.records import Intrinsics
from mvista_recorder import schemas
from mvista_recorder.episode_file import CHUNK_BYTES, EpisodeFile
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import (
    EPISODE,
    JOINT_STATE,
    MANIFEST,
    SHEET,
    CameraChannels,
    Topic,
    episode_folders,
)
from mvista_recorder.manifest import load_manifest
from mvista_recorder.owned_file import OwnedFile
from mvista_recorder.repair import faults
from mvista_ros.convert.depth_png import depth_from_transport, depth_to_png, depth_to_transport
from tests.recorder.made import JOINTS, finished, started

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, int, bytes]]]:
    folder, feed = finished(tmp_path_factory.mktemp("root"))
    return folder, feed.written


def test_our_reader_gives_back_what_was_written(recorded: tuple) -> None:
    folder, written = recorded
    found = [(m.topic, m.capture_ns, m.data) for m in EpisodeReader(folder).messages()]
    assert found == written and faults(folder) == []


def test_the_library_reads_it_by_its_index(recorded: tuple) -> None:
    folder, written = recorded
    with (folder / EPISODE).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2" and summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(written)
        found = [(c.topic, m.publish_time, m.data) for _, c, m in reader.iter_messages()]
    assert sorted(found) == sorted(written)


def test_rosbags_opens_the_folder_and_reads_messages(recorded: tuple) -> None:
    folder, written = recorded
    with AnyReader([folder]) as bag:
        assert bag.message_count == len(written)
        count = 0
        for connection, _, data in bag.messages():
            message: Any = bag.deserialize(data, connection.msgtype)
            count += connection.topic == JOINTS.name and len(message.position) == 7
    assert count == sum(topic == JOINTS.name for topic, _, _ in written)


def test_chunks_are_small_young_and_checked(recorded: tuple) -> None:
    folder, _ = recorded
    with (folder / EPISODE).open("rb") as file:
        chunks = [r for r in StreamReader(file, emit_chunks=True).records if isinstance(r, Chunk)]
    assert len(chunks) > 5
    for chunk in chunks:
        assert chunk.compression == "" and chunk.uncompressed_crc != 0
        assert len(chunk.data) < CHUNK_BYTES + 4096
        assert chunk.message_end_time - chunk.message_start_time <= 0.25e9


def test_a_disk_that_fails_while_a_topic_is_made_known_ends_all_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, full = EpisodeFile(tmp_path / EPISODE, 0, reserve_bytes=0), DiskSpaceError("full")
    file.open(JOINTS)
    file.add(JOINTS.name, 1, 1, bytes(CHUNK_BYTES - 20_000), 0, now_ns=0)

    def fail(file: OwnedFile, data: bytes) -> int:
        raise full

    monkeypatch.setattr(OwnedFile, "write", fail)
    with pytest.raises(DiskSpaceError):
        # Until the chunk in hand is too large, and is written.
        for k in range(500):
            file.open(Topic(f"/other{k}", JOINT_STATE))
    assert file.failed is full
    monkeypatch.undo()
    for again in (lambda: file.add(JOINTS.name, 2, 2, b"", 0, now_ns=0), file.finish):
        with pytest.raises(DiskSpaceError):
            again()


def test_the_manifest_says_what_is_there(recorded: tuple) -> None:
    folder, written = recorded
    manifest = load_manifest(folder)
    counted = {topic: stream.count for topic, stream in manifest.streams.items()}
    assert counted == {t: sum(w[0] == t for w in written) for t in {w[0] for w in written}}
    assert manifest.label == "unlabelled" and manifest.ended_because == ""
    assert manifest.sync["cameras"]["p50_ms"] == pytest.approx(3.0)
    assert manifest.sync["joints"][JOINTS.name]["max_ms"] < 25.0
    with Image.open(folder / SHEET) as sheet:
        assert sheet.width > 320 and sheet.height == 180


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    one, _ = finished(tmp_path / "one", 5)
    two, _ = finished(tmp_path / "two", 5)
    for path in sorted(one.iterdir()):
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_while_it_is_written_it_is_partial_and_says_so(tmp_path: Path) -> None:
    feed = started(tmp_path)
    for _ in range(10):
        feed.period()
    (folder,) = episode_folders(tmp_path)
    assert folder.suffix == ".partial" and "is being recorded" in faults(folder)[0]
    assert 0 < feed.writer.synced_bytes <= feed.writer.written_bytes
    assert episode_folders(tmp_path) == (folder,)
    final = feed.writer.finish("success")
    assert episode_folders(tmp_path) == (final,) and load_manifest(final).label == "success"
    assert not list(final.glob(".*")), "nothing of the writer's own is left"


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    feed = started(tmp_path)
    feed.period()
    feed.writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_label_is_given_once(recorded: tuple) -> None:
    manifest = load_manifest(recorded[0])
    with pytest.raises(RecordingError, match="given once"):
        manifest.labelled("success").labelled("failure")
    with pytest.raises(RecordingError, match="allowed"):
        manifest.labelled("perhaps")


def test_altered_files_are_told_by_name(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path, 3)
    (folder / SHEET).write_bytes(b"other")
    assert [SHEET in line for line in faults(folder)] == [True]
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(EpisodeError, match="lacks 'version'"):
        EpisodeReader(folder)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_depth_comes_back_exactly(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 65536, (height, width)).astype(np.uint16)
    assert np.array_equal(depth_from_transport(depth_to_transport(image)), image)


def test_any_reader_decodes_our_depth() -> None:
    image = np.arange(6 * 7, dtype=np.uint16).reshape(6, 7) * 1500
    with Image.open(io.BytesIO(depth_to_png(image))) as found:
        assert np.array_equal(np.asarray(found), image)


@pytest.mark.parametrize("cut", [0, 5, 20, 40, -30])
def test_torn_depth_is_refused(cut: int) -> None:
    data = depth_to_transport(np.full((30, 40), 700, np.uint16))
    with pytest.raises(EpisodeError, match="depth image"):
        depth_from_transport(data[:cut])


def test_a_lens_comes_back(recorded: tuple) -> None:
    lens = Intrinsics(64, 48, 50.5, 51.5, 30.25, 22.75, (0.1, -0.02, 0.0, 0.001, 0.3))
    assert schemas.lens_from_bytes(schemas.lens_to_bytes(lens, 5, "frame")) == lens
    topics = CameraChannels.of("cam0")
    (first, *_) = EpisodeReader(recorded[0]).messages({topics.color_info.name})
    assert schemas.stamp_ns(first.data) == first.capture_ns
    assert schemas.stamp_ns(schemas.restamped(first.data, 77)) == 77
