"""Laws of the curve: through its points, C1, exact extremes, at rest at both ends, stretchable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import JointState
from mvista_executor.check import start_pose
from mvista_executor.interpolate import curve_through, extremes, peaks
from mvista_executor.motion import MotionState
from mvista_executor.moves import approach
from mvista_executor.plan import ExecutionPlan, prepare
from tests.executor.rig import smooth_points, trajectory_of

seeds = st.integers(0, 2**31 - 1)
few = run(max_examples=10, deadline=None, derandomize=True)


def _plan(arm: ArmModel, seed: int, settings: ExecutorSettings, gap: float = 0.0) -> ExecutionPlan:
    random = np.random.default_rng(seed)
    start = arm.home + random.uniform(-gap, gap, 7) * (np.arange(7) != 6)
    start = np.clip(start, arm.lower, arm.upper)
    points = smooth_points(arm, seed, reach=0.3)
    return prepare(trajectory_of(arm, points), MotionState.rest(start), arm, settings)


@few
@given(seed=seeds)
def test_curve_is_c2_passes_its_points_and_stays_inside_the_limits(
    arm: ArmModel, seed: int
) -> None:
    """A joint that the exact curve would push over a limit stays in its points' hull instead."""
    random = np.random.default_rng(seed)
    points = random.uniform(arm.lower, arm.upper, (12, 7))
    times_s = np.cumsum(random.uniform(0.02, 0.3, 12))
    curve = curve_through(points, times_s, arm)
    passed = np.isclose(curve(times_s), points).all(axis=0)
    dense = curve(np.linspace(times_s[0], times_s[-1], 2000))
    assert (dense >= arm.lower - 1e-9).all() and (dense <= arm.upper + 1e-9).all()
    hull = (dense >= points.min(axis=0) - 1e-9) & (dense <= points.max(axis=0) + 1e-9)
    assert (passed | hull.all(axis=0)).all()
    assert np.allclose(curve(times_s[[0, -1]]), points[[0, -1]])
    inner, step_s = times_s[1:-1], 1e-7
    for order in (0, 1, 2):
        before, after = curve(inner - step_s, order), curve(inner + step_s, order)
        slopes = [np.abs(curve(inner + side, order + 1)).max() for side in (-step_s, step_s)]
        assert np.abs(after - before).max() < 4 * step_s * max(slopes) + 1e-6


@few
@given(seed=seeds)
def test_extremes_and_peaks_bound_dense_samples(arm: ArmModel, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(arm.lower, arm.upper, (8, 7))
    curve = curve_through(points, np.cumsum(random.uniform(0.02, 0.3, 8)), arm)
    dense = np.linspace(curve.x[0], curve.x[-1], 5000)
    lowest, highest = extremes(curve)
    speed, acceleration, jerk = peaks(curve)
    assert (curve(dense) >= lowest - 1e-9).all() and (curve(dense) <= highest + 1e-9).all()
    assert (lowest >= arm.lower - 1e-6).all() and (highest <= arm.upper + 1e-6).all()
    assert (np.abs(curve(dense, 1)) <= speed * (1 + 1e-9)).all()
    assert (np.abs(curve(dense, 2)) <= acceleration * (1 + 1e-9)).all()
    assert (np.abs(curve(dense, 3)) <= jerk * (1 + 1e-9)).all()
    assert np.allclose(np.abs(curve(dense, 1)).max(axis=0), speed, rtol=1e-2)


def test_steps_at_a_limit_do_not_overshoot_it(arm: ArmModel) -> None:
    points = np.tile(arm.home, (20, 1))
    points[:, 6] = np.clip(np.linspace(0.08, -0.08, 20), 0.0, 0.07)
    lowest, _ = extremes(curve_through(points, np.arange(1, 21) / 15.0, arm))
    assert lowest[6] >= -1e-12


@few
@given(seed=seeds, gap=st.sampled_from([0.0, 0.02, 0.2]))
def test_plan_begins_at_the_measured_pose_ends_at_the_last_point_both_at_rest(
    arm: ArmModel, settings: ExecutorSettings, seed: int, gap: float
) -> None:
    plan = _plan(arm, seed, settings, gap)
    first, last = plan.at(0.0), plan.at(plan.duration_s)
    assert np.allclose(first.positions, plan.start.positions, atol=1e-12)
    assert np.abs(first.velocities).max() < 1e-9
    assert np.allclose(last.positions, smooth_points(arm, seed, reach=0.3)[-1], atol=1e-12)
    almost = plan.at(plan.duration_s - 1e-6)
    assert np.abs(almost.velocities).max() < 1e-5
    assert np.allclose(almost.positions, last.positions, atol=1e-6)


@few
@given(seed=seeds, gap=st.sampled_from([0.0, 0.04, 0.3]))
def test_reported_velocity_is_the_derivative(
    arm: ArmModel, settings: ExecutorSettings, seed: int, gap: float
) -> None:
    plan = _plan(arm, seed, settings, gap)
    step_s = 1e-5
    for time_s in np.random.default_rng(seed).uniform(step_s, plan.duration_s - step_s, 30):
        before, here, after = (plan.at(time_s + k * step_s) for k in (-1, 0, 1))
        slope = (after.positions - before.positions) / (2 * step_s)
        assert np.allclose(slope, here.velocities, atol=2e-4)


def test_own_timing_is_kept_when_it_fits(arm: ArmModel, settings: ExecutorSettings) -> None:
    """With rest at both ends and no gap only the ramps' tens of milliseconds are added."""
    times_s = np.arange(1, 97) / 15.0
    way = 0.3 * (1 - np.cos(np.pi * times_s / 6.4))[:, None]
    points = arm.home + way * np.array([1, -1, 1, 1, -1, 1, 0])
    plan = prepare(trajectory_of(arm, points), MotionState.rest(arm.home), arm, settings)
    assert plan.stretch == 1.0 and plan.lead_in == ()
    assert 6.4 <= plan.duration_s < 6.5


def test_stretch_is_uniform_and_stated(arm: ArmModel, settings: ExecutorSettings) -> None:
    """Beyond the acceleration limit: slowed by one factor, every point still passed, in order."""
    times_s = np.arange(1, 97) / 15.0
    points = np.tile(arm.home, (96, 1))
    points[:, 0] += 0.35 * (1 - np.cos(2 * np.pi * 0.75 * times_s))
    plan = prepare(trajectory_of(arm, points), MotionState.rest(arm.home), arm, settings)
    assert 1.0 < plan.stretch <= settings.max_time_stretch
    assert plan.duration_s >= 6.4 * plan.stretch
    passed = np.array([plan.at(t).positions for t in np.arange(0.0, plan.duration_s, 0.001)])
    nearest = np.abs(passed[:, None, 0] - points[None, :, 0]).min(axis=0)
    assert nearest.max() < 0.003
    tight = ExecutorSettings(max_time_stretch=1.05)
    with pytest.raises(TrajectoryError, match=r"slowed 1\.\d+ times") as caught:
        prepare(trajectory_of(arm, points), MotionState.rest(arm.home), arm, tight)
    assert caught.value.reason == TrajectoryError.ACCELERATION_LIMIT


def test_approach_is_slow_and_only_when_far(arm: ArmModel, settings: ExecutorSettings) -> None:
    target = arm.home + np.array([0.4, 0.2, -0.1, 0, 0, 0.3, 0.0])
    move = approach(arm.home, target, 0.0, arm, settings)
    speeds = [np.abs(move.at(t).velocities).max() for t in np.linspace(0, move.duration_s, 200)]
    assert max(speeds) <= settings.approach_speed_rad_s * (1 + 1e-9)
    for gap, far in ((0.049, False), (0.051, True)):
        start = arm.home.copy()
        start[0] += gap
        points = np.tile(arm.home, (30, 1))
        plan = prepare(trajectory_of(arm, points), MotionState.rest(start), arm, settings)
        assert (plan.approach_s > 0.0) is far


def test_single_point_is_a_move(arm: ArmModel, settings: ExecutorSettings) -> None:
    for gap in (0.0, 0.03, 0.3):
        point = arm.home[None].copy()
        point[0, 0] += gap
        plan = prepare(trajectory_of(arm, point), MotionState.rest(arm.home), arm, settings)
        assert np.allclose(plan.at(plan.duration_s).positions, point[0])


def test_sagging_joint_starts_at_its_limit(arm: ArmModel, settings: ExecutorSettings) -> None:
    measured = arm.home.copy()
    measured[6] = -0.001
    state = JointState(arm.joint_names, measured, np.zeros(7), 0)
    assert start_pose(state, arm, settings)[6] == 0.0


def test_jitter_is_smoothed_within_the_tolerance_instead_of_slowed(
    arm: ArmModel, settings: ExecutorSettings
) -> None:
    random = np.random.default_rng(5)
    points = smooth_points(arm, 1, reach=0.3)
    noisy = points + random.normal(0, 0.003, points.shape) * (np.arange(7) != 6)
    noisy = np.clip(noisy, arm.lower, arm.upper)
    plan = prepare(trajectory_of(arm, noisy), MotionState.rest(arm.home), arm, settings)
    exact = ExecutorSettings(smooth_within_rad=1e-6, max_time_stretch=10.0)
    slowed = prepare(trajectory_of(arm, noisy), MotionState.rest(arm.home), arm, exact)
    assert slowed.stretch > 1.3 and slowed.off_points.max() < 1e-9
    assert plan.stretch < 1.05
    assert 0 < plan.off_points[:6].max() <= settings.smooth_within_rad
    assert np.allclose(plan.at(0.0).positions, arm.home, atol=1e-12)
    assert plan.follow is not None
    assert np.allclose(plan.follow.curve(plan.follow.law.end_s), noisy[-1], atol=1e-9)
