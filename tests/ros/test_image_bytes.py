"""Serialised images, written and read without a message, against rclpy's own serialisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from mvista_core.errors import ObservationError
from mvista_ros.convert import color_to_msg, depth_to_msg
from mvista_ros.convert.image_bytes import image_from_bytes, image_to_bytes

pytestmark = pytest.mark.ros

STAMP_NS = 1_700_000_000_123_456_789
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=30)


@given(st.integers(1, 40), st.integers(1, 40), TEXTS)
def test_rclpy_reads_what_is_written(height: int, width: int, frame_id: str) -> None:
    rng = np.random.default_rng(height * 64 + width)
    color = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    read = deserialize_message(image_to_bytes(color, "rgb8", STAMP_NS, frame_id), Image)
    assert read == color_to_msg(color, STAMP_NS, frame_id)
    depth_mm = rng.integers(0, 65536, (height, width)).astype(np.uint16)
    read = deserialize_message(image_to_bytes(depth_mm, "16UC1", STAMP_NS, frame_id), Image)
    assert read == depth_to_msg(depth_mm.astype(np.float32) / np.float32(1000), STAMP_NS, frame_id)


@given(st.integers(1, 40), st.integers(1, 40), TEXTS)
def test_what_rclpy_writes_is_read_in_place(height: int, width: int, frame_id: str) -> None:
    color = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    data = serialize_message(color_to_msg(color, STAMP_NS, frame_id))
    image = image_from_bytes(data)
    assert (image.stamp_ns, image.frame_id, image.encoding) == (STAMP_NS, frame_id, "rgb8")
    np.testing.assert_array_equal(image.pixels, color)
    assert not image.pixels.flags.owndata


def test_pixels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ObservationError, match="is no rgb8 image"):
        image_to_bytes(np.zeros((4, 4), dtype=np.uint8), "rgb8", 0, "x")
    with pytest.raises(ObservationError, match="is no 16UC1 image"):
        image_to_bytes(np.zeros((4, 4), dtype=np.float32), "16UC1", 0, "x")


@pytest.mark.parametrize("cut", [0, 3, 10, 30, 60, 100])
def test_bytes_that_are_cut_short_are_refused(cut: int) -> None:
    data = image_to_bytes(np.zeros((8, 8, 3), dtype=np.uint8), "rgb8", STAMP_NS, "cam")
    with pytest.raises(ObservationError):
        image_from_bytes(data[:cut])


def test_another_encoding_is_refused_by_name() -> None:
    message = color_to_msg(np.zeros((2, 2, 3), dtype=np.uint8), 0, "x")
    message.encoding = "bayer_rggb8"
    with pytest.raises(ObservationError, match="bayer_rggb8"):
        image_from_bytes(serialize_message(message))
