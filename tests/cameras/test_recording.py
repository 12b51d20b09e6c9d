"""Recordings: what is written is read again, and played in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvista_cameras.recording import load_recording, save_recording
from mvista_cameras.replay import Replay
from mvista_core.capture import Capture
from mvista_core.errors import ConfigError, ObservationError, RigError
from mvista_core.records import Intrinsics
from mvista_core.timing import ManualClock
from tests.cameras.emulated import HostClock

LENS = Intrinsics(32, 18, 18.7, 18.7, 15.5, 8.5, (0.1, -0.05, 0.0, 0.0, 0.01))
PERIOD_NS = 66_666_667


def shots(count: int = 6, cameras: tuple[str, ...] = ("cam0", "cam1")) -> list[Capture]:
    rng = np.random.default_rng(1)
    return [
        Capture.of_pixels(
            camera,
            rng.integers(0, 256, (18, 32, 3)).astype(np.uint8),
            rng.integers(0, 65535, (18, 32)).astype(np.uint16),
            LENS,
            10**18 + k * PERIOD_NS + index * 1_000_000,
        )
        for k in range(count)
        for index, camera in enumerate(cameras)
    ]


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = shots()
    assert save_recording(tmp_path / "r", written) == 12
    cameras = load_recording(tmp_path / "r")
    assert [camera.name for camera in cameras] == ["cam0", "cam1"]
    for each in written:
        camera = next(c for c in cameras if c.name == each.camera)
        index = [f.stamp_ns for f in camera.frames].index(each.stamp_ns)
        read = camera.shot(index)
        np.testing.assert_array_equal(read.pixels(), each.pixels())
        np.testing.assert_array_equal(read.registered_depth_mm(), each.registered_depth_mm())
        assert read.intrinsics == LENS


def test_jpeg_keeps_the_depth_exact(tmp_path: Path) -> None:
    save_recording(tmp_path / "r", shots(1), lossless=False)
    camera = load_recording(tmp_path / "r")[0]
    assert camera.frames[0].color.suffix == ".jpg"
    np.testing.assert_array_equal(
        camera.shot(0).registered_depth_mm(), shots(1)[0].registered_depth_mm()
    )


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    save_recording(tmp_path / "r", shots(1))
    with pytest.raises(ConfigError, match="holds a recording already"):
        save_recording(tmp_path / "r", shots(1))


def test_what_is_no_recording_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recording at"):
        load_recording(tmp_path)
    save_recording(tmp_path / "r", shots())
    index = tmp_path / "r" / "recording.yaml"
    text = index.read_text()
    index.write_text(text.replace("version: 1", "version: 2"))
    with pytest.raises(ConfigError, match="version 2, readable is 1"):
        load_recording(tmp_path / "r")
    index.write_text(text)
    frames = tmp_path / "r" / "cam1" / "frames.csv"
    lines = frames.read_text().splitlines()
    frames.write_text("\n".join([lines[0], lines[2], lines[1]]))
    with pytest.raises(ConfigError, match="does not follow"):
        load_recording(tmp_path / "r")
    frames.unlink()
    with pytest.raises(ConfigError, match="no list of frames"):
        load_recording(tmp_path / "r")


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    save_recording(tmp_path / "r", shots(2))
    camera = load_recording(tmp_path / "r")[0]
    camera.frames[0].depth.write_bytes(b"no picture")
    with pytest.raises(ObservationError, match=r"000000.png cannot be read"):
        camera.shot(0)
    Image.fromarray(np.zeros((5, 5), dtype=np.uint16)).save(camera.frames[1].depth)
    with pytest.raises(ObservationError, match="the intrinsics say"):
        camera.shot(1)


def replay(folder: Path, clock: ManualClock, **how: object) -> Replay:
    if not folder.exists():
        save_recording(folder, shots())
    return Replay(load_recording(folder), clock, **how)  # type: ignore[arg-type]


def test_frames_come_when_they_came(tmp_path: Path) -> None:
    clock = ManualClock(5 * 10**18)
    played = replay(tmp_path / "r", clock)
    assert played.position("cam0") == 0
    assert played.position("cam1") is None  # it came 1 ms later
    clock.advance(0.0015)
    assert played.position("cam1") == 0
    clock.advance(0.2)
    assert played.position("cam0") == 3
    frame = played.latest("cam0")
    assert frame is not None
    assert frame.stamp_ns == 5 * 10**18 + 3 * PERIOD_NS
    assert played.latest("cam0") is frame


def test_it_begins_again_with_stamps_that_go_on(tmp_path: Path) -> None:
    clock = ManualClock(5 * 10**18)
    played = replay(tmp_path / "r", clock)
    stamps = []
    for _ in range(200):
        clock.advance(0.01)
        frame = played.latest("cam0")
        assert frame is not None
        stamps.append(frame.stamp_ns)
        assert 0 <= clock.now_ns() - frame.stamp_ns < 2 * PERIOD_NS
    distances = np.diff(np.unique(stamps))
    assert abs(distances - PERIOD_NS).max() < 2_000_000


@pytest.mark.parametrize("step_s", [-17.0, 3600.0])
def test_stamps_of_now_follow_a_wall_clock_that_is_set(tmp_path: Path, step_s: float) -> None:
    clock = HostClock()
    played = replay(tmp_path / "r", clock)
    for _ in range(3):
        frame = played.latest("cam0")
        assert frame is not None and 0 <= clock.now_ns() - frame.stamp_ns < 2 * PERIOD_NS
        clock.step(step_s)
        clock.advance(0.2)


def test_a_recorded_lens_of_zeros_is_refused(tmp_path: Path) -> None:
    save_recording(tmp_path / "r", shots())
    index = tmp_path / "r" / "recording.yaml"
    index.write_text(index.read_text().replace("fx_px: 18.7", "fx_px: 0.0"))
    with pytest.raises(ConfigError, match=r"cameras\.cam0\.fx_px is not above 0"):
        load_recording(tmp_path / "r")


def test_without_loop_it_ends_and_stays(tmp_path: Path) -> None:
    clock = ManualClock(5 * 10**18)
    played = replay(tmp_path / "r", clock, loop=False, restamp=False, speed=2.0)
    assert not played.finished
    clock.advance(10.0)
    assert played.finished
    frame = played.latest("cam0")
    assert frame is not None and frame.stamp_ns == 10**18 + 5 * PERIOD_NS


@pytest.mark.parametrize("speeds", [(1.0, 4.0, 0.25), (0.05, 20.0, 1.0), (2.0, 2.0, 2.0)])
def test_at_another_speed_it_goes_on_from_where_it_is(
    tmp_path: Path, speeds: tuple[float, ...]
) -> None:
    """No frame twice or backwards, stamps of now, and the distances are those of the speed."""
    clock = ManualClock(5 * 10**18)
    played = replay(tmp_path / "r", clock, speed=speeds[0])
    seen: list[tuple[int, int]] = []
    for speed in speeds:
        played.play(speed, loop=True)
        first = len(seen)
        for _ in range(1000):
            clock.advance(0.005)
            position = played.position("cam0")
            assert position is not None
            if not seen or position != seen[-1][0]:
                seen.append((position, played.shot("cam0", position).stamp_ns))
                assert -(10**6) <= clock.now_ns() - seen[-1][1] <= 10**7
        distances = np.diff([stamp_ns for _, stamp_ns in seen[first + 1 :]])
        steps = np.diff([position for position, _ in seen[first + 1 :]])
        assert np.abs(distances - steps * PERIOD_NS / speed).max(initial=0.0) < 2e6 / speed
    assert (np.diff(np.array(seen), axis=0) > 0).all()


def test_told_to_loop_no_more_it_plays_this_round_to_its_end(tmp_path: Path) -> None:
    clock = ManualClock(5 * 10**18)
    played = replay(tmp_path / "r", clock)
    clock.advance(20 * PERIOD_NS / 1e9)
    before = played.position("cam0")
    played.play(1.0, loop=False)
    assert before is not None and played.position("cam0") == before and not played.finished
    clock.advance(20 * PERIOD_NS / 1e9)
    last = played.position("cam0")
    assert played.finished and last is not None and before <= last < before + 6
    played.play(1.0, loop=True)
    clock.advance(2 * PERIOD_NS / 1e9)
    again = played.position("cam0")
    assert not played.finished and again is not None and again > last


def test_bad_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="speed is 0"):
        replay(tmp_path / "r", ManualClock(), speed=0.0)
    with pytest.raises(RigError, match="no camera 'nowhere'"):
        replay(tmp_path / "r", ManualClock()).latest("nowhere")
