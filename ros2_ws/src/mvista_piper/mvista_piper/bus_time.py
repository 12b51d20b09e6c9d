"""When a frame was on the bus, however long it waited and whatever the clock did. Pure.

Where the bus stamps frames it does so on the wall clock (the kernel's SO_TIMESTAMPNS on socketcan
and on the loopback bus; python-can's own on a virtual bus). Ages are monotonic, so the stamps are
moved there by the difference of both clocks, which a step of the wall clock changes while frames
wait.
"""

from __future__ import annotations

from typing import NamedTuple

from mvista_core.ports import Clock
from mvista_core.timing import NS_PER_S, read_clocks, seconds_to_ns

_STEP_NS = seconds_to_ns(0.02)
"""Less is a clock that is slewed, or two readings with a pause between them."""
_EARLY_NS = seconds_to_ns(0.001)
"""Stamps are floats of seconds, and two clocks are read one after the other."""
_LONGEST_WAIT_NS = seconds_to_ns(1.0)
"""All frames that waited while the clock was stepped are read within this."""


class Stamp(NamedTuple):
    """When a frame was on the bus: wall time for records, monotonic time for intervals."""

    wall_ns: int
    monotonic_ns: int


class BusTime:
    """Moves the stamps of one bus, frame after frame in their order, to the injected clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_bus_ns = 0
        self.caught_up()

    @property
    def caught_up_ns(self) -> int:
        """When no frame waited last (monotonic)."""
        return self._empty_ns

    def caught_up(self) -> None:
        """No frame waits: what comes from now on is stamped from now on, by the clock as it is."""
        self._empty_ns = self._clock.monotonic_ns()
        # Wall minus monotonic while nothing waits: right for all frames up to the next step.
        self._offset_ns = self._clock.now_ns() - self._empty_ns
        self._stepped_ns: int | None = None

    def stamp(self, bus_time_s: float) -> Stamp:
        """The moment at which a frame with this stamp, s since the epoch, was on the bus.

        A stamp from before no frame waited, or from the future, is of another clock: such a frame
        counts as new.
        """
        monotonic_ns, wall_ns = read_clocks(self._clock)
        bus_ns = round(bus_time_s * NS_PER_S)
        self._follow(bus_ns, wall_ns - monotonic_ns, monotonic_ns)
        at_ns = bus_ns - self._offset_ns
        if not self._empty_ns - _STEP_NS <= at_ns <= monotonic_ns + _EARLY_NS:
            return Stamp(wall_ns, monotonic_ns)
        # The age is taken off the present wall time: the bus's stamp may be of before a step.
        at_ns, self._last_bus_ns = min(at_ns, monotonic_ns), bus_ns
        return Stamp(wall_ns - (monotonic_ns - at_ns), at_ns)

    def _follow(self, bus_ns: int, offset_ns: int, now_ns: int) -> None:
        """After a step the frames that waited come first, in order; a leap of the stamps as far as
        the step, back or forth, is the first that was stamped after it."""
        step_ns = offset_ns - self._offset_ns
        if abs(step_ns) > _STEP_NS:
            self._stepped_ns = now_ns if self._stepped_ns is None else self._stepped_ns
            # Of before the step is what comes in order, not from the future, and without its leap.
            since_last_ns = bus_ns - self._last_bus_ns
            in_order = since_last_ns >= -_EARLY_NS
            leapt = step_ns > 0 and self._last_bus_ns and since_last_ns >= step_ns - _STEP_NS
            past = bus_ns - self._offset_ns <= now_ns + _EARLY_NS
            if in_order and past and not leapt and now_ns - self._stepped_ns < _LONGEST_WAIT_NS:
                return
        self._offset_ns, self._stepped_ns = offset_ns, None
