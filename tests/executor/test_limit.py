"""The last check, on what is sent: whatever the stages before it made, this does not pass."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import ExecutionError, TrajectoryError
from mvista_executor.limit import SendGate, verify
from mvista_executor.motion import MotionState
from mvista_executor.moves import stop
from mvista_executor.retime import TimedCurve

PERIOD_NS = 5_000_000
JOINTS = st.integers(0, 6)


@run(max_examples=40, deadline=None, derandomize=True)
@given(joint=JOINTS, value=st.sampled_from([np.nan, np.inf, -np.inf]), first=st.booleans())
def test_what_is_no_number_is_not_sent_and_not_remembered(
    arm: ArmModel, joint: int, value: float, first: bool
) -> None:
    gate = SendGate(arm, 0.005)
    if not first:
        gate.admit(PERIOD_NS, arm.home)
    bad = arm.home.copy()
    bad[joint] = value
    with pytest.raises(ExecutionError, match="not finite"):
        gate.admit(2 * PERIOD_NS, bad)
    gate.admit(3 * PERIOD_NS, arm.home)


@run(max_examples=40, deadline=None, derandomize=True)
@given(joint=JOINTS, beyond=st.floats(1e-4, 1.0), above=st.booleans())
def test_no_position_beyond_a_limit_is_sent(
    arm: ArmModel, joint: int, beyond: float, above: bool
) -> None:
    bad = arm.home.copy()
    bad[joint] = arm.upper[joint] + beyond if above else arm.lower[joint] - beyond
    with pytest.raises(ExecutionError, match=f"position of {arm.joint_names[joint]}"):
        SendGate(arm, 0.005).admit(PERIOD_NS, bad)


@run(max_examples=40, deadline=None, derandomize=True)
@given(joint=JOINTS, times=st.floats(1.1, 20.0))
def test_no_step_faster_than_the_limit_is_sent(arm: ArmModel, joint: int, times: float) -> None:
    gate = SendGate(arm, 0.005)
    gate.admit(PERIOD_NS, arm.home)
    middle = (arm.lower + arm.upper)[joint] / 2
    step = np.sign(middle - arm.home[joint] or 1.0) * times * arm.max_velocity[joint] * 0.005
    moved = arm.home.copy()
    moved[joint] += step
    with pytest.raises(ExecutionError, match=f"of {arm.joint_names[joint]} would be"):
        gate.admit(2 * PERIOD_NS, moved)


def test_two_set_points_at_one_instant_are_the_same_or_refused(arm: ArmModel) -> None:
    gate = SendGate(arm, 0.005)
    gate.admit(PERIOD_NS, arm.home)
    gate.admit(PERIOD_NS, arm.home)
    with pytest.raises(ExecutionError, match="second set-point"):
        gate.admit(PERIOD_NS, arm.home + 1e-5)


@run(max_examples=40, deadline=None, derandomize=True)
@given(joint=JOINTS, above=st.booleans(), turning=st.booleans(), room=st.floats(0.5, 0.52))
def test_a_stop_beside_a_limit_goes_nowhere_else(
    arm: ArmModel, joint: int, above: bool, turning: bool, room: float
) -> None:
    """Also of a joint that turns: its velocity points away from the limit that it moves to."""
    side = 1.0 if above else -1.0
    # Just room enough at the full limits: at the share of them that a stop has it would leave.
    back = arm.max_acceleration[joint] ** 3 / arm.max_jerk[joint] ** 2
    state = MotionState.rest(arm.home.copy())
    state.positions[joint] = (arm.upper if above else arm.lower)[joint] - side * room * back
    state.velocities[joint] = -side * (1e-6 if turning else -1e-6)
    state.accelerations[joint] = side * 0.9 * arm.max_acceleration[joint]
    move = stop(state, arm)
    assert not move.leaves().any()
    assert abs(move.end.positions[joint] - state.positions[joint]) <= 2.0 * back


@pytest.mark.parametrize("high", [False, True])
def test_a_curve_beyond_a_position_limit_is_told_by_the_limit(arm: ArmModel, high: bool) -> None:
    wrong = arm.home.copy()
    wrong[2] = arm.upper[2] + 0.1 if high else arm.lower[2] - 0.1

    class BeyondLimit:
        duration_s = 0.003

        def sampled(self, times_s: np.ndarray) -> MotionState:
            return MotionState.rest(np.tile(wrong, (len(times_s), 1)))

    said = rf"joint3 would be at {wrong[2]:.4f}, allowed {arm.lower[2]:.4f} to "
    with pytest.raises(TrajectoryError, match=said) as refused:
        verify(cast(TimedCurve, BeyondLimit()), arm)
    assert refused.value.reason == TrajectoryError.POSITION_LIMIT
