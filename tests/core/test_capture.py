"""A capture makes pixels and registered depth on demand, once; a JPEG is judged by its markers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.capture import Capture
from mvista_core.errors import ObservationError
from mvista_core.geometry import pose_from
from mvista_core.jpeg import jpeg_size
from mvista_core.records import Intrinsics, UInt8
from mvista_core.registration import Registration, StreamCalibration
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg

COLOR = Intrinsics(64, 36, 40.0, 40.0, 31.5, 17.5, (0.08, -0.11, 1e-4, -5e-5, 0.05))
DEPTH = Intrinsics(32, 28, 25.0, 25.0, 15.5, 13.5)
CALIBRATION = StreamCalibration(COLOR, DEPTH, pose_from(np.eye(3), np.array([-0.03, 0.0, 0.0])))
RNG = np.random.default_rng(3)
PICTURE = np.repeat(np.repeat(RNG.integers(0, 255, (9, 16, 3), np.uint8), 4, axis=0), 4, axis=1)
JPEG = encode_jpeg(PICTURE)
NATIVE_MM = RNG.integers(400, 3000, (28, 32)).astype(np.uint16)


class Decoder:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes) -> UInt8:
        self.calls += 1
        return decode_jpeg(data)


def capture(decode: Decoder, jpeg: bytes = JPEG) -> Capture:
    return Capture("cam0", 7, 2_000, 1_000, jpeg, NATIVE_MM, CALIBRATION, decode)


def test_nothing_is_made_before_it_is_asked_for_and_all_is_made_once() -> None:
    decode = Decoder()
    taken = capture(decode)
    assert decode.calls == 0 and "registration" not in vars(taken.calibration)
    assert taken.pixels() is taken.pixels()
    assert taken.registered_depth_mm() is taken.registered_depth_mm()
    assert decode.calls == 1


def test_depth_is_what_registration_gives_to_the_bit() -> None:
    expected = Registration(CALIBRATION).register(NATIVE_MM)
    taken = capture(Decoder())
    np.testing.assert_array_equal(taken.registered_depth_mm(), expected)
    frame = taken.frame()
    np.testing.assert_array_equal(np.rint(frame.depth_m * 1000), expected)
    np.testing.assert_array_equal(frame.color, decode_jpeg(JPEG))
    assert (frame.intrinsics, frame.stamp_ns, frame.camera) == (COLOR, 2_000, "cam0")


def test_what_is_registered_already_stays_as_it_is() -> None:
    depth_mm = RNG.integers(0, 3000, (36, 64)).astype(np.uint16)
    taken = Capture.of_pixels("cam0", PICTURE, depth_mm, COLOR, 5)
    assert taken.registered_depth_mm() is depth_mm and taken.pixels() is PICTURE


def test_an_undecodable_jpeg_is_refused_at_every_asking() -> None:
    headless = JPEG[:2] + b"\xff\xc0\x00\x0b\x08\x00\x24\x00\x40\x01\x00\x00\x00" + JPEG[-2:]
    assert jpeg_size(headless) == (64, 36)
    for jpeg, words in ((JPEG[:40], "cut short"), (headless, "cannot be decoded")):
        taken = capture(Decoder(), jpeg)
        for _ in range(2):
            with pytest.raises(ObservationError, match=words):
                taken.pixels()


def test_a_jpeg_says_its_size_and_comes_back_as_rgb() -> None:
    assert jpeg_size(JPEG) == (64, 36)
    smooth = np.zeros((64, 64, 3), np.uint8)
    smooth[...] = (200, 90, 20)
    assert np.abs(decode_jpeg(encode_jpeg(smooth)).astype(int) - smooth).max() <= 3


@given(st.binary(max_size=300))
def test_whatever_is_no_jpeg_is_refused_with_a_number(data: bytes) -> None:
    for each in (data, b"\xff\xd8" + data, b"\xff\xd8" + data + b"\xff\xd9"):
        try:
            jpeg_size(each)
        except ObservationError as error:
            assert error.code == 30


@given(st.integers(0, len(JPEG) - 1))
def test_a_jpeg_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ObservationError):
        jpeg_size(JPEG[:length])
