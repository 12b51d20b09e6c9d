"""What is on a CAN bus and is no arm's: ignored and counted, whatever it looks like.

The frames carry ids and bytes of this very arm, elsewhere: who took one for a value would leap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import can
import numpy as np
import pytest

from mvista_core.records import JointState
from mvista_core.timing import ns_to_seconds
from mvista_piper import protocol
from mvista_piper.link import LinkCounters
from mvista_piper.protocol import ArmCondition, CtrlMode, MoveMode
from mvista_piper.report import describe, grade
from mvista_piper.status import Mode
from tests.piper.cell import HOME, PERIOD_S, POWERED, Cell, cell

ELSEWHERE = protocol.pack_angles(0.9, 1.9)
COLLIDED = protocol.ArmStatus(CtrlMode.CAN, ArmCondition.COLLISION, MoveMode.JOINT).pack()
LOOKS_LIKE = (
    *((can_id, ELSEWHERE) for can_id in protocol.JOINT_FEEDBACK),
    (protocol.GRIPPER_FEEDBACK, protocol.GripperState(0.05, 0.0, 0x40).pack()),
    (protocol.MOTOR_FAST[0], protocol.pack_motor_fast(2.0, 1.0, 0.9)),
    (protocol.STATUS, COLLIDED),
    (protocol.JOINTS[0], ELSEWHERE),
    (protocol.MODE, bytes(8)),
)
"""Feedback that would be a leap or a fault, and commands that would be a second writer's."""


def wide(can_id: int, data: bytes) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=True)


def wide_above(can_id: int, data: bytes) -> can.Message:
    """The arm's id in the low bits of a 29-bit one."""
    return wide(0x18FF0000 | can_id, data)


def remote(can_id: int, data: bytes) -> can.Message:
    return can.Message(
        arbitration_id=can_id, dlc=len(data), is_remote_frame=True, is_extended_id=False
    )


def error(can_id: int, data: bytes) -> can.Message:
    """A controller's report; its id is a set of flags (bus-off, 0x40, is told apart)."""
    return can.Message(
        arbitration_id=can_id & ~0x40, data=data, is_error_frame=True, is_extended_id=False
    )


KINDS = {"29-bit": wide, "29-bit above": wide_above, "remote": remote, "error": error}


def strew(c: Cell, kind: str, seconds: float) -> Iterator[None]:
    """So long, one foreign frame of each look in every period of the driver."""
    make = KINDS[kind]
    for _ in range(round(seconds / PERIOD_S)):
        assert c.bus is not None
        for can_id, data in LOOKS_LIKE:
            message = make(can_id, data)
            message.timestamp = c.clock.now_ns() / 1e9
            c.bus.deliver(message)
        yield


def counted(counters: LinkCounters, kind: str) -> int:
    return counters.error_frames if kind == "error" else counters.strange


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_frames_are_no_values_and_no_writer_and_are_counted(kind: str) -> None:
    with cell() as c:
        c.enable()
        assert c.stream(0, 1.0, 0.2) is None
        states: list[JointState] = []
        c.driver.listen(states.append)
        before = counted(c.driver.status().counters, kind)
        goal = np.append(c.set_points()[-1][1], 0.0)
        for _ in strew(c, kind, 0.5):
            goal[0] += 1.0 * PERIOD_S
            c.send(goal)
            c.tick()
        status = c.driver.status()
        assert c.driver.mode is Mode.TRACKING, c.driver.reason
        assert grade(status, 0.0)[0] == "OK" and status.drops == ""
        assert counted(status.counters, kind) - before == 100 * len(LOOKS_LIKE)
        assert status.counters.foreign == 0 and status.counters.flawed == 0
        assert len(states) >= 90
        for earlier, later in itertools.pairwise(states):
            seconds = ns_to_seconds(later.stamp_ns - earlier.stamp_ns)
            assert np.abs(later.positions - earlier.positions).max() <= 3.0 * seconds + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_frames_alone_are_no_arm(kind: str) -> None:
    """They refresh nothing and answer nothing: the arm that fell silent is lost all the same."""
    with cell() as c:
        c.arm.faults.silent = True
        for _ in strew(c, kind, 1.0):
            c.tick()
        assert c.driver.mode is Mode.SEARCHING and c.driver.state() is None
        assert c.driver.status().counters.received == 0
        shown = dict(describe(c.driver.status()))
        total = str(200 * len(LOOKS_LIKE))
        assert total in shown["error frames" if kind == "error" else "frames not of an arm's form"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_arm_is_enabled_among_foreign_frames_from_where_it_stands(kind: str) -> None:
    with cell(POWERED, enable_at_start=True) as c:
        for _ in strew(c, kind, 1.5):
            c.tick()
        assert c.driver.mode is Mode.HOLDING, c.driver.reason
        for _, angles in c.set_points():
            np.testing.assert_allclose(angles, HOME[:6], atol=1e-3)
