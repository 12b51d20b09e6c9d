"""The last check, on what is sent: whatever the stages before it made, this does not pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import ExecutionError
from mvista_executor.limit import SendGate

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
