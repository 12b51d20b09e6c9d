"""What every backend of the `Arm` port owes its callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from mvista_core.errors import ArmNotReadyError, TrajectoryError
from mvista_core.records import Float64, JointCommand, JointState
from tests.contract.backends import ARMS, RECORDED_ARMS, ArmBackend

pytestmark = pytest.mark.contract

PERIOD_S = 1 / 200


@pytest.fixture(params=sorted({**ARMS, **RECORDED_ARMS}))
def backend(request: pytest.FixtureRequest) -> Iterator[ArmBackend]:
    """Every arm, those that only replay a recording too."""
    with {**ARMS, **RECORDED_ARMS}[request.param]() as made:
        yield made


@pytest.fixture(params=sorted(ARMS))
def obeying(request: pytest.FixtureRequest) -> Iterator[ArmBackend]:
    """Every arm that takes set-points."""
    with ARMS[request.param]() as made:
        yield made


def measured(backend: ArmBackend) -> JointState:
    state = backend.arm.state()
    assert state is not None
    return state


def send(backend: ArmBackend, positions: Float64) -> None:
    names = backend.model.joint_names
    stamp_ns = measured(backend).stamp_ns
    backend.arm.send(JointCommand(names, positions, np.zeros(len(names)), stamp_ns))


def stream(backend: ArmBackend, goal: Float64, seconds: float) -> Float64:
    """Set-points on a straight line from the measured pose, at 200 Hz; the last one sent."""
    start = measured(backend).positions
    for share in np.linspace(0, 1, round(seconds / PERIOD_S)):
        send(backend, start + (goal - start) * share)
        backend.wait(PERIOD_S)
    return goal


def moved(backend: ArmBackend, joint: int, by: float) -> Float64:
    positions = measured(backend).positions.copy()
    positions[joint] += by
    return positions


def test_the_state_has_the_arm_files_joints_in_its_order(backend: ArmBackend) -> None:
    state = measured(backend)
    assert state.names == backend.model.joint_names
    assert state.positions.shape == state.velocities.shape == (len(state.names),)
    assert np.isfinite(state.positions).all() and np.isfinite(state.velocities).all()
    margin = 0.01
    assert (state.positions >= backend.model.lower - margin).all()
    assert (state.positions <= backend.model.upper + margin).all()


def test_stamps_advance_with_time(backend: ArmBackend) -> None:
    before = measured(backend).stamp_ns
    backend.wait(0.1)
    assert (measured(backend).stamp_ns - before) / 1e9 == pytest.approx(0.1, abs=0.02)


def test_a_returned_state_is_a_record_of_its_moment(backend: ArmBackend) -> None:
    state = measured(backend)
    kept = state.positions.copy()
    with suppress(ArmNotReadyError):
        stream(backend, moved(backend, 0, 0.2), 0.3)
    backend.wait(0.5)
    np.testing.assert_array_equal(state.positions, kept)


def test_uncommanded_it_stays(backend: ArmBackend) -> None:
    before = measured(backend).positions
    backend.wait(1.0)
    np.testing.assert_allclose(measured(backend).positions, before, atol=5e-3)


def test_it_tracks_a_stream_of_set_points(obeying: ArmBackend) -> None:
    """A slow stream of every joint: at the end the arm is where it was sent, gripper included."""
    start = measured(obeying).positions
    goal = start + np.array([0.2, 0.15, -0.15, 0.2, -0.1, 0.2, 0.0])
    goal[-1] = obeying.model.upper[-1] / 2
    stream(obeying, goal, 1.0)
    obeying.wait(0.5)
    np.testing.assert_allclose(measured(obeying).positions[:-1], goal[:-1], atol=0.01)
    assert measured(obeying).positions[-1] == pytest.approx(goal[-1], abs=3e-3)


def test_a_far_set_point_is_refused_or_approached_within_the_arms_speed(
    obeying: ArmBackend,
) -> None:
    start = measured(obeying).positions
    goal, refused = moved(obeying, 0, 1.2), False
    try:
        send(obeying, goal)
    except TrajectoryError:
        refused = True
    fastest = 0.0
    for _ in range(300):
        obeying.wait(PERIOD_S)
        fastest = max(fastest, abs(float(measured(obeying).velocities[0])))
    assert fastest <= (0.01 if refused else obeying.model.max_velocity[0] * 1.1)
    reached = start if refused else goal
    assert measured(obeying).positions[0] == pytest.approx(reached[0], abs=0.01)


def test_a_hold_stops_where_it_is_and_keeps_the_position(obeying: ArmBackend) -> None:
    last = stream(obeying, moved(obeying, 0, 0.5), 0.5)
    obeying.arm.hold()
    obeying.wait(1.0)
    held = measured(obeying).positions
    braking_rad = 1.0**2 / (2 * obeying.model.max_acceleration[0])
    assert last[0] - 0.05 < held[0] < last[0] + 2 * braking_rad
    obeying.wait(1.0)
    np.testing.assert_allclose(measured(obeying).positions, held, atol=5e-3)


def test_a_stream_that_ends_is_a_hold(obeying: ArmBackend) -> None:
    last = stream(obeying, moved(obeying, 0, 0.3), 0.5)
    obeying.wait(1.5)
    np.testing.assert_allclose(measured(obeying).positions, last, atol=0.01)


def test_a_good_set_point_is_taken_unless_the_arm_is_a_recording(backend: ArmBackend) -> None:
    if backend.obeys:
        send(backend, measured(backend).positions)
        return
    with pytest.raises(ArmNotReadyError, match="recording"):
        send(backend, measured(backend).positions)


@pytest.mark.parametrize("wrong", ["nan", "stranger"])
def test_a_bad_command_moves_nothing(backend: ArmBackend, wrong: str) -> None:
    before = measured(backend).positions
    names, positions = list(backend.model.joint_names), before + 0.1
    if wrong == "nan":
        positions[-1] = np.nan
    else:
        names[-1] = "elbow"
    with pytest.raises(TrajectoryError):
        backend.arm.send(JointCommand(tuple(names), positions, np.zeros(len(names)), 0))
    backend.wait(0.3)
    np.testing.assert_allclose(measured(backend).positions, before, atol=5e-3)
