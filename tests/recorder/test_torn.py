"""Real processes killed while they record, and a real disk that fills up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from mvista_core.errors import DiskSpaceError, MvistaError
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.episode_writer import EpisodeWriter
from mvista_recorder.layout import episode_folders, is_finished
from mvista_recorder.manifest import load_manifest
from mvista_recorder.repair import faults, repair
from tests.recorder.made import JOINTS, head, joint_bytes, started

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MVISTA_KILLS", "12"))
"""`MVISTA_KILLS=50 make test ARGS="-k killed"` for more of them."""
LOST_NS = NS_PER_S // 2


def record_until_killed(root: Path, first_and_newest_ns: list[int]) -> None:
    """Episodes of a third of a second, one after the other, in real time."""
    clock, count = SystemClock(), 0
    while True:
        writer = EpisodeWriter(root, head(id=f"{count:08x}"), clock, reserve_bytes=1 << 20)
        count += 1
        writer.open(JOINTS)
        first_and_newest_ns[0] = 0
        until_ns = clock.monotonic_ns() + (NS_PER_S // 3 if count % 3 else 2 * NS_PER_S)
        while clock.monotonic_ns() < until_ns:
            now_ns = clock.now_ns()
            writer.add(JOINTS.name, now_ns, now_ns, joint_bytes(now_ns, np.zeros(7)))
            first_and_newest_ns[:] = [first_and_newest_ns[0] or now_ns, now_ns]
            clock.sleep_until(clock.monotonic_ns() + NS_PER_S // 200)
        writer.finish("success")


def test_killed_at_any_moment_no_episode_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.recorder.warm"])
    rng, clock, finished_before, torn = np.random.default_rng(0), SystemClock(), 0, 0
    for kill in range(KILLS):
        root = tmp_path / str(kill)
        stamps_ns = context.Array("q", 2, lock=False)
        child = context.Process(target=record_until_killed, args=(root, stamps_ns), daemon=True)
        child.start()
        while not stamps_ns[1]:
            clock.sleep_until(clock.monotonic_ns() + NS_PER_S // 100)
        clock.sleep_until(clock.monotonic_ns() + int(rng.uniform(0.05, 1.0) * NS_PER_S))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        for folder in episode_folders(root):
            if is_finished(folder):
                assert faults(folder) == [] and load_manifest(folder).label == "success"
                finished_before += 1
                continue
            torn += 1
            kept_until(folder, root / "mended", *stamps_ns)
    assert finished_before and torn


def kept_until(folder: Path, out: Path, first_ns: int, newest_ns: int) -> None:
    """A torn episode comes back up to half a second before its last message."""
    try:
        mended = repair(folder, out)
    except MvistaError as error:
        assert "nothing before it" in str(error) and (
            first_ns == 0 or newest_ns - first_ns < LOST_NS
        ), error
        return
    last_ns = max(m.log_ns for m in EpisodeReader(mended).messages())
    assert newest_ns - last_ns < LOST_NS
    with AnyReader([mended]) as bag:
        assert bag.message_count == load_manifest(mended).streams[JOINTS.name].count


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk of its own needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("filled_by", ["the episode", "another writer"])
def test_a_full_disk_ends_the_episode_with_the_reason(small_disk: Path, filled_by: str) -> None:
    feed = started(small_disk / "root")
    rng = np.random.default_rng(1)
    blob = rng.bytes(1 << 19)
    with (small_disk / "other").open("wb", buffering=0) as other:
        for _ in range(400):
            feed.period()
            now_ns = feed.clock.now_ns()
            if filled_by == "the episode":
                feed.add("/cam0/color/image_raw/compressed", now_ns, blob)
            else:
                fill(other)
            if feed.writer.full is not None:
                break
    full = feed.writer.full
    assert isinstance(full, DiskSpaceError) and "No space left" in str(full)
    folder = feed.writer.finish(because=str(full))
    manifest = load_manifest(folder)
    assert faults(folder) == [] and "No space left" in manifest.ended_because
    found = [(m.topic, m.capture_ns, m.data) for m in EpisodeReader(folder).messages()]
    assert found == feed.written


def test_without_a_reserve_what_was_written_is_repaired(small_disk: Path, tmp_path: Path) -> None:
    """As on a file system that reserves nothing: no index can be written, all the rest is kept."""
    feed = started(small_disk / "root", reserve_bytes=0)
    for _ in range(10):
        feed.period()
    with (small_disk / "other").open("wb", buffering=0) as other, pytest.raises(DiskSpaceError):
        fill(other)
        for _ in range(10):
            feed.period()
    with pytest.raises(DiskSpaceError, match="No space left"):
        feed.writer.finish()
    (folder,) = episode_folders(small_disk / "root")
    mended = repair(folder, tmp_path / "mended")
    found = [(m.topic, m.capture_ns, m.data) for m in EpisodeReader(mended).messages()]
    assert found == feed.written[: len(found)] and len(feed.written) - len(found) < 200


def fill(other: FileIO) -> None:
    """Take whatever is left of a disk."""
    block = bytes(1 << 16)
    while block:
        try:
            other.write(block)
        except OSError:
            block = block[: len(block) // 2]
