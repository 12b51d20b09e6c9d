"""What every backend of the `Arm` port owes its callers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mvista_core.errors import TrajectoryError
from mvista_core.records import Float64, JointCommand, JointState
from tests.contract.backends import ARMS, ArmBackend

PERIOD_S = 1 / 200


@pytest.fixture(params=sorted(ARMS))
def backend(request: pytest.FixtureRequest) -> Iterator[ArmBackend]:
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
    send(backend, kept + np.array([0.2, 0, 0, 0, 0, 0, 0]))
    backend.wait(0.5)
    np.testing.assert_array_equal(state.positions, kept)


def test_uncommanded_it_stays(backend: ArmBackend) -> None:
    before = measured(backend).positions
    backend.wait(1.0)
    np.testing.assert_allclose(measured(backend).positions, before, atol=5e-3)


def test_it_tracks_a_stream_of_set_points(backend: ArmBackend) -> None:
    """A slow stream of every joint: at the end the arm is where it was sent, gripper included."""
    start = measured(backend).positions
    goal = start + np.array([0.2, 0.15, -0.15, 0.2, -0.1, 0.2, 0.0])
    goal[-1] = backend.model.upper[-1] / 2
    for share in np.linspace(0, 1, 200):
        send(backend, start + (goal - start) * share)
        backend.wait(PERIOD_S)
    backend.wait(0.5)
    np.testing.assert_allclose(measured(backend).positions[:-1], goal[:-1], atol=0.01)
    assert measured(backend).positions[-1] == pytest.approx(goal[-1], abs=3e-3)


def test_a_far_set_point_is_approached_within_the_arms_speed(backend: ArmBackend) -> None:
    start = measured(backend).positions
    goal = start.copy()
    goal[0] += 1.2
    send(backend, goal)
    fastest = 0.0
    for _ in range(300):
        backend.wait(PERIOD_S)
        fastest = max(fastest, abs(float(measured(backend).velocities[0])))
    assert fastest <= backend.model.max_velocity[0] * 1.1
    assert measured(backend).positions[0] == pytest.approx(goal[0], abs=0.01)


def test_a_hold_stops_where_it_is_and_keeps_the_position(backend: ArmBackend) -> None:
    goal = measured(backend).positions.copy()
    goal[0] += 1.5
    send(backend, goal)
    backend.wait(0.4)
    backend.arm.hold()
    backend.wait(1.0)
    held = measured(backend).positions
    assert held[0] < goal[0] - 0.2
    backend.wait(1.0)
    np.testing.assert_allclose(measured(backend).positions, held, atol=5e-3)


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
