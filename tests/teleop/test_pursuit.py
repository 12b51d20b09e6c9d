"""The motion law: it runs after its target, and no step, speed change or end is beyond a limit."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.records import Float64
from mvista_teleop.pursuit import Pursuit
from tests.teleop.operator import ARM, JOINTS

MIDDLE, SPAN = 0.5 * (ARM.lower + ARM.upper), ARM.upper - ARM.lower
RELATIVE = 1e-6


def divided(times: Float64, rows: Float64) -> list[Float64]:
    """Mean velocity, acceleration and jerk: n! times the divided differences."""
    d = np.diff(times)[:, None]
    v = np.diff(rows, axis=0) / d
    a = 2.0 * np.diff(v, axis=0) / (d[1:] + d[:-1])
    return [v, a, 3.0 * np.diff(a, axis=0) / (d[2:] + d[1:-1] + d[:-2])]


def test_a_target_that_moves_within_the_limits_is_met_exactly() -> None:
    pursuit, rng, now = Pursuit(ARM), np.random.default_rng(1), 0.0
    rate = np.linspace(0.6, 1.2, JOINTS)

    def target(at: float) -> tuple[Float64, Float64]:
        swing = 0.2 * SPAN
        return MIDDLE + swing * np.sin(rate * at), swing * rate * np.cos(rate * at)

    pursuit.start(target(0.0)[0])
    away = []
    for _ in range(1200):
        step = float(rng.uniform(0.002, 0.009))
        now += step
        away.append(
            np.abs(pursuit.toward(*target(now), step, ARM.max_velocity).positions - target(now)[0])
        )
    assert np.max(away[600:]) < 5e-4


@pytest.mark.parametrize("seed", range(6))
def test_wild_targets_are_pursued_within_every_limit(seed: int) -> None:
    rng, pursuit, now = np.random.default_rng(seed), Pursuit(ARM), 0.0
    pursuit.start(ARM.lower + SPAN * rng.uniform(0, 1, JOINTS))
    times, rows = [now], [pursuit.state.positions]
    target, speeds = ARM.home, np.zeros(JOINTS)
    for index in range(500):
        if index % 40 == 0:  # also at the very limits, at full speed outwards
            target = np.clip(
                ARM.lower + SPAN * rng.uniform(-0.3, 1.3, JOINTS), ARM.lower, ARM.upper
            )
            speeds = rng.choice([-1.0, 0.0, 1.0], JOINTS) * ARM.max_velocity
        step = float(rng.uniform(0.001, 0.02))
        now += step
        stopping = index % 100 > 80
        state = (
            pursuit.brake(step)
            if stopping
            else pursuit.toward(target, speeds, step, ARM.max_velocity)
        )
        times.append(now)
        rows.append(state.positions)
    sent = np.array(rows)
    assert (sent >= ARM.lower).all() and (sent <= ARM.upper).all()
    found = divided(np.array(times), sent)
    for order, (values, allowed) in enumerate(
        zip(found, (ARM.max_velocity, ARM.max_acceleration, ARM.max_jerk), strict=True), 1
    ):
        noise = 1e-9 / 0.001**order
        assert (np.abs(values) <= allowed * (1 + RELATIVE) + noise).all(), order
    assert np.abs(found[0]).max() > 0.5 * ARM.max_velocity.min()


def test_a_limit_below_the_arms_own_is_kept_too() -> None:
    pursuit, slow = Pursuit(ARM), np.full(JOINTS, 0.05)
    pursuit.start(ARM.home)
    fastest = [
        np.abs(pursuit.toward(ARM.upper, np.zeros(JOINTS), 0.005, slow).velocities).max()
        for _ in range(200)
    ]
    assert 0.9 * 0.05 < max(fastest) <= 0.05


def test_a_stop_comes_to_rest_and_stays() -> None:
    pursuit = Pursuit(ARM)
    pursuit.start(ARM.home)
    for _ in range(60):
        pursuit.toward(MIDDLE, np.zeros(JOINTS), 0.005, ARM.max_velocity)
    assert not pursuit.state.rests
    for _ in range(400):
        pursuit.brake(0.005)
        if pursuit.state.rests:
            break
    at = pursuit.state.positions
    assert pursuit.state.rests
    np.testing.assert_array_equal(pursuit.brake(0.005).positions, at)
