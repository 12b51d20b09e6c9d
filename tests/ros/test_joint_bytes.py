"""What is written in place is what the middleware itself would have written."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.records import JointState
from mvista_ros.convert import joint_state_to_msg
from mvista_ros.convert.joint_bytes import JointStateBytes, stamped

pytestmark = pytest.mark.ros

STORE = get_typestore(Stores.ROS2_KILTED)
NUMBERS = st.floats(allow_nan=False, width=64)
NAMES = st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0")), max_size=9)


@given(names=NAMES, data=st.data(), stamp_ns=st.integers(0, 2**31 * 10**9 - 1))
def test_any_state_is_serialised_as_its_message_is(
    names: list[str], data: st.DataObject, stamp_ns: int
) -> None:
    if not names:
        return
    kept = JointStateBytes(names)
    for _ in range(2):
        numbers = st.lists(NUMBERS, min_size=len(names), max_size=len(names)).map(np.array)
        state = JointState(tuple(names), data.draw(numbers), data.draw(numbers), stamp_ns)
        found, expected = kept.of(state), serialize_message(joint_state_to_msg(state))
        # Bytes that only align others are whatever the memory held.
        assert len(found) <= len(expected)
        read, meant = (deserialize_message(data, JointStateMsg) for data in (found, expected))
        assert read == meant
        # Who reads a recording of it takes no byte too many.
        again: Any = STORE.deserialize_cdr(found, "sensor_msgs/msg/JointState")
        assert again.position.tolist() == list(meant.position)


@pytest.mark.parametrize("count", [6, 8])
def test_another_number_of_joints_is_no_message(count: int) -> None:
    kept = JointStateBytes([f"joint{k}" for k in range(7)])
    names = tuple(f"joint{k}" for k in range(count))
    with pytest.raises(Exception, match="pack"):
        kept.of(JointState(names, np.zeros(count), np.zeros(count), 0))


@given(stamp_ns=st.integers(0, 2**31 * 10**9 - 1))
def test_a_message_is_told_by_its_stamp_unread(stamp_ns: int) -> None:
    data = serialize_message(
        joint_state_to_msg(JointState(("joint1",), np.ones(1), np.ones(1), stamp_ns))
    )
    assert stamped(data) == (stamp_ns, data)
    with pytest.raises(struct.error):
        stamped(data[:11])
