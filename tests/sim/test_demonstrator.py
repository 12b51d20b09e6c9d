"""The simulated hand: from rest to rest, within limits and a leader's speeds, never twice alike."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_bringup.paths import config_file
from mvista_core.arm import load_arm
from mvista_core.errors import LeaderError
from mvista_core.records import ActionTrajectory, Float64, Provenance
from mvista_core.timing import seconds_to_ns
from mvista_sim.demonstrator import RATE_HZ, HandManner, SimulatedLeader, demonstration

ARM = load_arm(config_file("arms", "piper.yaml"))
TIMES: Float64 = np.linspace(0.1, 6.0, 60)
AWAY = np.array([0.6, 0.3, -0.4, 0.2, 0.1, 0.5, 0.05])
WAY = ARM.home + np.sin(np.linspace(0, 1.2, 60))[:, None] * AWAY
ACTIONS = ActionTrajectory(ARM.joint_names, WAY, TIMES, Provenance("expert", "", 0))


def drawn(seed: int) -> tuple[HandManner, np.ndarray]:
    rng = np.random.default_rng(seed)
    manner = HandManner.drawn(rng, float(TIMES[-1]))
    return manner, demonstration(ACTIONS, ARM.home, manner, ARM, rng)


@pytest.mark.parametrize("seed", range(8))
def test_it_goes_from_rest_to_rest_by_the_experts_way_within_the_limits(seed: int) -> None:
    manner, rows = drawn(seed)
    assert (rows >= ARM.lower).all() and (rows <= ARM.upper).all()
    np.testing.assert_allclose(rows[0], ARM.home, atol=5e-3)
    np.testing.assert_allclose(rows[-1], WAY[-1], atol=5e-3)
    speeds = np.diff(rows, axis=0) * RATE_HZ
    assert (np.abs(speeds) < ARM.max_velocity).all()
    assert np.abs(speeds[-5:]).max() < 0.05, "it ends at rest"
    pauses_s = sum(lasts_s for _, lasts_s in manner.pauses)
    assert len(rows) / RATE_HZ == pytest.approx(TIMES[-1] / manner.tempo + pauses_s + 0.3, abs=0.05)


def test_no_two_are_alike_and_each_is_repeatable() -> None:
    lengths = {len(drawn(seed)[1]) for seed in range(8)}
    assert len(lengths) > 5
    np.testing.assert_array_equal(drawn(3)[1], drawn(3)[1])
    assert any(drawn(seed)[0].mistake for seed in range(12))


def test_a_mistake_is_taken_back() -> None:
    away = (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
    rng = np.random.default_rng(0)
    plain = demonstration(ACTIONS, ARM.home, HandManner(), ARM, rng)
    wrong = demonstration(ACTIONS, ARM.home, HandManner(mistake=(2.0, away, 1.0)), ARM, rng)
    assert np.abs(wrong - plain)[:, 0].max() == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(wrong[-1], plain[-1], atol=1e-6)


def test_a_leader_at_rest_says_nothing_and_before_it_moved_nobody_knows_where_it_is() -> None:
    leader = SimulatedLeader(ARM.joint_names, ARM.home)
    assert isinstance(leader.trouble(), LeaderError) and leader.step(0, 0) is None
    leader.approach(WAY[-1], 0)
    told = [leader.step(seconds_to_ns(k * 0.005), k) for k in range(600)]
    heard = [pose for pose in told if pose is not None]
    assert len(heard) == 400 and leader.trouble() is None and not leader.moving
    np.testing.assert_allclose(heard[-1].positions, WAY[-1], atol=1e-9)
    assert not heard[-1].velocities.any(), "the last word of a leader that rests has no speed"
    assert np.abs(np.diff([pose.positions for pose in heard], axis=0)).max() < 0.02
