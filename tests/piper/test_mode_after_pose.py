"""Enabling on the wire: CAN control is asked for only once the driver's own pose lies there.

An arm that takes the mode before goes to whatever set-point its controller remembers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_piper import protocol
from mvista_piper.protocol import CtrlMode, MoveMode
from mvista_piper.status import ARMED, Mode
from tests.piper.cell import HOME, POWERED, Cell, cell

OLD_TARGET = (0.8, 1.9, -0.4, 0.6, -0.5, 1.2)
"""Where another host left the controller's set-point, rad."""


def left_over(c: Cell, target: tuple[float, ...], ctrl_mode: CtrlMode) -> None:
    """What another host sent before: a set-point, and the mode that it left the arm in."""
    for can_id, first in zip(protocol.JOINTS, (0, 2, 4), strict=True):
        c.arm.receive(can_id, protocol.pack_angles(target[first], target[first + 1]))
    mode = protocol.ModeCommand(ctrl_mode, MoveMode.JOINT, 100, protocol.HIGH_FOLLOW)
    c.arm.receive(protocol.MODE, mode.pack())


def order_on_the_wire(c: Cell) -> list[str]:
    """`pose` for each complete set-point (where the arm is), `mode` for each 0x151, as sent."""
    found: list[str] = []
    halves: dict[int, tuple[float, float]] = {}
    for _, can_id, data in c.sent:
        if can_id == protocol.MODE:
            found.append("mode")
        elif can_id in protocol.JOINTS:
            halves[can_id] = protocol.unpack_angles(data)
            if can_id == protocol.JOINTS[-1]:
                angles = np.concatenate([halves[i] for i in protocol.JOINTS])
                np.testing.assert_allclose(angles, c.arm.joints_rad, atol=2e-3)
                found.append("pose")
    return found


def enabled(c: Cell) -> list[str]:
    """Enable it, step by step; the order of poses and modes until it was armed."""
    c.until(lambda: c.driver.mode is Mode.READY, 3.0)
    c.driver.enable()
    c.until(lambda: c.driver.mode in ARMED, 3.0)
    c.pass_period()
    return order_on_the_wire(c)


@pytest.mark.parametrize("powered", [True, False], ids=["motors on", "motors off"])
def test_a_pose_of_its_own_goes_before_the_mode(powered: bool) -> None:
    settings = POWERED if powered else replace(POWERED, joints_rad=(0.0,) * 6, enabled=False)
    with cell(settings) as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        assert not order_on_the_wire(c)
        c.driver.enable()
        c.until(lambda: c.driver.mode in ARMED, 3.0)
        c.pass_period()
        order = order_on_the_wire(c)
        assert "mode" in order and order[0] == "pose"


def test_a_set_point_that_waits_in_the_controller_is_never_gone_to() -> None:
    with cell() as c:
        left_over(c, OLD_TARGET, CtrlMode.STANDBY)
        order = enabled(c)
        assert order[:2] == ["pose", "mode"]
        c.run(0.5)
        np.testing.assert_allclose(c.arm.joints_rad, HOME[:6], atol=1e-3)


def test_a_mode_that_another_host_left_is_not_taken_for_its_own() -> None:
    """It says CAN control at once: the driver sends its pose all the same, before it is armed."""
    with cell() as c:
        left_over(c, tuple(HOME[:6]), CtrlMode.CAN)
        order = enabled(c)
        assert order[:2] == ["pose", "mode"]


@pytest.mark.parametrize("fault", ["lost_joint", "wide_joint", "short_joint"])
def test_no_pose_no_mode(fault: str) -> None:
    """A joint is no longer heard of while its motors still enable: then nothing follows."""
    with cell(replace(POWERED, joints_rad=(0.0,) * 6, enabled=False)) as c:
        c.until(lambda: c.driver.mode is Mode.READY, 3.0)
        c.arm.faults.not_enabling = 1
        c.driver.enable()
        c.run(0.2)
        setattr(c.arm.faults, fault, 2)
        c.until(lambda: c.driver.mode is Mode.FAULT, 0.3)
        c.arm.faults.not_enabling = 0
        c.run(0.3)
        assert [i for _, i, _ in c.sent if i == protocol.ENABLE]
        assert not [i for _, i, _ in c.sent if i in (protocol.MODE, *protocol.JOINTS)]
        assert c.driver.reason is not None and c.driver.reason.code in (32, 33)
