"""Stamps, headers and frame names."""

from __future__ import annotations

from builtin_interfaces.msg import Duration, Time
from std_msgs.msg import Header

from mvista_core.timing import NS_PER_S


def ns_to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds since the epoch to `builtin_interfaces/Time`."""
    seconds, nanoseconds = divmod(int(stamp_ns), NS_PER_S)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_to_ns(stamp: Time | Duration) -> int:
    """`builtin_interfaces/Time` or `Duration` to nanoseconds."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def ns_to_duration(duration_ns: int) -> Duration:
    """Nanoseconds to `builtin_interfaces/Duration`."""
    seconds, nanoseconds = divmod(int(duration_ns), NS_PER_S)
    return Duration(sec=seconds, nanosec=nanoseconds)


def optical_frame(camera: str) -> str:
    """Name of a camera's optical frame (z forward, x right, y down; REP-103)."""
    return f"{camera}_color_optical_frame"


def depth_optical_frame(camera: str) -> str:
    """Name of its depth sensor's optical frame."""
    return f"{camera}_depth_optical_frame"


def header(stamp_ns: int, frame_id: str) -> Header:
    """A header."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)
