"""Driver and emulated arm on one virtual bus, on one clock that moves only when told to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from mvista_bringup.paths import config_file
from mvista_core.arm import load_arm
from mvista_core.errors import MvistaError
from mvista_core.records import Float64, JointCommand, JointState
from mvista_core.timing import ManualClock, ns_to_seconds
from mvista_piper import protocol
from mvista_piper.driver import PiperDriver
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.settings import EmulatorSettings
from mvista_piper.emulator.wire import EmulatedWire, WireBus
from mvista_piper.link import PiperLink
from mvista_piper.settings import PiperSettings
from mvista_piper.status import ARMED, Mode

PERIOD_S = 0.005
PIPER = load_arm(config_file("arms", "piper.yaml"))
HOME = PIPER.home
POWERED = EmulatorSettings(joints_rad=tuple(HOME[:6]), gripper_m=float(HOME[6]), enabled=True)
"""An arm at its home, held there: in reality someone enabled it before."""

HOST_IDS = frozenset({*range(0x150, 0x160), 0x470, 0x471, 0x472, 0x474, 0x475, 0x477})
"""Frames that only a host sends."""
MOVING = (protocol.MODE, *protocol.JOINTS, protocol.GRIPPER, protocol.ENABLE)
"""... and those of them that could move an arm."""


class WallClock(ManualClock):
    """Moves only when told to; its wall time can also be stepped, as NTP does."""

    stepped_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.stepped_ns


class Cell:
    """One arm and its driver. Every frame of the driver is kept: what was sent, and when."""

    def __init__(self, settings: EmulatorSettings = POWERED, **changed: Any) -> None:
        self.clock = WallClock(10**12)
        self.arm = EmulatedPiper(settings)
        self.wire = EmulatedWire(self.arm, self.clock)
        self._spy = self.wire.open()
        driver_settings = replace(PiperSettings(interface="virtual", channel="x"), **changed)
        self.bus: WireBus | None = None
        self.link = PiperLink(self._open, self.clock)
        self.driver = PiperDriver(self.link, PIPER, driver_settings, self.clock)
        self.sent: list[tuple[float, int, bytes]] = []
        self.truth: dict[float, Float64] = {}
        self.driver.open()

    def _open(self) -> WireBus:
        self.bus = self.wire.open()
        return self.bus

    def close(self) -> None:
        self.driver.close()
        self._spy.shutdown()

    # Time
    @property
    def now_s(self) -> float:
        return ns_to_seconds(self.clock.monotonic_ns())

    def tick(self) -> None:
        """One period: the driver, then the arm."""
        self.driver.poll()
        self.driver.tick()
        self.pass_period()

    def pass_period(self) -> None:
        """One period without the driver; what it sent before is noted."""
        while (message := self._spy.recv(0.0)) is not None:
            if message.arbitration_id in HOST_IDS and not message.is_error_frame:
                self.sent.append((self.now_s, message.arbitration_id, bytes(message.data)))
                self.truth[self.now_s] = np.array(self.arm.joints_rad)
        self.wire.pump()
        self.clock.advance(PERIOD_S)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self.tick()

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Run until it holds; how long that took. Fails after `seconds`."""
        began_s = self.now_s
        while not condition():
            assert self.now_s - began_s < seconds, f"not within {seconds} s: {self.driver.status()}"
            self.tick()
        return self.now_s - began_s

    # What one does with an arm
    def enable(self) -> None:
        self.until(lambda: self.driver.mode is Mode.READY, 3.0)
        self.driver.enable()
        self.until(lambda: self.driver.mode in ARMED, 3.0)
        self.run(0.1)

    @property
    def measured(self) -> JointState:
        state = self.driver.state()
        assert state is not None
        return state

    def send(self, positions: Float64) -> None:
        names, stamp_ns = PIPER.joint_names, self.clock.now_ns()
        self.driver.send(JointCommand(names, positions, np.zeros(len(names)), stamp_ns))

    def stream(
        self, joint: int, speed: float, seconds: float, start: Float64 | None = None
    ) -> MvistaError | None:
        """Move one joint at a speed, at 200 Hz; the error that ended it, if one did."""
        goal = (self.measured.positions if start is None else start).copy()
        for _ in range(round(seconds / PERIOD_S)):
            goal[joint] += speed * PERIOD_S
            try:
                self.send(goal)
            except MvistaError as error:
                return error
            self.tick()
        return None

    # What was on the wire
    def set_points(self, since_s: float = 0.0) -> list[tuple[float, Float64]]:
        """Times and joint angles [6] (rad) of every complete set-point the driver sent."""
        found, angles = [], {}
        for time_s, can_id, data in self.sent:
            if can_id in protocol.JOINTS:
                angles[can_id] = protocol.unpack_angles(data)
                if can_id == protocol.JOINTS[-1] and len(angles) == 3 and time_s >= since_s:
                    found.append((time_s, np.concatenate([angles[i] for i in protocol.JOINTS])))
        return found

    def _enabled_s(self) -> list[float]:
        return [time_s for time_s, can_id, _ in self.sent if can_id == protocol.ENABLE]

    def assert_never_unsafe(self) -> None:
        """No disable and no reset on the wire, and no set-point that jumps."""
        for _, can_id, data in self.sent:
            assert not (can_id == protocol.ENABLE and data[1] == protocol.MOTOR_OFF)
            assert not (can_id == protocol.STOP and data[0] == protocol.RESET)
        points = self.set_points()
        for (before_s, before), (after_s, after) in itertools.pairwise(points):
            step = np.abs(after - before).max()
            if any(before_s <= time_s <= after_s for time_s in self._enabled_s()):
                # The arm may have moved without us; the first set-point is where it is.
                step = np.abs(after - self.truth[after_s]).max()
            elapsed_s = min(max(after_s - before_s, PERIOD_S), 0.05)
            assert step <= 3.0 * elapsed_s + 2e-4, f"step of {step:.4f} rad at {after_s:.3f} s"


@contextmanager
def cell(settings: EmulatorSettings = POWERED, **changed: Any) -> Iterator[Cell]:
    """A cell that is checked for safety, whatever the test did, and closed."""
    made = Cell(settings, **changed)
    try:
        yield made
        made.assert_never_unsafe()
    finally:
        made.close()
