"""The arm's own range against the arm file's: what it was set to (0x474) counts if narrower."""

from __future__ import annotations

import can
import numpy as np
import pytest

from mvista_core.errors import ArmNotReadyError, TrajectoryError
from mvista_piper import protocol
from mvista_piper.report import describe
from mvista_piper.status import ARMED, Mode
from tests.piper.cell import MOVING, PIPER, Cell, cell

WRIST = {4: 1.22, 5: 2.094}
"""Joints 5 and 6 (from 0) and their limits in the arm file, rad."""


def set_range(c: Cell, joint: int, lower_rad: float, upper_rad: float) -> None:
    """What the maker's tool does; then the driver finds the arm again."""
    data = protocol.AngleLimits(joint + 1, upper_rad, lower_rad, None).pack()
    tool = c.wire.open()
    tool.send(can.Message(arbitration_id=protocol.SET_LIMITS, data=data, is_extended_id=False))
    c.wire.pump()
    tool.shutdown()
    c.driver.open()


def upper(c: Cell, joint: int) -> float:
    identity = c.driver.status().identity
    assert identity is not None
    return float(identity.limits.upper[joint])


@pytest.mark.parametrize("joint", WRIST)
def test_an_arm_that_allows_it_takes_its_wrist_to_the_arm_files_limit(joint: int) -> None:
    with cell() as c:
        c.enable()
        assert upper(c, joint) == pytest.approx(WRIST[joint])
        start = float(c.measured.positions[joint])
        assert c.stream(joint, 1.0, WRIST[joint] - 0.002 - start) is None
        c.run(0.5)
        assert c.driver.mode in ARMED and c.arm.joints_rad[joint] > WRIST[joint] - 0.01
        assert c.stream(joint, 1.0, 0.1) is not None
        assert max(angles[joint] for _, angles in c.set_points()) <= WRIST[joint] + 1e-4


@pytest.mark.parametrize("joint", WRIST)
def test_an_arm_that_was_set_to_less_counts_and_is_said(joint: int) -> None:
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        set_range(c, joint, -0.5, 1.05)
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        assert upper(c, joint) == pytest.approx(1.05, abs=1e-3)
        said = dict(describe(c.driver.status()))
        assert "1.05" in said["upper limits (rad, m)"]
        c.enable()
        error = c.stream(joint, 1.0, 2.0)
        assert isinstance(error, TrajectoryError) and error.reason == TrajectoryError.POSITION_LIMIT
        assert max(angles[joint] for _, angles in c.set_points()) <= 1.05 + 2e-3


@pytest.mark.parametrize("joint", range(6))
def test_no_answer_widens_the_arm_files_range(joint: int) -> None:
    """The emulated arm answers the maker's table to 0.1 degree; some lies beyond the file."""
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        identity = c.driver.status().identity
        assert identity is not None
        assert identity.limits.lower[joint] >= PIPER.lower[joint]
        assert identity.limits.upper[joint] <= PIPER.upper[joint]
        np.testing.assert_allclose(identity.limits.upper[joint], PIPER.upper[joint], atol=2e-3)


def test_an_arm_that_stands_outside_its_limits_is_not_enabled() -> None:
    with cell() as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        stands = float(c.measured.positions[4])
        set_range(c, 4, -0.5, stands - 0.1)
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        with pytest.raises(ArmNotReadyError, match=rf"joint5 at {stands:.4f} is outside"):
            c.driver.enable()
        assert not [can_id for _, can_id, _ in c.sent if can_id in MOVING]
