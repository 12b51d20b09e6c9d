"""The bench's figures on buses whose truth is known, and the hand that it plays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mvista_bringup.paths import config_file
from mvista_core.arm import load_arm
from mvista_core.records import Float64
from mvista_eval.teleop.figures import HeardCommand, figures_of, millidegrees
from mvista_eval.teleop.hand import PHASE_S, hand_motion

ARM = load_arm(config_file("arms", "piper.yaml"))
MS = 1_000_000
Bus = tuple[NDArray[np.int64], Float64]
Buses = tuple[Bus, Bus, list[HeardCommand]]


def buses(latency_ms: float, speed: float = 0.5, lost: slice = slice(0, 0)) -> Buses:
    """A leader that turns joint 1 for two seconds, and a follower that is so much later."""
    stamps = 10**18 + np.arange(400) * 5 * MS
    joints = np.zeros((400, 6))
    joints[:, 0] = speed * np.arange(400) * 0.005
    kept = np.delete(np.arange(400), lost)
    commands = [
        HeardCommand(key, int(at + MS), int(at))
        for at, key in zip(stamps, millidegrees(joints), strict=True)
    ]
    follower = (stamps + int(latency_ms * MS))[kept], joints[kept]
    return (stamps, joints), follower, commands


def test_latency_is_from_the_leaders_frame_to_the_one_made_from_it() -> None:
    found = figures_of(*buses(7.0), max_velocity=ARM.max_velocity)
    assert found.latency_ms.p50 == pytest.approx(7.0) and found.latency_ms.count == 399
    assert found.rate_error < 0.01 and found.steps_over == 0


def test_set_points_that_never_came_are_missed_in_the_rate_not_in_the_latency() -> None:
    found = figures_of(*buses(3.0, lost=slice(100, 140)), max_velocity=ARM.max_velocity)
    assert found.rate_error == pytest.approx(0.1, abs=0.01)
    assert found.latency_ms.count == 359 and found.unknown_share == pytest.approx(0.1, abs=0.01)
    assert found.latency_ms.largest == pytest.approx(3.0)
    assert found.worst_second > 0.15


def test_a_step_over_limit_x_time_is_counted() -> None:
    leader, follower, commands = buses(3.0)
    follower[1][200:, 0] += 0.2
    found = figures_of(leader, follower, commands, ARM.max_velocity)
    assert found.steps_over == 1 and found.largest_step_share > 10


def test_a_repeated_pose_is_not_taken_for_a_late_one() -> None:
    leader, follower, commands = buses(3.0, speed=0.0)
    found = figures_of(leader, follower, commands, ARM.max_velocity)
    assert found.latency_ms.count == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_hand_moves_half_of_the_time_within_a_persons_speed(seed: int) -> None:
    motion = hand_motion(ARM, 4 * PHASE_S, seed)
    assert (motion.rows >= ARM.lower).all() and (motion.rows <= ARM.upper).all()
    assert motion.times_s[-1] == 4 * PHASE_S
    speeds = np.diff(motion.rows, axis=0) / np.diff(motion.times_s)[:, None]
    assert (np.abs(speeds) < 0.6 * ARM.max_velocity).all()
    resting = (np.abs(speeds) < 1e-9).all(axis=1)
    assert np.diff(motion.times_s)[resting].sum() == pytest.approx(2 * PHASE_S, rel=0.05)
