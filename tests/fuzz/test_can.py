"""Whatever is on the bus, the driver does not end, does not jump, and refuses with a number.

The real driver and the emulated arm on one emulated wire; frames of no sender's are put among the
arm's own. That no set-point jumps and nothing is disabled is checked by the cell itself.
"""

from __future__ import annotations

import can
import numpy as np
import pytest
from numpy.random import Generator

from mvista_core.errors import MvistaError
from mvista_core.records import Float64
from mvista_piper import protocol
from mvista_piper.status import ARMED, Mode
from tests.piper.cell import PIPER, Cell, cell

pytestmark = pytest.mark.slow

TICKS = 1000
KNOWN_IDS = (
    *range(0x2A1, 0x2A9),
    *range(0x251, 0x257),
    *range(0x261, 0x267),
    0x473,
    0x478,
    0x47C,
    0x4AF,
)
"""What an arm sends: state, joints, motors, answers."""


def hostile_frame(rng: Generator, heard: list[bytes]) -> can.Message:
    """A frame of any form: short, extended, remote, an error, random or one of the arm's bent."""
    known = rng.random() < 0.8
    can_id = int(rng.choice(KNOWN_IDS)) if known else int(rng.integers(0x800))
    data = bytearray(rng.bytes(8))
    if heard and rng.random() < 0.5:
        data = bytearray(heard[int(rng.integers(len(heard)))])
        data[int(rng.integers(8))] ^= 1 << int(rng.integers(8))
    size = 8 if rng.random() < 0.7 else int(rng.integers(9))
    extended = rng.random() < 0.1
    return can.Message(
        timestamp=float(rng.choice([0.0, 1e9, 1e12])),
        arbitration_id=can_id + (0x10000 if extended and rng.random() < 0.5 else 0),
        is_extended_id=extended,
        is_remote_frame=bool(rng.random() < 0.03),
        is_error_frame=bool(rng.random() < 0.03),
        data=bytes(data[:size]),
    )


def wander(c: Cell, goal: Float64, rng: Generator) -> None:
    """Ask for the next set-point, or for what no arm should be asked."""
    step = rng.normal(0.0, 0.002, goal.shape)
    if rng.random() < 0.05:
        step = rng.choice([np.nan, np.inf, 10.0, -10.0, 0.5], goal.shape)
    asked = goal + step
    try:
        c.send(asked)
        goal[:] = asked
    except MvistaError as error:
        assert error.code, error


def recover(c: Cell) -> None:
    """What the operator does after a fault; may be refused, with a number."""
    try:
        c.driver.rearm()
    except MvistaError as error:
        assert error.code, error


@pytest.mark.parametrize("share", [0.02, 0.5, 3.0], ids=["few", "some", "most"])
def test_no_frame_ends_the_driver_or_moves_the_arm_where_nobody_asked(share: float) -> None:
    rng = np.random.default_rng(round(share * 100))
    with cell() as c:
        c.enable()
        goal = c.measured.positions.copy()
        heard = [bytes(rng.bytes(8)) for _ in range(4)]
        for _ in range(TICKS):
            for _ in range(rng.poisson(share)):
                frame = hostile_frame(rng, heard)
                deliver(c, frame)
                if len(frame.data) == 8:
                    heard = [*heard[-63:], bytes(frame.data)]
            if c.driver.mode is Mode.FAULT and rng.random() < 0.05:
                assert c.driver.reason is not None and c.driver.reason.code
                recover(c)
            if c.driver.mode in ARMED:
                state = c.driver.state()
                if state is not None and rng.random() < 0.02:
                    goal = state.positions.copy()
                wander(c, goal, rng)
            c.tick()
        assert_within_range(c)
        assert len(c.set_points()) >= 10, "the arm was hardly ever armed: nothing was tried"


@pytest.mark.parametrize("seed", range(4))
def test_an_arm_that_is_enabled_among_bad_frames_stays_where_it_is(seed: int) -> None:
    """At enabling the first set-point is where the arm stands, whatever was said meanwhile."""
    rng = np.random.default_rng(seed)
    enabled = 0
    for _ in range(8):
        with cell() as c:
            before = np.array(c.arm.joints_rad)
            c.until(lambda: c.driver.mode is Mode.READY, 3.0)
            c.driver.enable()
            for _ in range(120):
                if rng.random() < 0.5:
                    deliver(c, bad_joints(rng))
                c.tick()
            enabled += bool(c.set_points())
            np.testing.assert_allclose(np.array(c.arm.joints_rad), before, atol=5e-3)
            assert_within_range(c)
    assert enabled, "no arm was ever enabled: nothing was tried"


def bad_joints(rng: Generator) -> can.Message:
    """Joint feedback that no arm sent: too short, out of range, or with one bit turned."""
    data = bytearray(rng.bytes(8)) if rng.random() < 0.5 else bytearray(8)
    data[int(rng.integers(8))] ^= 1 << int(rng.integers(8))
    size = 8 if rng.random() < 0.5 else int(rng.integers(8))
    can_id = int(rng.choice(protocol.JOINT_FEEDBACK))
    return can.Message(arbitration_id=can_id, is_extended_id=False, data=bytes(data[:size]))


def deliver(c: Cell, frame: can.Message) -> None:
    assert c.bus is not None
    c.bus.deliver(frame)


def assert_within_range(c: Cell) -> None:
    """Every complete set-point on the wire is within the arm's range; a hundredth is rounding."""
    lower, upper = PIPER.lower[:6] - 2e-5, PIPER.upper[:6] + 2e-5
    for time_s, angles in c.set_points():
        assert ((angles >= lower) & (angles <= upper)).all(), (time_s, angles)
