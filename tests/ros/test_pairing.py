"""Colour and depth meet by capture stamp, whatever the order they arrive in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mvista_ros.pairing import KEPT, StampPairing

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
    assert pairing.newest_depth_ns is None
