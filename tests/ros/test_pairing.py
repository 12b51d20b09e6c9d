"""Colour and depth meet by capture stamp, whatever the order they arrive in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_ros.pairing import FORGET_NS, KEPT, STEP_NS, StampPairing

pytestmark = pytest.mark.ros

TOLERANCE_NS = 5


@given(st.permutations([("color", i) for i in range(4)] + [("depth", i) for i in range(4)]))
def test_any_order_of_arrival_ends_with_the_newest_pair(arrivals: list[tuple[str, int]]) -> None:
    pairing: StampPairing[int] = StampPairing(TOLERANCE_NS)
    for stream, index in arrivals:
        add = pairing.add_color if stream == "color" else pairing.add_depth
        add(100 * index, index)
        pair = pairing.newer_than(-1)
        assert pair is None or pair.color == pair.depth
    newest = pairing.newer_than(-1)
    assert newest is not None and (newest.stamp_ns, newest.color, newest.depth) == (300, 3, 3)


@given(st.integers(-20, 20))
def test_stamps_pair_exactly_within_the_tolerance(apart_ns: int) -> None:
    pairing: StampPairing[str] = StampPairing(TOLERANCE_NS)
    pairing.add_color(1000, "color")
    pairing.add_depth(1000 + apart_ns, "depth")
    assert (pairing.newer_than(0) is not None) == (abs(apart_ns) <= TOLERANCE_NS)


def test_newer_than_is_strict() -> None:
    pairing: StampPairing[str] = StampPairing(TOLERANCE_NS)
    pairing.add_color(1000, "color")
    pairing.add_depth(1000, "depth")
    assert pairing.newer_than(1000) is None
    assert pairing.newer_than(999) is not None


def test_a_lone_stream_does_not_grow() -> None:
    pairing: StampPairing[int] = StampPairing(TOLERANCE_NS)
    for stamp_ns in range(0, 100_000, 100):
        pairing.add_color(stamp_ns, stamp_ns)
    assert len(pairing._color) == KEPT
    assert pairing.newest_color_ns == 99_900


@given(st.integers(STEP_NS + 1, 10**13), st.integers(1, 8), st.booleans())
def test_stamps_that_go_back_begin_afresh(back_ns: int, frames: int, depth_first: bool) -> None:
    """The old pair is gone at once, and the second new capture pairs at the latest."""
    pairing: StampPairing[str] = StampPairing(TOLERANCE_NS)
    period_ns, start_ns = 66_000_000, 10**14
    for index in range(frames):
        pairing.add_color(start_ns + index * period_ns, "old")
        pairing.add_depth(start_ns + index * period_ns, "old")
    new_ns = start_ns + (frames - 1) * period_ns - back_ns
    adds = [pairing.add_color, pairing.add_depth]
    adds = adds[::-1] if depth_first else adds
    adds[0](new_ns, "new")
    assert pairing.newer_than(-1) is None
    adds[1](new_ns, "new")
    for add in adds:
        add(new_ns + period_ns, "new")
    pair = pairing.newer_than(-1)
    assert pair is not None
    assert (pair.color, pair.depth, pair.stamp_ns) == ("new", "new", new_ns + period_ns)


def test_what_is_far_older_than_a_new_image_is_forgotten() -> None:
    pairing: StampPairing[str] = StampPairing(TOLERANCE_NS)
    pairing.add_color(1000, "old")
    pairing.add_depth(1000, "old")
    pairing.add_color(1000 + FORGET_NS + 1, "new")
    assert pairing.newer_than(-1) is None


def test_a_pair_came_when_the_earlier_of_its_images_did() -> None:
    pairing: StampPairing[str] = StampPairing(TOLERANCE_NS)
    pairing.add_depth(1002, "depth", arrived_ns=7)
    pairing.add_color(1000, "color", arrived_ns=9)
    pair = pairing.newer_than(-1)
    assert pair is not None and pair.arrived_ns == 7
    assert pairing.apart_ns == 2
