"""A hand that leads an arm through a scripted expert's motion, as people do: not alike, not even.

Pure. Drawn for each demonstration: the expert's `MotionStyle`, a tempo, pauses in which the hand
thinks, a mistake that is taken back, and a tremor (8 to 12 Hz, as a healthy hand's physiological
tremor) of less than a millimetre at the tip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from mvista_core.arm import ArmModel
from mvista_core.errors import LeaderError, MvistaError
from mvista_core.records import ActionTrajectory, Float64, JointState
from mvista_core.timing import ns_to_seconds

RATE_HZ = 200.0
_SMOOTH_S = 0.08
_APPROACH_S = 2.0


@dataclass(frozen=True)
class HandManner:
    """How a hand departs from the expert's curve: `tempo` x as fast, `pauses` (when on the curve,
    how long, s), a `mistake` (when, rad per joint [6], how long), tremor's size in rad."""

    tempo: float = 1.0
    pauses: tuple[tuple[float, float], ...] = ()
    mistake: tuple[float, tuple[float, ...], float] | None = None
    tremor_rad: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator, duration_s: float) -> HandManner:
        """One demonstration's; every third has a mistake."""
        times = rng.uniform(0.1, 0.9, int(rng.integers(0, 3))) * duration_s
        pauses = tuple((float(at), float(rng.uniform(0.2, 0.8))) for at in sorted(times))
        mistake = None
        if rng.random() < 1 / 3:
            away = rng.uniform(-0.12, 0.12, 6)
            at = float(rng.uniform(0.15, 0.4) * duration_s)
            mistake = at, tuple(away.tolist()), float(rng.uniform(0.8, 1.5))
        tempo, tremor = float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.0002, 0.0008))
        return cls(tempo, pauses, mistake, tremor)


def demonstration(
    actions: ActionTrajectory,
    start: Float64,
    manner: HandManner,
    arm: ArmModel,
    rng: np.random.Generator,
) -> Float64:
    """Positions [N, J] at 200 Hz, from rest at `start` [J] to rest at the expert's last action."""
    times_s = np.concatenate([[0.0], actions.times_s])
    curve = PchipInterpolator(times_s, np.vstack([start, actions.positions]))
    where_s = _pace(float(times_s[-1]), manner)
    rows = np.asarray(curve(where_s))
    if manner.mistake is not None:
        at_s, away, lasts_s = manner.mistake
        share = np.clip((where_s - at_s) / lasts_s, 0.0, 1.0)
        rows[:, : len(away)] += np.sin(np.pi * share)[:, None] ** 2 * np.array(away)
    rows[:, :6] += _tremor(len(rows), manner.tremor_rad, rng)
    smooth = gaussian_filter1d(rows, 0.02 * RATE_HZ, axis=0, mode="nearest")
    return np.clip(smooth, arm.lower, arm.upper)


def _pace(duration_s: float, manner: HandManner) -> Float64:
    """Where on the curve (s) the hand is at each period: slower, and standing in its pauses."""
    pace = np.full(round(RATE_HZ * duration_s / manner.tempo), manner.tempo / RATE_HZ)
    for at_s, lasts_s in reversed(manner.pauses):
        index = int(np.searchsorted(np.cumsum(pace), at_s))
        pace = np.insert(pace, index, np.zeros(round(RATE_HZ * lasts_s)))
    pace = gaussian_filter1d(pace, _SMOOTH_S * RATE_HZ, mode="constant")
    # What the ends lost is given back, and the hand then stands for a moment.
    where_s = np.cumsum(pace) * (duration_s / pace.sum())
    return np.concatenate([where_s, np.full(round(0.3 * RATE_HZ), duration_s)])


def _tremor(count: int, size_rad: float, rng: np.random.Generator) -> Float64:
    """Noise between 8 and 12 Hz [N, 6] that fades out at both ends."""
    noise = rng.standard_normal((count, 6))
    band = gaussian_filter1d(noise, 2.0, axis=0) - gaussian_filter1d(noise, 4.0, axis=0)
    fade = np.clip(np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.5 * RATE_HZ), 0, 1)
    return np.asarray(size_rad * band / max(float(band.std()), 1e-9) * fade[:, None])


class SimulatedLeader:
    """The `Leader` port without an arm: at rest it says nothing, as an arm does."""

    def __init__(self, names: tuple[str, ...], at: Float64) -> None:
        self._names, self._at = names, at
        self._rows: Float64 | None = None
        self._began_ns = 0
        self._pose: JointState | None = None

    @property
    def moving(self) -> bool:
        """Whether a motion is under way."""
        return self._rows is not None

    def approach(self, target: Float64, now_ns: int) -> None:
        """Begin to bring the arm to a pose [J], smoothly, within two seconds."""
        share = np.linspace(0.0, 1.0, round(_APPROACH_S * RATE_HZ))[:, None]
        smooth = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
        self.perform(self._at + smooth * (target - self._at), now_ns)

    def perform(self, rows: Float64, now_ns: int) -> None:
        """Begin a motion: positions [N, J] at 200 Hz."""
        self._rows, self._began_ns = rows, now_ns

    def step(self, now_ns: int, stamp_ns: int) -> JointState | None:
        """The pose to tell now; None: the hand rests."""
        rows = self._rows
        if rows is None:
            return None
        index = int(ns_to_seconds(now_ns - self._began_ns) * RATE_HZ)
        if index >= len(rows) - 1:
            self._rows, index = None, len(rows) - 1
        before = rows[max(index - 1, 0)]
        speeds = (rows[index] - before) * (RATE_HZ if self.moving else 0.0)
        self._at = rows[index]
        self._pose = JointState(self._names, self._at, speeds, stamp_ns)
        return self._pose

    def pose(self) -> JointState | None:
        """Where it stood when it last said so."""
        return self._pose

    def trouble(self) -> MvistaError | None:
        """See the port: unknown until it moves."""
        if self._pose is None:
            return LeaderError(
                "the leader's pose is unknown until it is moved: move the leader a little"
            )
        return None
