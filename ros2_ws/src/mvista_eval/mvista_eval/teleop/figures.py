"""What the set-points on both buses and the commands between them say. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S
from mvista_eval.statistics import Quantiles

PERIOD_S = 0.005
MOVING_GAP_S = 0.05
"""Set-points of the leader closer than this belong to one motion."""
LATEST_NS = NS_PER_S // 5
"""A command that is older when its set-point is on the bus was another."""
_WIRE_RAD = np.deg2rad(0.001)
Stamps = NDArray[np.int64]


@dataclass(frozen=True)
class HeardCommand:
    """One `joint_command`: the joints [6] as they are rounded on the wire, its stamp, and that of
    the leader's pose it was made from (ns)."""

    millidegrees: tuple[int, ...]
    stamp_ns: int
    leader_ns: int


@dataclass(frozen=True)
class TeleopFigures:
    """Of the time the leader moved, and of steps at all times."""

    latency_ms: Quantiles
    unknown_share: float
    """Of the set-points that can be traced, those that did not come within 0.2 s."""
    leader_set_points: int
    follower_set_points: int
    moving_s: float
    rate_error: float
    """How far set-points per second are from 200 while the leader moves, relative."""
    worst_second: float
    """The same of the worst whole second."""
    steps_over: int
    """Steps over speed limit x time between them (a period at least)."""
    largest_step_share: float


def millidegrees(joints_rad: Float64) -> list[tuple[int, ...]]:
    """Joints [N, 6] as the wire has them."""
    return [tuple(row) for row in np.rint(np.rad2deg(joints_rad) * 1000.0).astype(int).tolist()]


def latencies_ms(
    commands: list[HeardCommand], stamps_ns: list[int], joints_rad: Float64
) -> list[float]:
    """From a leader's 0x157 to the first 0x157 on the follower's bus that was made from it.

    A command is found on the bus by its joints.
    """
    traced = traceable(commands)
    firsts: dict[tuple[int, ...], HeardCommand] = {}
    waiting = iter(traced)
    command = next(waiting, None)
    found = []
    for stamp_ns, key in zip(stamps_ns, millidegrees(joints_rad), strict=True):
        while command is not None and command.stamp_ns <= stamp_ns:
            firsts[command.millidegrees] = command
            command = next(waiting, None)
        made_from = firsts.pop(key, None)
        # The same pose may come again, seconds later.
        if made_from is not None and stamp_ns - made_from.stamp_ns < LATEST_NS:
            found.append((stamp_ns - made_from.leader_ns) * 1e-6)
    return found


def traceable(commands: list[HeardCommand]) -> list[HeardCommand]:
    """The first command of each pose of the leader, if it is another set-point than the one before:
    where a hand is about to rest, some are not."""
    return [
        after
        for before, after in itertools.pairwise(commands)
        if after.leader_ns != before.leader_ns and after.millidegrees != before.millidegrees
    ]


def motions(stamps_ns: Stamps) -> list[tuple[int, int]]:
    """When the leader moved: first and last stamp of each run of set-points."""
    breaks = np.flatnonzero(np.diff(stamps_ns) > MOVING_GAP_S * NS_PER_S)
    firsts = [0, *(breaks + 1)]
    lasts = [*breaks, len(stamps_ns) - 1]
    return [(int(stamps_ns[a]), int(stamps_ns[b])) for a, b in zip(firsts, lasts, strict=True)]


def rates(stamps_ns: Stamps, within: list[tuple[int, int]]) -> tuple[float, float, float, int]:
    """(seconds, relative error of 200 a second, that of the worst whole second, set-points)."""
    count, seconds, worst = 0, 0.0, 0.0
    for first, last in within:
        begin, end = np.searchsorted(stamps_ns, [first, last])
        count, seconds = count + int(end - begin), seconds + (last - first) / NS_PER_S
        edges = np.arange(first, last, NS_PER_S)
        counts = np.diff(np.searchsorted(stamps_ns, edges))
        if len(counts):
            worst = max(worst, float(np.abs(counts * PERIOD_S - 1.0).max()))
    return seconds, abs(count * PERIOD_S / max(seconds, 1e-9) - 1.0), worst, count


def step_shares(stamps_ns: Stamps, joints_rad: Float64, max_velocity: Float64) -> Float64:
    """Each step's largest share [N-1] of what the speed limit allows in its time."""
    elapsed_s = np.maximum(np.diff(stamps_ns) / NS_PER_S, PERIOD_S)
    allowed = max_velocity[:6] * elapsed_s[:, None] + _WIRE_RAD
    return np.asarray((np.abs(np.diff(joints_rad, axis=0)) / allowed).max(axis=1))


def figures_of(
    leader: tuple[Stamps, Float64],
    follower: tuple[Stamps, Float64],
    commands: list[HeardCommand],
    max_velocity: Float64,
) -> TeleopFigures:
    """Of both buses (stamps [N] in ns, joints [N, 6]) and the commands between them."""
    moved = motions(leader[0]) if len(leader[0]) else []
    moving_s, rate_error, worst, sent = rates(follower[0], moved)
    shares = step_shares(*follower, max_velocity)
    latency = np.array(latencies_ms(commands, follower[0].tolist(), follower[1]))
    return TeleopFigures(
        Quantiles.of(latency),
        1.0 - len(latency) / max(len(traceable(commands)), 1),
        len(leader[0]),
        sent,
        moving_s,
        rate_error,
        worst,
        int((shares > 1.0).sum()),
        float(shares.max(initial=0.0)),
    )
