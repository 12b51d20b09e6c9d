"""The whole driver over an emulated SDK: good days, and the faults of `FAULTS.md`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mvista_cameras.emulator.scene import Scene
from mvista_cameras.records import Condition
from mvista_core.capture import Capture
from mvista_core.errors import ObservationError
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros.pairing import StampPairing
from tests.cameras.emulated import HostClock, Rig, rig

pytestmark = pytest.mark.slow


def test_a_second_is_fifteen_captures_truly_stamped() -> None:
    camera = rig()
    camera.run(1.0)
    taken = camera.run(10.0)
    assert len(taken) in (149, 150, 151)
    assert np.abs(camera.stamp_errors_s(taken)).max() < 0.001
    distances_s = np.diff([each.capture.stamp_ns for each in taken]) / 1e9
    np.testing.assert_allclose(distances_s, 1 / 15, atol=1e-3)
    assert camera.source.report().condition is Condition.OK


def test_colour_and_depth_of_one_capture_come_together_not_what_arrives_together() -> None:
    """Depth arrives nearly a period after its colour: by arrival the wrong ones would pair."""
    camera = rig({"depth_delay_ns": 90_000_000, "color_delay_ns": 25_000_000})
    taken = camera.run(4.0)
    assert len(taken) > 50
    assert camera.values()["colour images without depth"] in ("0", "1")
    assert np.abs(camera.stamp_errors_s(taken[15:])).max() < 0.001


def test_depth_is_registered_in_whole_millimetres() -> None:
    camera = rig()
    capture = camera.run(2.0)[-1].capture
    true_mm = Scene().depth_m(capture.intrinsics) * 1000
    depth_mm = capture.registered_depth_mm()
    flat = (depth_mm > 0) & (np.hypot(*np.gradient(true_mm)) < 20)
    assert flat.mean() > 0.7
    assert np.percentile(np.abs(depth_mm[flat] - true_mm[flat]), 95) < 5.0
    assert capture.native_depth_mm.shape == (144, 160)


def test_a_camera_without_the_rate_is_thinned_out() -> None:
    camera = rig({"rates": (30,)})
    taken = camera.run(3.0)
    distances_s = np.diff([each.capture.stamp_ns for each in taken[10:]]) / 1e9
    np.testing.assert_allclose(distances_s, 1 / 15, atol=2e-3)


def test_sync_settings_are_written_and_read_back() -> None:
    camera = rig(sync_role="secondary", index=2)
    camera.run(1.0)
    assert (camera.body.sync.role, camera.body.sync.depth_delay_us) == ("secondary", 320)
    assert camera.values()["sync read back"] == "secondary, depth delay 320 us"


def test_it_opens_when_its_turn_has_come() -> None:
    camera = rig(start_delay_s=4.0)
    assert not camera.run(3.9)
    assert camera.source.report().condition is Condition.WAITING
    assert len(camera.run(1.0)) > 5


# ---- faults: rows of mvista_bringup/FAULTS.md --------------------------------------------------


def test_a_camera_vanishes_and_comes_back() -> None:
    camera = rig()
    before = camera.run(3.0)
    camera.body.connected = False
    gone_ns = camera.clock.monotonic_ns()
    while camera.source.report().condition is Condition.OK:
        camera.run(0.05)
    assert ns_to_seconds(camera.clock.monotonic_ns() - gone_ns) < 1.3
    assert "no image for 1" in camera.source.report().message
    assert not camera.run(20.0)
    assert "no camera at all" in camera.source.report().message
    camera.body.connected = True
    back_ns = camera.clock.monotonic_ns()
    after = camera.run(10.0)
    assert ns_to_seconds(after[0].monotonic_ns - back_ns) < 5.2
    assert after[0].capture.stamp_ns > before[-1].capture.stamp_ns
    assert np.abs(camera.stamp_errors_s(after[15:])).max() < 0.002
    assert camera.values()["connection losses"] == "1"


def test_a_process_that_was_not_run_does_not_blame_the_camera() -> None:
    camera = rig()
    camera.run(5.0)
    camera.clock.advance(3.0)
    taken = camera.run(2.0)
    assert len(taken) >= 30
    assert np.abs(camera.stamp_errors_s(taken)).max() < 0.001
    assert camera.values()["connection losses"] == "0"
    assert camera.values()["camera clock steps"] == "0"


@pytest.mark.parametrize("step_s", [1.0, -1.0])
def test_a_cameras_clock_steps_by_a_second(step_s: float) -> None:
    camera = rig()
    camera.run(10.0)
    camera.body.stepped_us = round(step_s * 1e6)
    taken = camera.run(10.0)
    assert len(taken) >= 148
    # The jitter of the first image is in it until a faster one is seen.
    assert np.abs(camera.stamp_errors_s(taken)).max() < 0.005
    assert np.abs(camera.stamp_errors_s(taken[30:])).max() < 0.001
    assert camera.values()["camera clock steps"] == "1"


@pytest.mark.parametrize("step_s", [1.0, -1.0])
def test_the_hosts_clock_steps_by_a_second(step_s: float) -> None:
    camera = rig()
    camera.run(10.0)
    camera.clock.step(step_s)
    taken = camera.run(3.0)
    assert len(taken) >= 44
    assert np.abs(camera.stamp_errors_s(taken)).max() < 0.001
    assert camera.values()["host clock steps"] == f"1 (last {step_s:+.3f} s)"


class HeldUpClock(HostClock):
    """Every seventh time the thread is not run for 60 ms, just before the wall clock is read."""

    reads = 0

    def now_ns(self) -> int:
        self.reads += 1
        if self.reads % 7 == 0:
            self.advance(0.06)
        return super().now_ns()


def test_a_pause_between_the_hosts_two_clocks_is_in_no_stamp_and_no_step() -> None:
    camera = rig(clock=HeldUpClock())
    camera.run(2.0)
    taken = camera.run(10.0)
    assert len(taken) > 60
    assert np.abs(camera.stamp_errors_s(taken)).max() < 0.001
    assert camera.values()["host clock steps"] == "0 (last +0.000 s)"


def test_a_usb_2_link_is_refused_until_it_is_plugged_in_well() -> None:
    camera = rig({"connection": "USB2.1"})
    assert not camera.run(5.0)
    report = camera.source.report()
    assert report.condition is Condition.FAILED
    assert "is on USB2.1, needed is USB 3" in report.message
    camera.body.connection = "USB3.2"
    assert camera.run(6.0)


def test_a_sync_role_that_does_not_take_is_refused() -> None:
    camera = rig({"ignores_sync": True}, sync_role="secondary", index=1)
    assert not camera.run(5.0)
    message = camera.source.report().message
    assert "role is 'standalone', set was 'secondary'" in message
    assert "depth_delay_us is 0, set was 160" in message


def test_a_camera_that_gives_no_depth_is_named_and_tried_again() -> None:
    camera = rig({"without_depth": True})
    assert not camera.run(7.0)
    assert "no first depth image for 6.0 s while colour comes" in camera.source.report().message
    assert "OpenGL" in camera.source.report().message
    camera.body.without_depth = False
    assert camera.run(8.0)


def test_a_camera_that_never_gives_depth_is_left_alone_until_it_is_switched_off_and_on() -> None:
    camera = rig({"without_depth": True})
    camera.run(300.0)
    report = camera.source.report()
    assert camera.body.starts == 5 and report.condition is Condition.FAILED
    assert report.message.startswith("[38] no first depth image")
    assert "left alone after 5 starts" in report.message
    assert "switch its 12 V supply off and on" in report.message
    camera.body.connected, camera.body.without_depth = False, False
    camera.run(6.0)
    assert "no camera at all" in camera.source.report().message
    camera.body.connected = True
    assert camera.run(8.0)
    assert camera.body.starts == 6


def test_a_camera_that_flaps_is_left_alone() -> None:
    camera = rig()
    for _ in range(12):
        camera.run(4.0)
        camera.body.depth_delay_ns = 10**12
        camera.run(1.5)
        camera.body.depth_delay_ns = 45_000_000
    assert camera.body.starts == 5
    assert "left alone after 5 starts" in camera.source.report().message


DAMAGE = [
    ("cut_depth", False, True, "depth: "),
    (
        "depth_size",
        None,
        (320, 288),
        "depth: an image of 320x288, asked for and calibrated",
    ),
    ("undecodable", False, True, "colour: a JPEG of "),
]


@pytest.mark.parametrize(("fault", "fine", "value", "words"), DAMAGE)
def test_a_damaged_image_is_skipped_counted_and_starts_nothing_anew(
    fault: str, fine: object, value: object, words: str
) -> None:
    camera = rig({"color_formats": ("MJPG",)})
    camera.run(3.0)
    for damaged in range(1, 6):
        setattr(camera.body, fault, value)
        before = camera.values()["damaged images"]
        while camera.values()["damaged images"] == before:
            camera.source.next(0.01)
        setattr(camera.body, fault, fine)
        assert len(camera.run(0.5)) >= 6
        assert camera.values()["damaged images"].startswith(f"{damaged} (newest: {words}")
    report = camera.source.report()
    assert report.condition is Condition.OK and words in report.warning
    assert camera.body.starts == 1 and camera.values()["connection losses"] == "0"
    camera.run(6.0)
    assert camera.source.report().warning == ""


@pytest.mark.parametrize(("fault", "fine", "value", "words"), DAMAGE)
def test_damage_that_lasts_is_a_numbered_fault_and_ends_with_it(
    fault: str, fine: object, value: object, words: str
) -> None:
    camera = rig({"color_formats": ("MJPG",)})
    camera.run(3.0)
    setattr(camera.body, fault, value)
    assert not camera.run(60.0)[1:]
    report = camera.source.report()
    assert report.condition is Condition.FAILED
    assert report.message.startswith("[38] images come, but no usable pair for ")
    assert words in report.message
    assert camera.body.starts == 1
    setattr(camera.body, fault, fine)
    assert camera.run(1.0)
    assert camera.source.report().condition is Condition.OK


def test_colour_and_depth_12_ms_apart_are_told_as_that_and_can_be_allowed() -> None:
    camera = rig({"depth_after_color_us": 12_000})
    assert not camera.run(30.0)
    message = camera.source.report().message
    assert "12.0 ms apart at best, pairing_tolerance_s allows 10 ms (a period is 66.7" in message
    assert "12 V" not in message and camera.body.starts == 1
    allowed = rig({"depth_after_color_us": 12_000}, pairing_tolerance_s=0.015)
    assert len(allowed.run(5.0)) > 60


def test_a_report_from_another_thread_walks_through_no_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The capture thread adds to them: walked through meanwhile, a dictionary raises."""
    walked: Any = StampPairing.__dict__["apart_ns"]
    looked = set()

    def apart_ns(pairing: StampPairing[object]) -> int | None:
        looked.add(threading.current_thread())
        found: int | None = walked.fget(pairing)
        return found

    monkeypatch.setattr(StampPairing, "apart_ns", property(apart_ns))
    camera = rig({"depth_after_color_us": 12_000})
    camera.run(10.0)
    told: list[str] = []
    other = threading.Thread(target=lambda: told.append(camera.source.report().message))
    other.start()
    other.join()
    assert "12.0 ms apart at best" in told[0]
    assert looked <= {threading.current_thread()}


def test_a_tolerance_of_half_the_devices_own_period_is_refused() -> None:
    camera = rig({"rates": (30,)}, pairing_tolerance_s=0.02)
    assert not camera.run(2.0)
    report = camera.source.report()
    assert report.condition is Condition.FAILED and camera.body.starts == 0
    assert report.message.startswith("[38] pairing_tolerance_s is 0.02 s; allowed: less than half")
    assert "0.0167 s at 30 Hz (2 times rate_hz" in report.message
    assert rig({"rates": (15,)}, pairing_tolerance_s=0.02).run(2.0)


def test_a_lens_of_zeros_is_refused_with_what_to_do() -> None:
    camera = rig({"without_lens": True})
    assert not camera.run(300.0)
    report = camera.source.report()
    assert report.condition is Condition.FAILED
    assert "[38] the factory calibration of 320x180@15" in report.message
    assert "focal lengths are 0 and 0 px" in report.message
    assert camera.body.starts == 5


def test_a_profile_that_is_not_there_is_refused_by_name() -> None:
    camera = rig(width_px=1000, height_px=700)
    assert not camera.run(1.0)
    assert "no colour 1000x700@15" in camera.source.report().message


def test_another_serial_is_refused_and_what_is_there_is_named() -> None:
    camera = rig(serial="NOBODY")
    assert not camera.run(1.0)
    assert "no camera NOBODY; connected are ['CL8F25300A1']" in camera.source.report().message


# ---- captures are undecoded --------------------------------------------------------------------


def test_what_was_lost_leaves_a_gap_in_the_sequence() -> None:
    camera = rig({"color_formats": ("MJPG",)})
    before = camera.run(3.0)
    camera.body.undecodable = True
    while camera.values()["damaged images"] == "0":
        camera.source.next(0.01)
    camera.body.undecodable = False
    camera.body.connected = False
    camera.run(3.0)
    camera.body.connected = True
    after = camera.run(8.0)
    whole = [t.capture.sequence for t in before]
    np.testing.assert_array_equal(np.diff(whole), 1)
    assert after[0].capture.sequence > whole[-1] + 1
    assert {t.capture.camera for t in after} == {"cam0"}


def test_thinned_out_captures_are_counted_as_captures() -> None:
    camera = rig({"rates": (30,)})
    sequence = [t.capture.sequence for t in camera.run(4.0)]
    np.testing.assert_array_equal(np.diff(sequence), 1)


def test_a_camera_without_mjpg_gives_its_pixels() -> None:
    camera = rig({"color_formats": ("RGB",)})
    capture = camera.run(2.0)[-1].capture
    assert capture.jpeg == b"" and capture.pixels().shape == (180, 320, 3)


def test_colour_that_only_decoding_shows_to_be_damaged_is_counted_and_told() -> None:
    camera = rig({"hollow": True})
    taken = camera.run(3.0)
    assert len(taken) > 30 and camera.source.report().condition is Condition.OK
    assert camera.values()["damaged images"] == "0"

    def decode(seconds: float) -> int:
        return sum(decoded(camera, each) for each in iter_run(camera, seconds))

    assert decode(3.0) == 0
    report = camera.source.report()
    assert report.condition is Condition.FAILED
    assert report.message.startswith("[38] images come, but no usable pair for ")
    assert "colour: a JPEG of" in report.message and "cannot be decoded" in report.message
    camera.body.hollow = False
    assert decode(1.0) > 10
    report = camera.source.report()
    assert report.condition is Condition.OK and "cannot be decoded" in report.warning
    assert camera.body.starts == 1


def iter_run(camera: Rig, seconds: float) -> Iterator[Capture]:
    until_ns = camera.clock.monotonic_ns() + seconds_to_ns(seconds)
    while camera.clock.monotonic_ns() < until_ns:
        capture = camera.source.next(0.05)
        if capture is not None:
            yield capture


def decoded(camera: Rig, capture: Capture) -> bool:
    """As who publishes it does."""
    try:
        return capture.pixels().shape == (180, 320, 3)
    except ObservationError as error:
        camera.source.skip(str(error))
        return False
