"""Capture times: from a device's own clock to the host's wall clock.

Never the time of arrival: transfer delays vary by 40-60 ms, more than half a period. The device
clock is laid along the host's *monotonic* clock by the fastest arrivals, so a step of the wall
clock (NTP) shifts the stamps at once and by exactly that step, and bends nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S, seconds_to_ns

NS_PER_US = 1000
BUCKET_NS = NS_PER_S
BUCKETS = 60
"""Fastest arrival of each second, for a minute: enough to see a drift of a few ppm."""
# Below this the line stays level: a slope over fewer seconds is that of the jitter.
BUCKETS_FOR_DRIFT = 5
MAX_DRIFT = 500e-6
"""Crystals stray by less than 100 ppm, and clock discipline slews a host's by as much as this."""
# Two halves of ten seconds, which have to agree (`_straying`).
BUCKETS_FOR_FAULT = 20
SETTLED_US = 1_000_000
STEP_NS = 100_000_000
"""An image that is earlier than possible by more: the device's clock was set forward."""
LATE_IMAGES = 15
"""Later than that so many times in a row: set back while no image came. Fewer: held up."""
# `read_clocks` may have been held up each time: a small difference is no step.
WALL_STEP_NS = 50_000_000
MAX_LATENCY_NS = 300_000_000
LATENCY_IMAGES = 150


@dataclass(frozen=True)
class Reading:
    """An image: its time on the device's clock, and the host's two clocks when it arrived.

    `global_us` is the SDK's own estimate of the capture on the wall clock, 0 for none.
    """

    device_us: int
    monotonic_ns: int
    wall_ns: int
    global_us: int = 0


class StampMap:
    """Feed every image's reading; get its capture time.

    The fastest arrival is still later than the capture by exposure, readout and transfer. That
    latency is the median of what the SDK's global stamps say while they are plausible (0 to 0.3 s
    before the arrival), else `latency_s`.
    """

    def __init__(self, latency_s: float) -> None:
        self._configured_ns = seconds_to_ns(latency_s)
        self._latencies_ns: deque[int] = deque(maxlen=LATENCY_IMAGES)
        self._history: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        self._strayed_ppm = 0.0
        self._wall_offset_ns: int | None = None
        self.device_steps = 0
        self.wall_steps = 0
        self.last_wall_step_s = 0.0
        self.restart()

    def restart(self) -> None:
        """Forget the device's clock: it was opened anew. What was learned of the latency stays,
        unless by a clock that strayed."""
        if self.fault:
            self._latencies_ns.clear()
        self._history.clear()
        self._strayed_ppm = 0.0
        self._begin()

    def _begin(self) -> None:
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)
        self._bucket_start_us = 0
        self._line = (0, 0.0, 0.0)
        self._residual_ns = 0
        self._first_us: int | None = None
        self._newest_us: int | None = None
        self._late = 0
        self._by_sdk = False

    @property
    def settled(self) -> bool:
        """Whether the newest stamp can be trusted: it is the SDK's, or fast arrivals are known.

        A first image may have been held up by as much as all jitter; a second of them was not.
        """
        return self._by_sdk or self._known_us() >= SETTLED_US

    @property
    def fault(self) -> str:
        """Why no stamp can be trusted, in words; "" where they can: the fit does not converge."""
        if not self._strayed_ppm:
            return ""
        return (
            f"the camera's clock strays from this machine's by {abs(self._strayed_ppm):.0f} ppm, "
            f"allowed are {MAX_DRIFT * 1e6:.0f}"
        )

    @property
    def residual_ns(self) -> int:
        """How far the fastest arrivals of the last minute lie from the line, in the middle."""
        return self._residual_ns

    @property
    def latency_s(self) -> float:
        """Time from capture to the fastest arrival, as used now."""
        return self._latency_ns() / NS_PER_S

    @property
    def drift_ppm(self) -> float:
        """How much faster the host's clock runs than the device's."""
        return self._line[1] * 1e6

    def stamp(self, reading: Reading) -> int:
        """Capture time, ns of wall time."""
        self._watch_wall_clock(reading)
        delay_ns = reading.monotonic_ns - reading.device_us * NS_PER_US
        if self._device_was_set(reading.device_us, delay_ns):
            if self._newest_us is not None and reading.device_us <= self._newest_us:
                self._history.clear()
            # What strays fast enough looks like steps: its history goes on through them.
            self._begin()
            self.device_steps += 1
        self._newest_us = reading.device_us
        self._first_us = reading.device_us if self._first_us is None else self._first_us
        # One that was held up could open a second and stand there as its fastest.
        if not self._late:
            self._keep(reading.device_us, delay_ns)
        captured_ns = reading.device_us * NS_PER_US + self._arrival_delay_ns(reading.device_us)
        plausible = self._watch_latency(reading, captured_ns)
        wall_offset_ns = reading.wall_ns - reading.monotonic_ns
        # For the first second only: after a step of the host's clock the SDK's fit stays behind.
        self._by_sdk = plausible and self._known_us() < SETTLED_US
        if self._by_sdk:
            return reading.global_us * NS_PER_US
        return captured_ns - self._latency_ns() + wall_offset_ns

    def _device_was_set(self, device_us: int, delay_ns: int) -> bool:
        """Whether the device's clock jumped. An image that was only held up does not say so."""
        if self._newest_us is None:
            return False
        off_ns = delay_ns - self._arrival_delay_ns(device_us)
        self._late = self._late + 1 if off_ns > STEP_NS else 0
        return device_us <= self._newest_us or off_ns < -STEP_NS or self._late >= LATE_IMAGES

    def _keep(self, device_us: int, delay_ns: int) -> None:
        new = not self._buckets or device_us - self._bucket_start_us >= BUCKET_NS // NS_PER_US
        if new:
            if self._buckets:
                # Only a second that is over: to the newest a faster arrival may still come.
                self._history.append(self._buckets[-1])
                self._strayed_ppm = self._straying() * 1e6
            self._bucket_start_us = device_us
            self._buckets.append((device_us, delay_ns))
        elif delay_ns < self._buckets[-1][1]:
            self._buckets[-1] = (device_us, delay_ns)
        else:
            return
        self._line = self._fit()

    def _arrival_delay_ns(self, device_us: int) -> int:
        """Host monotonic minus device clock at `device_us`, for the fastest arrivals."""
        origin_us, slope, offset_ns = self._line
        return round(offset_ns + slope * (device_us - origin_us) * NS_PER_US)

    def _straying(self) -> float:
        """By how much too fast the delays grow in *both* halves of what is known; 0: they do not.

        One half alone may be a machine that was busy and is so no longer.
        """
        if len(self._history) < BUCKETS_FOR_FAULT:
            return 0.0
        half = len(self._history) // 2
        t, d = _relative(self._history)
        older, newer = _theil_sen(t[:half], d[:half]), _theil_sen(t[half:], d[half:])
        if min(older, newer) > MAX_DRIFT or max(older, newer) < -MAX_DRIFT:
            return min(older, newer, key=abs)
        return 0.0

    def _known_us(self) -> int:
        """Device time for which this clock has been known."""
        if self._first_us is None or self._newest_us is None:
            return 0
        return self._newest_us - self._first_us

    def _fit(self) -> tuple[int, float, float]:
        """Line under the fastest arrivals: (origin in device us, slope, delay at the origin)."""
        origin_us, base_ns = self._buckets[-1]
        t, d = _relative(self._buckets)
        slope = 0.0
        if len(t) >= BUCKETS_FOR_DRIFT:
            # Bounded: a machine that becomes less busy looks like a clock that strays far more.
            slope = min(max(_theil_sen(t, d), -MAX_DRIFT), MAX_DRIFT)
        # The fastest of the last seconds, carried along the drift.
        above = d - slope * t
        self._residual_ns = round(float(np.median(above - above.min())))
        return origin_us, slope, base_ns + float(above.min())

    def _latency_ns(self) -> int:
        if not self._latencies_ns:
            return self._configured_ns
        return int(np.median(self._latencies_ns))

    def _watch_latency(self, reading: Reading, captured_ns: int) -> bool:
        """Whether the SDK's stamp of this image can be."""
        if not reading.global_us:
            return False
        wall_ns = captured_ns + reading.wall_ns - reading.monotonic_ns
        latency_ns = wall_ns - reading.global_us * NS_PER_US
        if 0 <= latency_ns <= MAX_LATENCY_NS:
            self._latencies_ns.append(latency_ns)
        return 0 <= latency_ns <= MAX_LATENCY_NS

    def _watch_wall_clock(self, reading: Reading) -> None:
        offset_ns = reading.wall_ns - reading.monotonic_ns
        before_ns, self._wall_offset_ns = self._wall_offset_ns, offset_ns
        if before_ns is not None and abs(offset_ns - before_ns) > WALL_STEP_NS:
            self.wall_steps += 1
            self.last_wall_step_s = (offset_ns - before_ns) / NS_PER_S


def _relative(arrivals: deque[tuple[int, int]]) -> tuple[Float64, Float64]:
    """Times on the device's clock and delays, ns, from those of the newest."""
    origin_us, base_ns = arrivals[-1]
    t = [(us - origin_us) * NS_PER_US for us, _ in arrivals]
    d = [delay_ns - base_ns for _, delay_ns in arrivals]
    return np.array(t, dtype=np.float64), np.array(d, dtype=np.float64)


def _theil_sen(t: Float64, d: Float64) -> float:
    """Slope of d over t: a second in which everything was held up does not bend the line."""
    i, j = np.triu_indices(len(t), 1)
    return float(np.median((d[j] - d[i]) / (t[j] - t[i])))
