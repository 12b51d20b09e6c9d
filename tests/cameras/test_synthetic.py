"""The synthetic camera and paces."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_cameras.emulator.scene import Scene
from mvista_cameras.pace import Pace
from mvista_cameras.records import Condition, SourceReport
from mvista_cameras.settings import CameraSettings
from mvista_cameras.synthetic import SyntheticCamera
from mvista_core.capture import Capture
from mvista_core.timing import ManualClock
from tests.cameras.emulated import HostClock


def camera(clock: ManualClock, **settings: object) -> SyntheticCamera:
    chosen = CameraSettings(backend="synthetic", width_px=320, height_px=180, **settings)  # type: ignore[arg-type]
    return SyntheticCamera("cam0", chosen, clock)


def take(source: SyntheticCamera, count: int) -> list[Capture]:
    shots: list[Capture] = []
    while len(shots) < count:
        shot = source.next(1.0)
        if shot is not None:
            shots.append(shot)
    return shots


def test_captures_lie_on_the_beat_and_depth_is_the_scenes() -> None:
    clock = ManualClock(10**18)
    shots = take(camera(clock), 30)
    np.testing.assert_array_equal(np.diff([s.stamp_ns for s in shots]), 10**9 // 15)
    assert (shots[0].pixels() != shots[1].pixels()).any()
    true_mm = Scene(tint=1).depth_m(shots[0].intrinsics) * 1000
    np.testing.assert_allclose(shots[0].registered_depth_mm(), true_mm, atol=0.51)


def test_cameras_take_turns() -> None:
    stamps = [take(camera(ManualClock(10**18), index=k), 1)[0].stamp_ns for k in range(4)]
    beats = [stamp % (10**9 // 15) for stamp in stamps]
    assert len({round(beat / 1e6) for beat in beats}) == 4


def test_what_is_late_is_skipped_and_counted() -> None:
    clock = ManualClock(10**18)
    source = camera(clock)
    take(source, 1)
    clock.advance(1.0)
    shot = take(source, 1)[0]
    assert clock.now_ns() - shot.stamp_ns < 10**9 // 15
    assert source.skipped == 14


def test_it_starts_when_told() -> None:
    clock = ManualClock(10**18)
    source = camera(clock, start_delay_s=2.0)
    assert source.next(1.0) is None
    assert take(source, 1)[0].stamp_ns >= 10**18 + 2 * 10**9


def test_a_pace_tells_rate_age_and_silence() -> None:
    clock = ManualClock()
    pace = Pace(15.0, clock.monotonic_ns())
    for _ in range(10):
        clock.advance(0.1)
        pace.shot(0.04, clock.monotonic_ns())
    clock.advance(1.0)
    rate_hz, numbers = pace.take(clock.monotonic_ns())
    assert rate_hz == pytest.approx(5.0)
    assert dict(numbers)["largest age when sent (ms)"] == "40"
    assert dict(numbers)["since the last image (s)"] == "1.00"
    well = SourceReport(Condition.OK, "streaming")
    assert pace.grade(well, 14.9) == ("OK", "streaming")
    assert pace.grade(well, 5.0) == ("WARN", "5.0 Hz, expected 15 Hz")
    lost = SourceReport(Condition.FAILED, "no camera")
    assert pace.grade(lost, 15.0) == ("ERROR", "no camera")


@pytest.mark.parametrize("step_s", [-17.0, 3600.0])
def test_stamps_follow_a_wall_clock_that_is_set(step_s: float) -> None:
    clock = HostClock()
    source = camera(clock)
    for _ in range(3):
        assert abs(clock.now_ns() - take(source, 1)[0].stamp_ns) < 10**8
        clock.step(step_s)
