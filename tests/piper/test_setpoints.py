"""The law of the wire: a set-point is never farther from the last than speed limit x time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mvista_bringup.paths import config_file
from mvista_core.arm import load_arm
from mvista_core.errors import TrajectoryError
from mvista_core.records import Float64, JointCommand
from mvista_core.timing import seconds_to_ns
from mvista_piper.limits import MotorLimits, intersect
from mvista_piper.setpoints import SetPoints, per_joint

PIPER = load_arm(config_file("arms", "piper.yaml"))
LIMITS = intersect(PIPER, {motor: MotorLimits(-3.2, 3.2, 3.0, 5.0) for motor in range(1, 7)})
NAMES = LIMITS.names
PERIOD_S = 0.005
PERIOD_NS = seconds_to_ns(PERIOD_S)
HOME = PIPER.home


def started(positions: Float64 = HOME) -> SetPoints:
    made = SetPoints(LIMITS, PERIOD_S, 0.05, per_joint(NAMES, 0.05, 0.005))
    made.start(positions, 0)
    return made


def command(positions: Float64, stamp_ns: int = 0) -> JointCommand:
    return JointCommand(NAMES, np.asarray(positions), np.zeros(len(positions)), stamp_ns)


def moved(joint: int, by: float, start: Float64 = HOME) -> Float64:
    positions = start.copy()
    positions[joint] += by
    return positions


def refused(set_points: SetPoints, wanted: JointCommand, now_ns: int, measured: Float64) -> int:
    before = set_points.last.positions.copy()
    with pytest.raises(TrajectoryError) as caught:
        set_points.accept(wanted, measured, now_ns)
    np.testing.assert_array_equal(set_points.last.positions, before)
    return caught.value.reason


@example([(0, 0.25, 0.25), (0, 0.03125, 0.0078125)])
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.floats(-0.3, 0.3), st.floats(0.0005, 0.3)),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_is_asked_no_step_exceeds_limit_times_time(
    asked: list[tuple[int, float, float]],
) -> None:
    set_points, now_s, last_s = started(), 0.0, 0.0
    for joint, by, wait_s in asked:
        now_s += wait_s
        before = set_points.last.positions
        wanted = moved(joint, by, before)
        try:
            set_points.accept(command(wanted), before, seconds_to_ns(now_s))
        except TrajectoryError:
            assert set_points.last.positions is before
        step = np.abs(set_points.last.positions - before)
        # Since the last one that was sent: a refused one moves nothing and takes its time along.
        reach_s = np.clip(now_s - last_s, PERIOD_S, 0.05)
        if set_points.last.positions is not before:
            last_s = now_s
        assert (step <= LIMITS.max_velocity * reach_s + 2e-4).all()


def test_a_stream_at_the_speed_limit_passes_and_one_beyond_it_does_not() -> None:
    for share, passes in ((0.99, True), (1.1, False)):
        set_points, wanted = started(), HOME.copy()
        set_points.accept(command(wanted), HOME, PERIOD_NS)
        step = share * LIMITS.max_velocity[0] * PERIOD_S
        if passes:
            for k in range(2, 60):
                wanted = moved(0, step, wanted)
                set_points.accept(command(wanted), HOME, k * PERIOD_NS)
            assert set_points.last.positions[0] == pytest.approx(wanted[0])
        else:
            wrong = command(moved(0, step, wanted))
            reason = refused(set_points, wrong, 2 * PERIOD_NS, HOME)
            assert reason == TrajectoryError.VELOCITY_LIMIT


def test_commands_that_were_sent_apart_may_arrive_together() -> None:
    """The sender's stamps tell that 20 ms lie between two set-points that came 1 ms apart."""
    step = 0.9 * LIMITS.max_velocity[0] * 0.02
    set_points = started()
    set_points.accept(command(HOME, 10**9), HOME, PERIOD_NS)
    wanted = command(moved(0, step), 10**9 + seconds_to_ns(0.02))
    set_points.accept(wanted, HOME, PERIOD_NS + seconds_to_ns(0.001))
    assert set_points.last.positions[0] == pytest.approx(HOME[0] + step)


def test_a_clock_that_jumps_ahead_allows_no_longer_step() -> None:
    set_points = started()
    set_points.accept(command(HOME, 10**9), HOME, PERIOD_NS)
    leap = command(moved(0, 0.2), 10**9 + seconds_to_ns(1.0))
    assert refused(set_points, leap, 2 * PERIOD_NS, HOME) == TrajectoryError.VELOCITY_LIMIT


def test_the_first_set_point_must_be_near_the_measured_pose() -> None:
    reason = refused(started(), command(moved(0, 0.06)), PERIOD_NS, HOME)
    assert reason == TrajectoryError.START_TOO_FAR
    reason = refused(started(), command(HOME), PERIOD_NS, moved(0, 0.06))
    assert reason == TrajectoryError.START_TOO_FAR


def test_the_way_to_a_near_first_set_point_is_taken_at_the_speed_limit() -> None:
    set_points, goal = started(), moved(0, 0.04)
    sent = [set_points.accept(command(goal), HOME, k * PERIOD_NS)[0] for k in range(1, 5)]
    np.testing.assert_allclose(np.diff([HOME[0], *sent]), [0.015, 0.015, 0.01, 0.0], atol=1e-9)


def test_after_a_hold_the_stream_engages_afresh() -> None:
    set_points = started()
    set_points.accept(command(HOME), HOME, PERIOD_NS)
    set_points.release()
    far = command(moved(0, 0.1))
    assert refused(set_points, far, seconds_to_ns(10), HOME) == TrajectoryError.START_TOO_FAR


@pytest.mark.parametrize(
    ("names", "positions", "reason"),
    [
        (NAMES, moved(0, np.nan), TrajectoryError.NOT_FINITE),
        (NAMES, moved(6, np.inf), TrajectoryError.NOT_FINITE),
        ((*NAMES[:6], "elbow"), HOME, TrajectoryError.UNKNOWN_JOINT),
        ((*NAMES[:6], "joint1"), HOME, TrajectoryError.REPEATED_JOINT),
        (NAMES, HOME[:6], TrajectoryError.SHAPE),
        ((), HOME[:0], TrajectoryError.EMPTY),
        (NAMES, moved(1, -1.3), TrajectoryError.POSITION_LIMIT),
        (NAMES, moved(6, 0.08), TrajectoryError.POSITION_LIMIT),
    ],
)
def test_a_bad_command_is_refused_whole(
    names: tuple[str, ...], positions: Float64, reason: int
) -> None:
    wanted = JointCommand(names, positions, np.zeros(len(names)), 0)
    assert refused(started(), wanted, PERIOD_NS, HOME) == reason


def test_joints_that_are_not_named_keep_their_set_point() -> None:
    set_points = started()
    only = JointCommand(("joint4",), np.array([0.01]), np.zeros(1), 0)
    np.testing.assert_allclose(set_points.accept(only, HOME, PERIOD_NS), moved(3, 0.01))


@given(st.floats(-2.9, 2.9))
def test_a_brake_stays_within_the_acceleration_and_ends_at_rest(speed_rad_s: float) -> None:
    set_points, now_ns, wanted = started(), PERIOD_NS, HOME.copy()
    set_points.accept(command(wanted), HOME, now_ns)
    for _ in range(3):
        now_ns += PERIOD_NS
        wanted = moved(0, speed_rad_s * PERIOD_S, wanted)
        set_points.accept(command(wanted), wanted, now_ns)
    speeds = [float(set_points.last.velocities[0])]
    while True:
        now_ns += PERIOD_NS
        before = set_points.last.positions
        positions = set_points.brake(now_ns)
        if positions is None:
            break
        speeds.append(float(positions[0] - before[0]) / PERIOD_S)
    allowed = LIMITS.max_acceleration[0] * PERIOD_S
    assert np.abs(np.diff(speeds)).max(initial=0.0) <= allowed + 1e-6
    assert len(speeds) <= 3.0 / 5.0 / PERIOD_S + 3
