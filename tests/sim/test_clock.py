"""The cell's clock: time passes only when the cell advances, and sleeping advances it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.records import RigCalibration
from mvista_sim.cell import SimCell, SimClock
from mvista_sim.scene import TIMESTEP_S

STEP_NS = round(TIMESTEP_S * 1e9)


@pytest.fixture(scope="module")
def timed(arm: ArmModel, rig: RigCalibration) -> SimCell:
    return SimCell(arm, rig, start_ns=5_000_000_000)


@given(wait_ns=st.integers(-(10**9), 10**8))
def test_sleeping_takes_simulated_time_and_never_goes_back(timed: SimCell, wait_ns: int) -> None:
    clock = SimClock(timed)
    before = clock.monotonic_ns()
    clock.sleep_until(before + wait_ns)
    passed = clock.monotonic_ns() - before
    if wait_ns <= 0:
        assert passed == 0
    else:
        assert abs(passed - wait_ns) <= STEP_NS


def test_stamps_begin_where_they_are_told(arm: ArmModel, rig: RigCalibration) -> None:
    cell = SimCell(arm, rig, start_ns=123)
    clock = SimClock(cell)
    assert clock.now_ns() == clock.monotonic_ns() == cell.state().stamp_ns == 123
    cell.advance(1.0)
    assert clock.now_ns() == pytest.approx(123 + 10**9, abs=10)
