"""The law of teleoperation: whatever operator, leader and wires do, the follower never jumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from mvista_core.timing import seconds_to_ns
from mvista_teleop.coupling import CouplingPhase
from tests.teleop.operator import (
    ARM,
    JOINTS,
    PLAIN,
    REVERSED,
    Desk,
    assert_never_a_jump,
    plain_mapping,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEQUENCES = 1000
EVENTS = 7
SPAN = ARM.upper - ARM.lower


def some_event(desk: Desk, rng: np.random.Generator) -> None:
    """Something an operator, a hand, or a cable does."""
    coupling = desk.coupling

    def moved() -> None:
        """The leader is moved while nobody listens: anywhere, also beyond the limits."""
        desk.leader = ARM.lower + SPAN * rng.uniform(-0.2, 1.2, JOINTS)

    def nearly_back() -> None:
        desk.leader = desk.follower + rng.uniform(-0.4, 0.4, JOINTS) * SPAN / np.abs(SPAN).max()

    def hurried() -> None:
        desk.speeds = rng.uniform(-1.5, 1.5, JOINTS) * ARM.max_velocity

    def rested() -> None:
        desk.speeds = np.zeros(JOINTS)

    def cut() -> None:
        desk.leader_sends = not desk.leader_sends

    def unplugged() -> None:
        if desk.leader_answers:
            desk.unplug_leader()
        else:
            desk.leader_answers = True

    def deaf() -> None:
        desk.follower_answers = not desk.follower_answers

    def stalled() -> None:
        """The process is not run for a while: the follower stands at the last set-point."""
        desk.now_ns += seconds_to_ns(float(rng.uniform(0.01, 0.08)))

    events: list[tuple[float, Callable[[], object]]] = [
        (4.0, desk.engage),
        (2.0, desk.pause),
        (4.0, desk.resume),
        (3.0, lambda: desk.clutch(not coupling.clutched)),
        (1.0, moved),
        (3.0, nearly_back),
        (4.0, hurried),
        (2.0, rested),
        (0.5, cut),
        (0.5, unplugged),
        (0.3, deaf),
        (1.0, stalled),
    ]
    weights = np.array([weight for weight, _ in events])
    events[rng.choice(len(events), p=weights / weights.sum())][1]()


def sequence(seed: int) -> Desk:
    rng = np.random.default_rng(seed)
    desk = Desk(plain_mapping(REVERSED if seed % 3 == 0 else PLAIN))
    desk.follower = ARM.lower + SPAN * rng.uniform(0.0, 1.0, JOINTS)
    desk.leader = np.clip(
        desk.follower + rng.uniform(-0.1, 0.1, JOINTS), ARM.lower - 0.05, ARM.upper + 0.05
    )
    desk.run(0.01)
    desk.engage()
    for _ in range(EVENTS):
        some_event(desk, rng)
        for _ in range(int(rng.integers(2, 22))):
            desk.tick(float(rng.uniform(0.002, 0.012)))
    return desk


def test_a_thousand_random_sequences_never_jump() -> None:
    phases: Counter[CouplingPhase] = Counter()
    sent = 0
    for seed in range(SEQUENCES):
        desk = sequence(seed)
        try:
            assert_never_a_jump(desk)
        except AssertionError as error:
            raise AssertionError(f"sequence {seed}") from error
        phases[desk.phase()] += 1
        sent += len(desk.sent)
    # They must have been somewhere: a coupling that refuses everything would pass as well.
    assert sent > 20 * SEQUENCES
    assert set(phases) >= {
        CouplingPhase.RAMPING,
        CouplingPhase.FOLLOWING,
        CouplingPhase.PAUSED,
        CouplingPhase.LOST,
    }
