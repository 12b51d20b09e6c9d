"""The simulated arm is the arm file's arm: kinematics, limits, and what it does with set-points."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import ObservationError, TrajectoryError
from mvista_core.records import JointCommand, JointState
from mvista_sim.cell import CONTROL_HZ, SimCell
from mvista_sim.scene import TIMESTEP_S
from mvista_sim.set_point import LimitedSetPoint


def test_the_tip_is_where_the_arm_file_says_in_any_pose(cell: SimCell, arm: ArmModel) -> None:
    rng = np.random.default_rng(0)
    data = mujoco.MjData(cell.model)
    addresses = [int(cell.model.joint(name).qposadr[0]) for name in arm.joint_names[:-1]]
    for joints in rng.uniform(arm.lower[:-1], arm.upper[:-1], size=(200, 6)):
        data.qpos[addresses] = joints
        mujoco.mj_kinematics(cell.model, data)
        np.testing.assert_allclose(
            data.site("tip").xpos, arm.base_from_tip(joints)[:3, 3], atol=1e-6
        )


def test_the_model_has_the_arm_files_joint_ranges(cell: SimCell, arm: ArmModel) -> None:
    ranges = np.array([cell.model.joint(name).range for name in arm.joint_names[:-1]])
    np.testing.assert_allclose(ranges, np.column_stack([arm.lower, arm.upper])[:-1])


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.floats(0.02, 0.4), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(segments=SEGMENTS)
def test_the_set_point_never_exceeds_velocity_or_acceleration(
    arm: ArmModel, segments: list[tuple[int, float, bool]]
) -> None:
    """Whatever is commanded, and when it stops: at most 3 rad/s and 5 rad/s^2 (the arm file's)."""
    limited = LimitedSetPoint(arm.home, arm.max_velocity, arm.max_acceleration, TIMESTEP_S)
    points = [arm.home]
    for seed, duration_s, stops in segments:
        target = np.random.default_rng(seed).uniform(arm.lower, arm.upper)
        for joint, position in enumerate(target):
            limited.aim(joint, position)
        if stops:
            limited.hold(arm.lower, arm.upper)
        for _ in range(round(duration_s / TIMESTEP_S)):
            limited.step()
            points.append(np.array(limited.positions))
    speeds = np.vstack([np.zeros(7), np.diff(points, axis=0) / TIMESTEP_S])
    assert (np.abs(speeds) <= arm.max_velocity + 1e-9).all()
    assert (np.abs(np.diff(speeds, axis=0) / TIMESTEP_S) <= arm.max_acceleration + 1e-6).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_a_set_point_that_rests_stands_exactly_on_its_target(arm: ArmModel, seed: int) -> None:
    target = np.random.default_rng(seed).uniform(arm.lower, arm.upper)
    pursuing = LimitedSetPoint(arm.home, arm.max_velocity, arm.max_acceleration, TIMESTEP_S)
    assert pursuing.resting
    for joint, position in enumerate(target):
        pursuing.aim(joint, position)
    steps = 0
    while not pursuing.resting and steps < 4000:
        pursuing.step()
        steps += 1
    assert pursuing.resting and pursuing.positions == target.tolist()
    pursuing.aim(3, target[3] + 0.1)
    assert not pursuing.resting


def test_physics_at_rest_in_one_call_is_what_single_steps_are(cell: SimCell, arm: ArmModel) -> None:
    """Two cells from one start: one driven step by step, one by whole control periods."""
    other = SimCell(arm, cell.rig)
    for _ in range(100):
        other.advance(1.0 / CONTROL_HZ)
        cell.advance(TIMESTEP_S)
        cell.advance(TIMESTEP_S)
    np.testing.assert_array_equal(cell.data.qpos, other.data.qpos)
    np.testing.assert_array_equal(cell.data.qvel, other.data.qvel)


def test_the_set_point_comes_to_rest_on_the_target(cell: SimCell, arm: ArmModel) -> None:
    target = arm.home + np.array([0.8, 0.3, -0.3, 0.5, -0.2, -0.7, 0.03])
    cell.send(JointCommand(arm.joint_names, target, np.zeros(7), cell.now_ns()))
    cell.advance(3.0)
    np.testing.assert_allclose(cell.state().positions, target, atol=0.01)
    np.testing.assert_allclose(cell.state().velocities, 0.0, atol=0.01)


def test_a_hold_in_full_flight_stops_without_turning_back(cell: SimCell, arm: ArmModel) -> None:
    target = arm.home.copy()
    target[0] = 2.0
    cell.send(JointCommand(arm.joint_names, target, np.zeros(7), cell.now_ns()))
    cell.advance(0.5)
    cell.hold()
    before, angles = cell.state().positions[0], []
    for _ in range(200):
        cell.advance(1.0 / CONTROL_HZ)
        angles.append(float(cell.state().positions[0]))
    assert before < angles[-1] < target[0]
    assert max(angles) - angles[-1] < 0.01
    assert abs(cell.state().velocities[0]) < 0.01


@pytest.mark.parametrize(
    ("names", "positions", "reason"),
    [
        (("joint1", "joint9"), [0.5, 0.5], TrajectoryError.UNKNOWN_JOINT),
        (("joint1", "joint2"), [0.5, np.nan], TrajectoryError.NOT_FINITE),
        (("joint1", "joint1"), [0.5, 0.4], TrajectoryError.REPEATED_JOINT),
        ((), [], TrajectoryError.EMPTY),
    ],
)
def test_a_bad_command_is_refused_whole(
    cell: SimCell, names: tuple[str, ...], positions: list[float], reason: int
) -> None:
    before = cell.state().positions
    with pytest.raises(TrajectoryError) as caught:
        cell.send(JointCommand(names, np.array(positions), np.zeros(len(names)), 0))
    assert caught.value.reason == reason
    cell.advance(0.3)
    np.testing.assert_allclose(cell.state().positions, before, atol=2e-3)


def test_a_set_point_far_beyond_the_range_stops_at_it_and_is_left_at_once(
    cell: SimCell, arm: ArmModel
) -> None:
    far = arm.home.copy()
    far[0] = 1e9
    cell.send(JointCommand(arm.joint_names, far, np.zeros(7), 0))
    cell.advance(4.0)
    assert cell.state().positions[0] == pytest.approx(arm.upper[0], abs=0.02)
    cell.send(JointCommand(arm.joint_names, arm.home, np.zeros(7), 0))
    cell.advance(0.5)
    assert cell.state().positions[0] < arm.upper[0] - 0.2


@pytest.mark.parametrize(("joint", "value"), [(0, np.nan), (2, 1e9), (6, -0.5)])
def test_a_pose_that_no_arm_has_is_not_followed(
    cell: SimCell, arm: ArmModel, joint: int, value: float
) -> None:
    cell.follow(JointState(arm.joint_names, arm.home, np.zeros(7), 0))
    before = cell.state().positions
    odd = arm.home.copy()
    odd[joint] = value
    with pytest.raises(ObservationError, match=r"they can be from"):
        cell.follow(JointState(arm.joint_names, odd, np.zeros(7), 0))
    cell.advance(0.2)
    np.testing.assert_allclose(cell.state().positions, before, atol=5e-3)
