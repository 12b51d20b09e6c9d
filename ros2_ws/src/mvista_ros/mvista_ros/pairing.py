"""Colour and depth of one camera paired by capture stamp, never by arrival. No ROS here."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from mvista_core.timing import seconds_to_ns

M = TypeVar("M")

KEPT = 8
"""Unpaired images kept per stream: half a second at 15 Hz."""
STEP_NS = seconds_to_ns(0.1)
"""A stream whose stamps go back by more was stamped by a clock that was set back."""
FORGET_NS = seconds_to_ns(5.0)
"""Images so much older than a newer one belong to another run of the camera, or of its clock."""


@dataclass(frozen=True)
class Pair(Generic[M]):
    """Two images of one instant; `stamp_ns` is the colour's.

    `arrived_ns` is when the earlier of the two came, on the clock that `add_color` was told.
    """

    stamp_ns: int
    color: M
    depth: M
    arrived_ns: int = 0


@dataclass(frozen=True)
class _Kept(Generic[M]):
    image: M
    arrived_ns: int


class StampPairing(Generic[M]):
    """Newest pair of two streams whose stamps differ by at most `tolerance_ns`.

    Begins afresh when the stamps of a stream go back by more than `STEP_NS`: what was kept has
    stamps of a clock that no longer is, and would pass as newer than anything to come.
    """

    def __init__(self, tolerance_ns: int) -> None:
        self.tolerance_ns = tolerance_ns
        self._color: OrderedDict[int, _Kept[M]] = OrderedDict()
        self._depth: OrderedDict[int, _Kept[M]] = OrderedDict()
        self._last_color_ns: int | None = None
        self._last_depth_ns: int | None = None
        self._newest: Pair[M] | None = None

    def add_color(self, stamp_ns: int, image: M, arrived_ns: int = 0) -> None:
        """A colour image arrived; order within `STEP_NS` does not matter, repeats replace."""
        self._watch(stamp_ns, self._last_color_ns)
        self._last_color_ns = stamp_ns
        kept = _Kept(image, arrived_ns)
        _keep(self._color, stamp_ns, kept)
        depth_ns = self._nearest(self._depth, stamp_ns)
        if depth_ns is not None:
            self._offer(stamp_ns, kept, self._depth[depth_ns])

    def add_depth(self, stamp_ns: int, image: M, arrived_ns: int = 0) -> None:
        """A depth image arrived; order within `STEP_NS` does not matter, repeats replace."""
        self._watch(stamp_ns, self._last_depth_ns)
        self._last_depth_ns = stamp_ns
        kept = _Kept(image, arrived_ns)
        _keep(self._depth, stamp_ns, kept)
        color_ns = self._nearest(self._color, stamp_ns)
        if color_ns is not None:
            self._offer(color_ns, self._color[color_ns], kept)

    def newer_than(self, stamp_ns: int) -> Pair[M] | None:
        """The newest pair captured after `stamp_ns`, if there is one."""
        if self._newest is not None and self._newest.stamp_ns > stamp_ns:
            return self._newest
        return None

    @property
    def newest_color_ns(self) -> int | None:
        """Capture time of the newest colour image, paired or not."""
        return max(self._color, default=None)

    @property
    def apart_ns(self) -> int | None:
        """Smallest distance between a colour and a depth image that are kept."""
        return min((abs(c - d) for c in self._color for d in self._depth), default=None)

    def _watch(self, stamp_ns: int, last_ns: int | None) -> None:
        """Forget what a clock that was set since, or an earlier run, has stamped."""
        if last_ns is not None and stamp_ns < last_ns - STEP_NS:
            self._color.clear()
            self._depth.clear()
            self._newest = None
            return
        oldest_ns = stamp_ns - FORGET_NS
        for images in (self._color, self._depth):
            for old_ns in [other for other in images if other < oldest_ns]:
                del images[old_ns]
        if self._newest is not None and self._newest.stamp_ns < oldest_ns:
            self._newest = None

    def _offer(self, stamp_ns: int, color: _Kept[M], depth: _Kept[M]) -> None:
        if self._newest is None or stamp_ns >= self._newest.stamp_ns:
            arrived_ns = min(color.arrived_ns, depth.arrived_ns)
            self._newest = Pair(stamp_ns, color.image, depth.image, arrived_ns)

    def _nearest(self, images: OrderedDict[int, _Kept[M]], stamp_ns: int) -> int | None:
        nearest = min(images, key=lambda other: abs(other - stamp_ns), default=None)
        if nearest is None or abs(nearest - stamp_ns) > self.tolerance_ns:
            return None
        return nearest


def _keep(images: OrderedDict[int, _Kept[M]], stamp_ns: int, kept: _Kept[M]) -> None:
    images[stamp_ns] = kept
    if len(images) > KEPT:
        del images[min(images)]
