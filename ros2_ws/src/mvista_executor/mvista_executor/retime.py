"""Stage 4a: when each place on the curve is reached. Starts and ends at rest; slower if need be.

The curve is never bent: only time along it changes. The rate of curve time rises from 0 to
1/stretch over a ramp, stays, and falls to 0, so the arm leaves and arrives at rest whatever the
points' own velocities. A curve that a splice leads on to has no first ramp. `stretch` is the
uniform factor by which a trajectory that asks for more than the arm can do is slowed, before
anything moves and stated in the report.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PPoly

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import Float64
from mvista_executor.interpolate import peaks
from mvista_executor.motion import MotionState

_SHORTEST_RAMP_S = 0.02
_RAMP_GROWTH = 1.15
_STRETCH_GROWTH = 1.03
_SAMPLES_PER_RAMP = 200
# Ramps are judged at samples: room for what lies between two of them.
_RAMP_SHARE = 0.98
_REASONS = (
    TrajectoryError.VELOCITY_LIMIT,
    TrajectoryError.ACCELERATION_LIMIT,
    TrajectoryError.JERK_LIMIT,
)


@dataclass(frozen=True)
class TimeLaw:
    """Curve time as a function of time: smoothstep up to rate 1/stretch, steady, and down to 0."""

    begin_s: float
    end_s: float
    stretch: float
    ramp_up_s: float
    ramp_down_s: float

    @property
    def duration_s(self) -> float:
        """Seconds from rest to rest."""
        return (self.end_s - self.begin_s) * self.stretch + 0.5 * (
            self.ramp_up_s + self.ramp_down_s
        )

    def at_one(self, time_s: float) -> tuple[float, float, float]:
        """`at` for one time, without arrays: for the stream."""
        rate = 1.0 / self.stretch
        time_s = min(max(time_s, 0.0), self.duration_s)
        left_s = self.duration_s - time_s
        if time_s < self.ramp_up_s:
            u = time_s / self.ramp_up_s
            run = self.ramp_up_s * u**3 * (1.0 - 0.5 * u)
            push = 6.0 * u * (1.0 - u) / self.ramp_up_s
            return self.begin_s + rate * run, rate * u**2 * (3.0 - 2.0 * u), rate * push
        if left_s < self.ramp_down_s:
            u = left_s / self.ramp_down_s
            run = self.ramp_down_s * u**3 * (1.0 - 0.5 * u)
            push = 6.0 * u * (1.0 - u) / self.ramp_down_s
            return self.end_s - rate * run, rate * u**2 * (3.0 - 2.0 * u), -rate * push
        return self.begin_s + rate * (time_s - 0.5 * self.ramp_up_s), rate, 0.0

    def at(self, times_s: Float64) -> tuple[Float64, Float64, Float64]:
        """Curve time and its first and second derivative at times_s [N]."""
        times_s = np.clip(times_s, 0.0, self.duration_s)
        left_s = self.duration_s - times_s
        rising = times_s < self.ramp_up_s
        falling = (left_s < self.ramp_down_s) & ~rising
        up = _ramp(np.minimum(times_s, self.ramp_up_s), self.ramp_up_s)
        down = _ramp(np.minimum(left_s, self.ramp_down_s), self.ramp_down_s)
        rate = 1.0 / self.stretch
        place = np.where(
            falling,
            self.end_s - rate * down[0],
            self.begin_s + rate * (up[0] + np.maximum(times_s - self.ramp_up_s, 0.0)),
        )
        speed = np.where(falling, rate * down[1], rate * up[1])
        acceleration = np.where(rising, rate * up[2], np.where(falling, -rate * down[2], 0.0))
        return np.clip(place, self.begin_s, self.end_s), speed, acceleration


@dataclass(frozen=True)
class TimedCurve:
    """A curve [J] driven by a time law: a motion from rest to rest through every point."""

    curve: PPoly
    law: TimeLaw

    @property
    def duration_s(self) -> float:
        """Seconds from rest to rest."""
        return self.law.duration_s

    def at(self, time_s: float) -> MotionState:
        """State [J] at `time_s` after the start."""
        place, speed, push = self.law.at_one(time_s)
        curve = self.curve
        # Horner's rule on one piece: PPoly's own call is slow for a single time.
        piece = min(max(int(curve.x.searchsorted(place, "right")) - 1, 0), len(curve.x) - 2)
        u = place - curve.x[piece]
        cubic, square, slope, value = curve.c[:, piece]
        first = (3.0 * u * cubic + 2.0 * square) * u + slope
        second = 6.0 * u * cubic + 2.0 * square
        # Chain rule for q(s(t)): q' = q_s s', q'' = q_s s'' + q_ss s'^2.
        return MotionState(
            ((u * cubic + square) * u + slope) * u + value,
            first * speed,
            first * push + second * speed**2,
        )

    def sampled(self, times_s: Float64) -> MotionState:
        """States [N, J] at times_s [N]."""
        place, speed, push = (column[..., None] for column in self.law.at(times_s))
        slope = self.curve(place[:, 0], 1)
        return MotionState(
            self.curve(place[:, 0]),
            slope * speed,
            slope * push + self.curve(place[:, 0], 2) * speed**2,
        )


def resumed(follow: TimedCurve, place_s: float, arm: ArmModel) -> TimedCurve | None:
    """The same curve at the same stretch, from rest at curve time `place_s`.

    None when what is left is too short to start and stop on.
    """
    law = _with_ramps(follow.curve, place_s, follow.law.stretch, arm)
    return None if law is None else TimedCurve(follow.curve, law)


def joined(follow: TimedCurve, place_s: float) -> TimedCurve | None:
    """The same curve from curve time `place_s` on, at its steady rate already.

    None when that lies in the last ramp. Where it begins its velocity is the curve's over stretch.
    """
    law = follow.law
    # A ramp of T seconds covers T / (2 stretch) of curve time.
    steady_until_s = law.end_s - 0.5 * law.ramp_down_s / law.stretch
    if not law.begin_s <= place_s < steady_until_s:
        return None
    return TimedCurve(follow.curve, TimeLaw(place_s, law.end_s, law.stretch, 0.0, law.ramp_down_s))


def timed(curve: PPoly, arm: ArmModel, settings: ExecutorSettings) -> TimedCurve:
    """The fastest law that keeps the curve's own timing where it can and the limits everywhere.

    Raises:
        TrajectoryError: `VELOCITY_LIMIT`, `ACCELERATION_LIMIT` or `JERK_LIMIT` when even
            `max_time_stretch` does not bring the curve within the limits; the message states the
            factor it would take.
    """
    share = settings.limit_fraction
    asked = peaks(curve)
    limits = (arm.max_velocity, arm.max_acceleration, arm.max_jerk)
    # Slowed k times, velocity falls k times, acceleration k^2 times, jerk k^3 times.
    shares = [a / (share * limit) for a, limit in zip(asked, limits, strict=True)]
    factors = np.stack([ratio ** (1.0 / order) for order, ratio in enumerate(shares, 1)])
    needed = max(1.0, float(factors.max()))
    stretch = needed
    while stretch <= settings.max_time_stretch:
        law = _with_ramps(curve, float(curve.x[0]), stretch, arm)
        if law is not None:
            return TimedCurve(curve, law)
        # A curve too short, or too bent at its ends, for ramps may have room for them when slower.
        stretch *= _STRETCH_GROWTH
    order, joint = np.unravel_index(int(np.argmax(factors)), factors.shape)
    unit = ("/s", "/s2", "/s3")[order]
    raise TrajectoryError(
        _REASONS[order],
        f"the curve asks {arm.joint_names[joint]} for {asked[order][joint]:.3f}{unit}, at most "
        f"{limits[order][joint]:.3f}{unit}; it would have to be slowed "
        f"{max(needed, stretch):.2f} times, at most {settings.max_time_stretch:.2f} "
        "(max_time_stretch) allowed",
    )


def _ramp(times_s: Float64, ramp_s: float) -> tuple[Float64, Float64, Float64]:
    """Integral, value and slope of the smoothstep; without a ramp the value is 1 throughout."""
    if ramp_s == 0.0:
        return np.zeros_like(times_s), np.ones_like(times_s), np.zeros_like(times_s)
    u = times_s / ramp_s
    return (
        ramp_s * u**3 * (1.0 - 0.5 * u),
        u**2 * (3.0 - 2.0 * u),
        6.0 * u * (1.0 - u) / ramp_s,
    )


def _with_ramps(curve: PPoly, begin_s: float, stretch: float, arm: ArmModel) -> TimeLaw | None:
    """The law with the shortest ramps that keep the limits, None if the curve is too short."""
    end_s = float(curve.x[-1])
    # Ramps of at most this length cannot overlap: the law lasts so long plus half of both.
    longest_s = (end_s - begin_s) * stretch
    ramps_s = []
    for origin_s, direction in ((begin_s, 1.0), (end_s, -1.0)):
        ramp_s = min(_SHORTEST_RAMP_S, longest_s)
        while not _ramp_fits(curve, origin_s, direction, ramp_s, stretch, arm):
            ramp_s *= _RAMP_GROWTH
            if not 0.0 < ramp_s <= longest_s:
                return None
        ramps_s.append(ramp_s)
    return TimeLaw(begin_s, end_s, stretch, *ramps_s)


def _ramp_fits(
    curve: PPoly, origin_s: float, direction: float, ramp_s: float, stretch: float, arm: ArmModel
) -> bool:
    """Whether acceleration and jerk keep the limits on a ramp; `direction` -1 is the last one."""
    if ramp_s <= 0.0:
        return False
    # No look at velocity: the rate never exceeds 1/stretch, which was chosen for it.
    times_s = np.linspace(0.0, ramp_s, _SAMPLES_PER_RAMP)
    run, rate, push = (column / stretch for column in _ramp(times_s, ramp_s))
    place = np.clip(origin_s + direction * run, curve.x[0], curve.x[-1])
    # The last ramp is a first one run backwards: s'' changes its sign, s' and s''' do not.
    rate, push = rate[:, None], direction * push[:, None]
    surge = 6.0 * (1.0 - 2.0 * times_s[:, None] / ramp_s) / (ramp_s**2 * stretch)
    slope, bend, twist = (curve(place, order) for order in (1, 2, 3))
    # Jerk by the chain rule: q_s s''' + 3 q_ss s' s'' + q_sss s'^3.
    acceleration = slope * push + bend * rate**2
    jerk = slope * surge + 3.0 * bend * rate * push + twist * rate**3
    return bool(
        (np.abs(acceleration) <= _RAMP_SHARE * arm.max_acceleration).all()
        and (np.abs(jerk) <= _RAMP_SHARE * arm.max_jerk).all()
    )
