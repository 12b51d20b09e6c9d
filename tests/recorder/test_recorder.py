"""The operator's words and the streams: what is refused, what is told, and that nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvista_core.errors import (
    BusyError,
    DiskSpaceError,
    InstructionError,
    MvistaError,
    RecordingError,
    RigError,
    StreamError,
)
from mvista_core.timing import NS_PER_S, SystemClock
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import TF, TF_STATIC, Topic, episode_folders
from mvista_recorder.manifest import load_manifest
from mvista_recorder.recorder import Recorder
from mvista_recorder.recorder_records import RecorderSettings
from mvista_recorder.repair import faults
from mvista_recorder.streams import StreamPlan, StreamTrouble, StreamWatch
from tests.recorder.made import ARM, JOINTS, RIG, joint_bytes

pytestmark = pytest.mark.slow

RATE_HZ = 100.0
TOUCH = "touch the red cube"


class Pulse:
    """Joint states at a steady rate on a thread of their own, until told to stop."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.clock = recorder, SystemClock()
        self.running = threading.Event()
        self.over = threading.Event()
        self.sent: list[tuple[int, bytes]] = []
        self.running.set()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def _beat(self) -> None:
        rng, next_ns = np.random.default_rng(0), self.clock.monotonic_ns()
        while not self.over.is_set():
            next_ns += round(NS_PER_S / RATE_HZ)
            self.clock.sleep_until(next_ns)
            if self.running.is_set():
                stamp_ns = self.clock.now_ns()
                data = joint_bytes(stamp_ns, rng.normal(size=7))
                self.recorder.hear(JOINTS, stamp_ns, data)
                self.sent.append((stamp_ns, data))


def settings_of(root: Path) -> RecorderSettings:
    return RecorderSettings(root, (), ("piper",), RIG, ARM, least_free_gib=0.01)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    # Half the rate will do: this machine may be busy, and what is judged here is not it.
    plans = [StreamPlan(JOINTS, RATE_HZ / 2)]
    made = Recorder(settings_of(tmp_path / "root"), plans, SystemClock())
    yield made
    made.close()


@pytest.fixture
def pulse(recorder: Recorder) -> Iterator[Pulse]:
    made = Pulse(recorder)
    wait_until(lambda: not recorder.state().troubles)
    yield made
    made.over.set()
    made.thread.join()


def wait_until(condition: object, seconds: float = 10.0) -> None:
    clock = SystemClock()
    until_ns = clock.monotonic_ns() + round(seconds * NS_PER_S)
    while not condition():  # type: ignore[operator]
        assert clock.monotonic_ns() < until_ns, "it never came to that"
        clock.sleep_until(clock.monotonic_ns() + NS_PER_S // 50)


def there(recorder: Recorder) -> tuple[Path, ...]:
    root = recorder.settings.root
    return episode_folders(root) if root.is_dir() else ()


def test_an_episode_has_every_message_between_start_and_end(
    recorder: Recorder, pulse: Pulse
) -> None:
    recorder.hear(Topic(TF_STATIC, TF, latched=True), 1, b"\0\1\0\0\0\0\0\0")
    episode = recorder.start(f"  {TOUCH} ")
    begun = len(pulse.sent)
    wait_until(lambda: len(pulse.sent) > begun + 60)
    after = len(pulse.sent)
    assert recorder.end("success") == episode
    (folder,) = there(recorder)
    manifest = load_manifest(folder)
    assert manifest.instruction == TOUCH and manifest.label == "success"
    assert faults(folder) == [] and manifest.streams[JOINTS.name].dropped == 0
    found = [(m.capture_ns, m.data) for m in EpisodeReader(folder).messages({JOINTS.name})]
    first = pulse.sent.index(found[0])
    assert found == pulse.sent[first : first + len(found)]
    assert first <= begun and first + len(found) >= after
    assert TF_STATIC in manifest.streams, "what is told once is in every episode"
    assert recorder.state().kept == {"success": 1}


@pytest.mark.parametrize("words", ["", "  \t "])
def test_without_an_instruction_nothing_is_written(
    recorder: Recorder, pulse: Pulse, words: str
) -> None:
    with pytest.raises(InstructionError, match="empty"):
        recorder.start(words)
    assert there(recorder) == ()


def test_one_episode_at_a_time_and_one_label_each(recorder: Recorder, pulse: Pulse) -> None:
    for act in (recorder.end, recorder.discard, recorder.redo):
        with pytest.raises(RecordingError, match="no episode is being recorded"):
            act()
    with pytest.raises(RecordingError, match="no finished episode"):
        recorder.label("success")
    episode = recorder.start(TOUCH)
    with pytest.raises(BusyError, match=episode):
        recorder.start(TOUCH)
    with pytest.raises(RecordingError, match="no finished episode"):
        recorder.label("success", episode)
    recorder.end()
    assert recorder.label("failure") == episode
    with pytest.raises(RecordingError, match="given once"):
        recorder.label("success", episode)
    assert load_manifest(there(recorder)[0]).label == "failure"


def test_a_label_that_is_none_ends_nothing(recorder: Recorder, pulse: Pulse) -> None:
    episode = recorder.start(TOUCH)
    for label in ("perhaps", ""):
        with pytest.raises(RecordingError, match="allowed"):
            recorder.end(label)
    assert recorder.state().episode == episode
    assert recorder.end("success") == episode


def test_a_stamp_that_no_file_holds_is_dropped_and_counted(tmp_path: Path) -> None:
    made = Recorder(settings_of(tmp_path), [], SystemClock())
    made.start(TOUCH)
    for stamp_ns in (-5, 1 << 63, 7):
        made.hear(JOINTS, stamp_ns, joint_bytes(7, np.zeros(7)))
    made.end()
    stream = load_manifest(there(made)[0]).streams[JOINTS.name]
    made.close()
    assert (stream.count, stream.dropped) == (1, 2) and faults(there(made)[0]) == []


def test_redo_and_discard_leave_no_trace(recorder: Recorder, pulse: Pulse) -> None:
    first = recorder.start(TOUCH, practice=True)
    second = recorder.redo()
    assert first != second and len(there(recorder)) == 1
    assert recorder.state().instruction == TOUCH and recorder.state().practice
    recorder.discard()
    assert there(recorder) == () and recorder.state().episode == ""


def test_a_missing_stream_is_refused_before_anything_is_written(recorder: Recorder) -> None:
    with pytest.raises(StreamError, match=f"{JOINTS.name} is missing"):
        recorder.start(TOUCH)
    assert there(recorder) == ()


def test_a_stream_that_stops_is_told_within_a_second_and_its_return_too(
    recorder: Recorder, pulse: Pulse
) -> None:
    recorder.start(TOUCH)
    pulse.running.clear()
    wait_until(lambda: "silent" in recorder.state().said, 3.0)
    pulse.running.set()
    wait_until(lambda: "is back" in recorder.state().said, 3.0)
    recorder.end()
    events = load_manifest(there(recorder)[0]).events
    assert "silent" in events[0] and "is back" in events[1]


def test_a_rig_that_is_missing_or_was_refused_records_nothing(tmp_path: Path) -> None:
    failed = tmp_path / "failed.yaml"
    failed.write_text(RIG.read_text().replace("verdict: pass", "verdict: fail"))
    for rig in (tmp_path / "none.yaml", failed):
        settings = replace(settings_of(tmp_path / "root"), rig=rig)
        made = Recorder(settings, [], SystemClock())
        with pytest.raises(RigError):
            made.start(TOUCH)
        made.close()
    assert not (tmp_path / "root").exists()


def test_a_disk_that_is_short_is_refused(tmp_path: Path) -> None:
    settings = replace(settings_of(tmp_path / "root"), least_free_gib=1e9)
    made = Recorder(settings, [], SystemClock())
    with pytest.raises(DiskSpaceError, match="least_free_gib"):
        made.start(TOUCH)
    made.close()
    assert not (tmp_path / "root").exists()


def test_what_has_no_room_in_memory_is_dropped_and_counted(tmp_path: Path) -> None:
    made = Recorder(replace(settings_of(tmp_path), queue_mib=1), [], SystemClock())
    made.start(TOUCH)
    with made._disk:  # the disk is stuck
        for k in range(10):
            made.hear(JOINTS, k, bytes(300_000))
    made.end()
    stream = load_manifest(there(made)[0]).streams[JOINTS.name]
    made.close()
    assert (stream.count, stream.dropped) == (3, 7)


def test_a_picture_counts_towards_the_room_in_memory(tmp_path: Path) -> None:
    settings = replace(settings_of(tmp_path), queue_mib=1, cameras=("cam0",))
    made = Recorder(settings, [StreamPlan(JOINTS, camera="cam0")], SystemClock())
    made.start(TOUCH)
    with made._disk:  # the disk is stuck
        for k in range(5):
            # As a camera's: the JPEG lies in memory by itself and within the message.
            made.hear(JOINTS, k, bytes(300_000), picture=bytes(300_000))
    made.end()
    stream = load_manifest(there(made)[0]).streams[JOINTS.name]
    made.close()
    assert (stream.count, stream.dropped) == (1, 4)


def test_streams_that_come_faster_than_they_are_written_keep_the_operator_from_nothing(
    tmp_path: Path,
) -> None:
    made = Recorder(replace(settings_of(tmp_path), queue_mib=8), [], SystemClock())
    over: list[bool] = []
    made.start(TOUCH)

    def flood() -> None:
        data = joint_bytes(1, np.zeros(7))
        while not over:
            made.hear(JOINTS, 1, data)

    flooding = threading.Thread(target=flood, daemon=True)
    flooding.start()
    wait_until(lambda: sum(stream.count for stream in made.state().streams) > 2000)
    ending = threading.Thread(target=made.end, daemon=True)
    ending.start()
    ending.join(20.0)
    ended = not ending.is_alive()
    over.append(True)
    flooding.join()
    ending.join()
    made.close()
    assert ended and faults(there(made)[0]) == []


def test_ending_the_recorder_ends_the_episode(recorder: Recorder, pulse: Pulse) -> None:
    recorder.start(TOUCH)
    recorder.close()
    (folder,) = there(recorder)
    assert faults(folder) == []
    manifest = load_manifest(folder)
    assert manifest.label == "unlabelled" and "ended" in manifest.ended_because


def test_an_image_of_another_size_ends_the_episode(tmp_path: Path) -> None:
    plan = StreamPlan(JOINTS, camera="cam0", sizes_px=((64, 48),))
    made = Recorder(settings_of(tmp_path), [plan], SystemClock())
    made.start(TOUCH)
    made.hear(JOINTS, 1, joint_bytes(1, np.zeros(7)), size_px=(32, 48))
    wait_until(lambda: bool(made.state().kept))
    assert "[92]" in load_manifest(there(made)[0]).ended_because
    with pytest.raises(StreamError, match="32x48, the rig has 64x48"):
        made.start(TOUCH)
    made.close()


def test_an_image_of_another_size_that_the_rig_knows_ends_the_episode_too(tmp_path: Path) -> None:
    plan = StreamPlan(JOINTS, camera="cam0", sizes_px=((64, 48), (32, 24)))
    made = Recorder(settings_of(tmp_path), [plan], SystemClock())
    made.start(TOUCH)
    # One image only, between two looks of the writing thread.
    for k, size_px in enumerate(((64, 48), (32, 24), (64, 48))):
        made.hear(JOINTS, k, joint_bytes(1, np.zeros(7)), size_px=size_px)
    wait_until(lambda: bool(made.state().kept))
    because = load_manifest(there(made)[0]).ended_because
    assert "[92]" in because and "64x48" in because and "32x24" in because
    made.hear(JOINTS, 3, joint_bytes(1, np.zeros(7)), size_px=(32, 24))
    made.start(TOUCH)
    made.hear(JOINTS, 4, joint_bytes(1, np.zeros(7)), size_px=(32, 24))
    assert made.state().troubles == (), "an episode in the other size is as good"
    made.close()


def test_a_reason_to_end_is_of_the_episode_that_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's redo comes between the reason and the end."""
    plan = StreamPlan(JOINTS, camera="cam0", sizes_px=((64, 48),))
    made = Recorder(settings_of(tmp_path), [plan], SystemClock())
    reached, over, end_by_itself = threading.Event(), threading.Event(), made._end_by_itself

    def told(*said: Any) -> None:
        reached.set()
        end_by_itself(*said)
        over.set()

    monkeypatch.setattr(made, "_end_by_itself", told)
    first = made.start(TOUCH)
    with made._turn:
        made.hear(JOINTS, 1, joint_bytes(1, np.zeros(7)), size_px=(32, 48))
        assert reached.wait(10.0)
        made.hear(JOINTS, 2, joint_bytes(1, np.zeros(7)), size_px=(64, 48))
        second = made.redo()
    assert over.wait(10.0)
    assert made.state().episode == second != first
    made.close()
    (folder,) = there(made)
    assert "[92]" not in load_manifest(folder).ended_because


def test_how_a_stream_does() -> None:
    watch = StreamWatch(StreamPlan(JOINTS, 100.0))
    assert watch.state(0).trouble is StreamTrouble.MISSING
    for k in range(200):
        watch.hear(k * NS_PER_S // 100, k)
    now_ns = 199 * NS_PER_S // 100
    state = watch.state(now_ns)
    assert state.trouble is None and state.rate_hz == pytest.approx(100.0)
    assert watch.state(now_ns + NS_PER_S).trouble is StreamTrouble.SILENT
    slow = StreamWatch(StreamPlan(JOINTS, 100.0))
    for k in range(100):
        slow.hear(k * NS_PER_S // 50, k)
    assert slow.state(99 * NS_PER_S // 50).trouble is StreamTrouble.SLOW
    watch.blame("has another lens")
    assert watch.state(now_ns).trouble is StreamTrouble.LENS


def test_any_order_of_words_is_answered_by_a_number(recorder: Recorder, pulse: Pulse) -> None:
    rng, recording = np.random.default_rng(7), False
    for _ in range(60):
        word = str(rng.choice(["start", "success", "failure", "discard", "redo", "label"]))
        try:
            if word == "start":
                recorder.start(TOUCH)
            elif word in ("success", "failure"):
                recorder.end(word)
            elif word == "label":
                recorder.label("success")
            else:
                getattr(recorder, word)()
        except MvistaError as error:
            assert error.code in (60, 91)
            assert word == "label" or recording == (word == "start")
            continue
        if word != "label":
            recording = word in ("start", "redo")
    assert all(faults(folder) == [] for folder in there(recorder) if not recording)
