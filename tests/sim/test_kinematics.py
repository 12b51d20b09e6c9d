"""The simulated arm is the arm file's arm: kinematics, limits, and what it does with set-points."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.records import JointCommand, RigCalibration
from mvista_sim.cell import CONTROL_HZ, SimCell
from mvista_sim.scene import TIMESTEP_S


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


@pytest.fixture(scope="module")
def limited(arm: ArmModel, rig: RigCalibration) -> SimCell:
    return SimCell(arm, rig)


@given(segments=SEGMENTS)
def test_the_set_point_never_exceeds_velocity_or_acceleration(
    limited: SimCell, arm: ArmModel, segments: list[tuple[int, float, bool]]
) -> None:
    """Whatever is commanded, and when it stops: at most 3 rad/s and 5 rad/s^2 (the arm file's)."""
    points = [limited._set_point.copy()]
    speed_before = limited._set_velocity.copy()
    for seed, duration_s, stops in segments:
        target = np.random.default_rng(seed).uniform(arm.lower, arm.upper)
        limited.send(JointCommand(arm.joint_names, target, np.zeros(7), limited.now_ns()))
        if stops:
            limited.hold()
        for _ in range(round(duration_s / TIMESTEP_S)):
            limited._drive()
            points.append(limited._set_point.copy())
    speeds = np.vstack([speed_before, np.diff(points, axis=0) / TIMESTEP_S])
    assert (np.abs(speeds) <= arm.max_velocity + 1e-9).all()
    assert (np.abs(np.diff(speeds, axis=0) / TIMESTEP_S) <= arm.max_acceleration + 1e-6).all()


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
    ],
)
def test_a_bad_command_is_refused_whole(
    cell: SimCell, names: tuple[str, ...], positions: list[float], reason: int
) -> None:
    before = cell.state().positions
    with pytest.raises(TrajectoryError) as caught:
        cell.send(JointCommand(names, np.array(positions), np.zeros(2), 0))
    assert caught.value.reason == reason
    cell.advance(0.3)
    np.testing.assert_allclose(cell.state().positions, before, atol=2e-3)
