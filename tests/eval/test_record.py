"""What the recorder's bench counts, on numbers and episodes that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_cameras.emulator.truth import with_truth
from mvista_core.capture import Capture
from mvista_core.records import Intrinsics, JointState
from mvista_core.registration import StreamCalibration
from mvista_eval.record.clocks import errors
from mvista_eval.record.counts import counted, of_numbers
from mvista_eval.record.kills import opened
from mvista_eval.record.pickled import pickled
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.manifest import load_manifest
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg
from tests.recorder.filmed import filmed

LENS = Intrinsics(48, 32, 40.0, 40.0, 23.5, 15.5)
CALIBRATION = StreamCalibration(LENS, LENS, np.eye(4))
START_NS, PERIOD_NS = 1_700_000_000 * 10**9, 66_666_667
OFF_NS, LATE_NS = 3_000_000, 40_000_000
NAMES = tuple(f"joint{k}" for k in range(1, 8))


def shot(number: int) -> Capture:
    """Taken `OFF_NS` before the camera says it was."""
    at_ns = START_NS + number * PERIOD_NS
    rng = np.random.default_rng(number)
    jpeg = encode_jpeg(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8))
    depth = np.full((32, 48), 1000, np.uint16)
    jpeg = with_truth(jpeg, at_ns - OFF_NS)
    return Capture("cam0", number, at_ns, at_ns, jpeg, depth, CALIBRATION, decode_jpeg)


def state(number: int) -> JointState:
    """As the traffic of arms numbers them: joint 1 counts, joint 2 is the time."""
    after_ns = number * 5_000_000
    positions = np.zeros(7)
    positions[:2] = number, after_ns / 1e9
    return JointState(NAMES, positions, np.zeros(7), START_NS + after_ns)


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> EpisodeReader:
    """Twenty images and two seconds of joints, of which ten messages are missing."""
    states = [state(k) for k in range(400) if not 100 <= k < 110]
    joints = {"/left/joint_states": states}
    root = tmp_path_factory.mktemp("counted")
    return EpisodeReader(filmed(root, [shot(k) for k in range(1, 21)], joints))


def test_numbers_that_are_missing_or_come_twice_are_counted() -> None:
    numbers = np.array([5, 6, 8, 8, 11])
    found = of_numbers(numbers, np.arange(5) * 10**9, 50)
    assert (found.count, found.lost, found.repeated, found.bytes) == (5, 3, 1, 50)
    assert found.rate_hz == 1.0


def test_what_an_episode_lacks_is_found(episode: EpisodeReader) -> None:
    found = counted(episode)
    joints = found["/left/joint_states"]
    assert (joints.count, joints.lost) == (390, 10)
    assert joints.rate_hz == pytest.approx(195.0, abs=1.0)
    assert found["/cam0/color/image_raw/compressed"].count == 20


def test_the_error_of_a_stamp_is_what_it_is(episode: EpisodeReader) -> None:
    found = errors(episode, "cam0", "three milliseconds late")
    assert found.images == 20
    assert found.by_stamp_ms.p50 == pytest.approx(3.0, abs=0.01)
    assert found.by_stamp_ms.largest == pytest.approx(3.0, abs=0.01)


def test_the_same_frames_are_dumped_and_removed(episode: EpisodeReader, tmp_path: Path) -> None:
    cost = pickled(episode, tmp_path)
    assert cost.captures == 20 and cost.cpu_ms > 0.0
    assert cost.bytes > 48 * 32 * 5, "raw colour and depth"
    assert cost.mb_a_second(60) == pytest.approx(cost.bytes * 60 / 1e6)
    assert not list(tmp_path.iterdir())


def test_what_does_not_open_is_told(episode: EpisodeReader) -> None:
    assert opened(episode.folder) == []
    streams = load_manifest(episode.folder).streams
    assert sum(stream.count for stream in streams.values()) == 4 * 20 + 390 + 1
