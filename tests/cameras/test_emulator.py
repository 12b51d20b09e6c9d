"""The emulated camera as a witness: what it shows, when it took it, how it errs."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_cameras.emulator.camera import PICTURES, EmulatedCamera
from mvista_cameras.emulator.scene import FEMTO_BOLT_COLOR, FEMTO_BOLT_DEPTH
from mvista_cameras.emulator.truth import true_capture_ns, with_truth
from mvista_cameras.records import Condition, Stream
from mvista_core.errors import ObservationError
from mvista_core.jpeg import jpeg_size
from mvista_core.timing import ManualClock
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg
from tests.cameras.emulated import rig

pytestmark = pytest.mark.slow

TRYING = {"rate_error": 0.0047, "color_delay_ns": 30_000_000, "jitter_ns": 20_000_000}
"""Pictures 0.47 % too fast, 30 ms late and up to 20 ms later still."""


def test_a_noisy_picture_is_a_jpeg_as_large_as_a_real_one() -> None:
    body = EmulatedCamera("A", ManualClock(10**18), noisy=True)
    jpegs = [body.jpeg(FEMTO_BOLT_COLOR, k, 0) for k in range(PICTURES)]
    assert len(set(jpegs)) == PICTURES
    assert all(150_000 <= len(jpeg) <= 250_000 for jpeg in jpegs)
    assert jpeg_size(jpegs[0]) == (1280, 720)
    shown = body.picture(FEMTO_BOLT_COLOR, 0).astype(int)
    assert np.abs(decode_jpeg(jpegs[0]) - shown).mean() < 3


def test_noisy_depth_trembles_about_the_truth_and_has_holes() -> None:
    clock = ManualClock(10**18)
    true_mm = EmulatedCamera("A", clock).depth_mm(FEMTO_BOLT_DEPTH, 0).astype(float)
    body = EmulatedCamera("A", clock, noisy=True)
    seen_mm = np.array([body.depth_mm(FEMTO_BOLT_DEPTH, k) for k in range(PICTURES)], dtype=float)
    holes = seen_mm == 0
    assert 0.01 < (holes & (true_mm > 0)).mean() < 0.04
    error = np.where(holes, np.nan, seen_mm - true_mm) / np.where(true_mm > 0, true_mm, np.nan)
    assert np.nanstd(error) == pytest.approx(0.002, rel=0.1)
    assert abs(np.nanmean(error)) < 1e-4
    assert (seen_mm[0] != seen_mm[1]).mean() > 0.3


def test_the_truth_travels_in_the_jpeg_and_other_jpegs_have_none() -> None:
    jpeg = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    marked = with_truth(jpeg, -(10**18))
    assert true_capture_ns(marked) == -(10**18)
    assert jpeg_size(marked) == (8, 8)
    np.testing.assert_array_equal(decode_jpeg(marked), decode_jpeg(jpeg))
    with pytest.raises(ObservationError, match="no emulated camera"):
        true_capture_ns(jpeg)


def test_the_rate_of_the_pictures_and_the_rate_of_the_clock_are_two_things() -> None:
    body = EmulatedCamera("A", ManualClock(10**18), drift_ppm=-200, rate_error=0.0047)
    first, last = (body.captured_ns(k, 15, Stream.COLOR) for k in (60_000, 60_000 + 15_000))
    assert (last - first) / 1e9 == pytest.approx(1000 / 1.0047)
    assert (body.device_us(last) - body.device_us(first)) / 1e6 == pytest.approx(
        1000 / 1.0047 * (1 - 200e-6)
    )


@pytest.mark.parametrize("by_sdk", [True, False])
@pytest.mark.parametrize("drift_ppm", [200.0, -200.0])
def test_stamps_are_true_to_5_ms_however_fast_the_pictures_come(
    drift_ppm: float, by_sdk: bool
) -> None:
    """Every capture from the first on."""
    camera = rig({"drift_ppm": drift_ppm, "global_stamps": by_sdk, **TRYING})
    taken = camera.run(40.0)
    assert len(taken) == pytest.approx(40 * 15 * 1.0047, abs=25)
    assert np.abs(camera.stamp_errors_s(taken)).max() <= 0.005
    after_ns = {t.capture.depth_stamp_ns - t.capture.stamp_ns for t in taken}
    assert max(abs(each - 1_200_000) for each in after_ns) < 10_000
    assert float(camera.values()["clock drift (ppm)"]) == pytest.approx(-drift_ppm, abs=100)
    assert float(camera.values()["clock residual (ms)"]) < 2.0


@pytest.mark.parametrize(
    ("drift_ppm", "by_sdk"),
    [(3000.0, False), (-3000.0, True), (12_000.0, True), (-12_000.0, False)],
)
def test_a_clock_that_strays_is_a_numbered_fault_and_its_images_are_withheld(
    drift_ppm: float, by_sdk: bool
) -> None:
    camera = rig({"drift_ppm": drift_ppm, "global_stamps": by_sdk, **TRYING})
    camera.run(25.0)
    assert not camera.run(20.0)
    report = camera.source.report()
    assert report.condition is Condition.FAILED
    assert report.message.startswith("[38] the camera's clock strays from this machine's by ")
    told_ppm = float(report.message.split(" by ")[1].split(" ppm")[0])
    assert told_ppm == pytest.approx(abs(drift_ppm), rel=0.2)
    assert camera.body.starts == 1
    camera.body.connected, camera.body.drift_ppm = False, 40.0
    camera.run(5.0)
    camera.body.connected = True
    assert np.abs(camera.stamp_errors_s(camera.run(10.0))).max() <= 0.005
    assert camera.source.report().condition is Condition.OK
