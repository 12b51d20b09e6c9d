"""Colour and depth of one camera paired by capture stamp, never by arrival. No ROS here."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")

KEPT = 8
"""Unpaired images kept per stream: half a second at 15 Hz."""


@dataclass(frozen=True)
class Pair(Generic[M]):
    """Two images of one instant; `stamp_ns` is the colour's."""

    stamp_ns: int
    color: M
    depth: M


class StampPairing(Generic[M]):
    """Newest pair of two streams whose stamps differ by at most `tolerance_ns`."""

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._color: OrderedDict[int, M] = OrderedDict()
        self._depth: OrderedDict[int, M] = OrderedDict()
        self._newest: Pair[M] | None = None

    def add_color(self, stamp_ns: int, image: M) -> None:
        """A colour image arrived; any order, repeats replace."""
        _keep(self._color, stamp_ns, image)
        depth_ns = self._nearest(self._depth, stamp_ns)
        if depth_ns is not None:
            self._offer(Pair(stamp_ns, image, self._depth[depth_ns]))

    def add_depth(self, stamp_ns: int, image: M) -> None:
        """A depth image arrived; any order, repeats replace."""
        _keep(self._depth, stamp_ns, image)
        color_ns = self._nearest(self._color, stamp_ns)
        if color_ns is not None:
            self._offer(Pair(color_ns, self._color[color_ns], image))

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
    def newest_depth_ns(self) -> int | None:
        """Capture time of the newest depth image, paired or not."""
        return max(self._depth, default=None)

    def _offer(self, pair: Pair[M]) -> None:
        if self._newest is None or pair.stamp_ns >= self._newest.stamp_ns:
            self._newest = pair

    def _nearest(self, images: OrderedDict[int, M], stamp_ns: int) -> int | None:
        nearest = min(images, key=lambda other: abs(other - stamp_ns), default=None)
        if nearest is None or abs(nearest - stamp_ns) > self._tolerance_ns:
            return None
        return nearest


def _keep(images: OrderedDict[int, M], stamp_ns: int, image: M) -> None:
    images[stamp_ns] = image
    if len(images) > KEPT:
        del images[min(images)]
