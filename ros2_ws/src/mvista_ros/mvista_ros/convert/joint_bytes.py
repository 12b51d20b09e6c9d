"""Joint states as serialised `sensor_msgs/JointState`: written in place, and told by their stamp.

Building a message object and having it serialised takes as long as sending it, 200 times a second;
only the stamp and the numbers change.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from rclpy.serialization import serialize_message

from mvista_core.records import JointState
from mvista_core.timing import NS_PER_S
from mvista_ros.convert.joints import joint_state_to_msg

_STAMP_AT = 4
"""The stamp leads the message, after four bytes that name the encoding."""
_LENGTH_BYTES = 4


class JointStateBytes:
    """Messages of one arm: always the same joints. Not for several threads at once."""

    def __init__(self, names: Sequence[str]) -> None:
        count = len(names)
        # Where the middleware's own serialisation puts numbers that occur nowhere else.
        marks = np.arange(1.0, 1.0 + 2 * count) * np.pi
        state = JointState(tuple(names), marks[:count], marks[count:], 0)
        self._bytes = bytearray(serialize_message(joint_state_to_msg(state)))
        self._numbers = struct.Struct(f"<{count}d")
        self._stamp = struct.Struct("<iI")
        self._positions_at = self._bytes.index(self._numbers.pack(*marks[:count]))
        self._velocities_at = self._bytes.index(self._numbers.pack(*marks[count:]))
        # After the speeds comes the length of no efforts. The middleware guesses a size that is
        # larger by what would align them: other readers than its own refuse a longer message.
        del self._bytes[self._velocities_at + self._numbers.size + _LENGTH_BYTES :]

    def of(self, state: JointState) -> bytes:
        """The message; `state` has the joints that were named, in that order."""
        self._stamp.pack_into(self._bytes, _STAMP_AT, *divmod(state.stamp_ns, NS_PER_S))
        self._numbers.pack_into(self._bytes, self._positions_at, *state.positions.tolist())
        self._numbers.pack_into(self._bytes, self._velocities_at, *state.velocities.tolist())
        return bytes(self._bytes)


def stamped(data: bytes) -> tuple[int, bytes]:
    """The header's stamp, ns, of a serialised message (little-endian CDR), and the message: of
    many that wait only the one that is wanted need be read whole.

    Raises:
        struct.error: fewer bytes than a stamp takes.
    """
    seconds, nanoseconds = struct.unpack_from("<iI", data, _STAMP_AT)
    return int(seconds) * NS_PER_S + int(nanoseconds), data
