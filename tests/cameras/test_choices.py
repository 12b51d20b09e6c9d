"""What is decided before a stream runs: profile, link, sync, order of start, settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_cameras.camera_node import CameraParameters
from mvista_cameras.emulator.camera import EmulatedCamera
from mvista_cameras.link import check_link, usb_version
from mvista_cameras.profiles import StreamRequest, choose_profiles
from mvista_cameras.records import Stream, StreamProfile, SyncConfig
from mvista_cameras.settings import CameraSettings
from mvista_cameras.sources import open_source
from mvista_cameras.sync import check_read_back, sync_for
from mvista_core.errors import CameraError, ConfigError
from mvista_core.timing import ManualClock
from mvista_ros.parameters import read_file

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
COLOR, DEPTH = StreamRequest(1280, 720, 15), StreamRequest(640, 576, 15)


def offers(stream: Stream, **body: object) -> list[StreamProfile]:
    return EmulatedCamera("X", ManualClock(), **body).profiles(stream)  # type: ignore[arg-type]


def test_the_size_and_rate_asked_for_are_taken_in_the_liked_format() -> None:
    choice = choose_profiles(offers(Stream.COLOR), offers(Stream.DEPTH), COLOR, DEPTH)
    assert choice.color == StreamProfile(1280, 720, 15, "MJPG")
    assert choice.depth == StreamProfile(640, 576, 15, "Y16")
    assert choice.keep_every == 1


def test_without_the_rate_a_whole_multiple_is_thinned_out() -> None:
    rates = {"rates": (25, 30)}
    choice = choose_profiles(
        offers(Stream.COLOR, **rates), offers(Stream.DEPTH, **rates), COLOR, DEPTH
    )
    assert (choice.color.rate_hz, choice.depth.rate_hz, choice.keep_every) == (30, 30, 2)


def test_the_calibration_size_is_there() -> None:
    wanted = StreamRequest(3840, 2160, 5)
    choice = choose_profiles(offers(Stream.COLOR), offers(Stream.DEPTH), wanted, DEPTH)
    assert (choice.color.width_px, choice.color.rate_hz) == (3840, 5)


def test_rgb_is_taken_only_where_there_is_no_mjpg() -> None:
    color = offers(Stream.COLOR, color_formats=("RGB", "BGR"))
    chosen = choose_profiles(color, offers(Stream.DEPTH), COLOR, DEPTH).color
    assert chosen.pixel_format == "RGB"


def test_another_size_is_never_taken_and_the_offers_are_named() -> None:
    slow = {"connection": "USB2.1"}
    with pytest.raises(CameraError, match=r"depth 320x288@5, .*USB 3"):
        choose_profiles(offers(Stream.COLOR, **slow), offers(Stream.DEPTH, **slow), COLOR, DEPTH)


@given(st.sets(st.sampled_from([5, 6, 15, 25, 30, 45, 60]), min_size=1), st.integers(1, 60))
def test_a_choice_keeps_the_rate_asked_for(rates: set[int], wanted: int) -> None:
    color = [StreamProfile(1280, 720, rate, "RGB") for rate in rates]
    depth = [StreamProfile(640, 576, rate, "Y16") for rate in rates]
    requests = StreamRequest(1280, 720, wanted), StreamRequest(640, 576, wanted)
    try:
        choice = choose_profiles(color, depth, *requests)
    except CameraError:
        assert not any(rate % wanted == 0 for rate in rates)
        return
    assert choice.color.rate_hz == choice.depth.rate_hz == wanted * choice.keep_every


@pytest.mark.parametrize("connection", ["USB3.0", "USB3.1", "USB 3.2", "Ethernet"])
def test_fast_links_pass(connection: str) -> None:
    check_link(connection, "A")


def test_a_usb_2_link_is_refused_with_its_speed() -> None:
    assert usb_version("USB2.1") == 2.1
    with pytest.raises(CameraError, match=r"A is on USB2.1, needed is USB 3"):
        check_link("USB2.1", "A")


def test_each_camera_has_a_laser_slot_of_its_own() -> None:
    delays = [sync_for("secondary", index).depth_delay_us for index in range(4)]
    assert delays == [0, 160, 320, 480]
    assert sync_for("standalone", 3).depth_delay_us == 0
    assert [sync_for(role, 0).trigger_out for role in ("primary", "secondary")] == [True, False]


def test_settings_that_did_not_take_are_named() -> None:
    wanted = SyncConfig("secondary", 320, 0, False)
    check_read_back(wanted, wanted, "A")
    with pytest.raises(
        CameraError,
        match=r"role is 'standalone', set was 'secondary'; depth_delay_us is 0, set was 320",
    ):
        check_read_back(wanted, SyncConfig(), "A")


def test_the_shipped_file_is_the_defaults() -> None:
    assert read_file(CameraParameters, ROOT / "config" / "cameras.yaml") == CameraParameters()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "webcam"}, "femto_bolt, emulated, synthetic"),
        ({"registration": "hardware"}, "allowed: own, sdk"),
        ({"backend": "emulated", "registration": "sdk"}, "needs the real SDK"),
        ({"sync_role": "leader"}, "standalone, primary, secondary"),
        ({"rate_hz": 60, "pairing_tolerance_s": 0.01}, "half a period"),
        ({"retry_s": 6.0}, "shorter than retry_s"),
        ({"emulation": "{noisy: true}"}, "emulation is for backend emulated"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CameraSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("emulation", "says"),
    [
        ("{nosy: true}", "nosy is nothing that can be set; allowed: drift_ppm, "),
        ("{noisy: 3}", "noisy is 3, not true or false"),
        ("{rate_error: fast}", "rate_error is 'fast', not a number"),
        ("{clock: 1}", "clock is nothing that can be set"),
        ("[1]", "a mapping"),
    ],
)
def test_an_emulation_that_there_is_not_is_refused(emulation: str, says: str) -> None:
    settings = CameraSettings(backend="emulated", emulation=emulation)
    with pytest.raises(ConfigError, match=says):
        open_source("cam0", settings, ManualClock())
