"""The driver as a managed node: what each state lets in, at its process and on a test's clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from std_srvs.srv import Trigger

from mvista_core.errors import ArmNotReadyError
from mvista_piper.status import ARMED, Mode
from mvista_ros.spinning import spinning
from tests.fakes.lifecycle_client import LifecycleClient
from tests.piper.cell import cell
from tests.piper.test_node import DOMAIN, NODE, ROOT, Operator, running_driver, tell_the_arm, until

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0
BY_HAND = ["autostart:=false"]


# ---- On the injected clock: every frame that leaves is looked at --------------------------------


def test_an_inactive_driver_brakes_holds_and_lets_nobody_in() -> None:
    with cell() as here:
        here.enable()
        here.stream(0, 1.0, 0.5)
        here.driver.deactivate()
        with pytest.raises(ArmNotReadyError, match="inactive.*activate it"):
            here.send(here.measured.positions)
        assert here.driver.braking
        here.until(lambda: not here.driver.braking and here.driver.mode in ARMED, 1.0)
        here.run(0.3)
        at = here.measured.positions
        for order in (here.driver.enable, here.driver.rearm):
            with pytest.raises(ArmNotReadyError, match="inactive"):
                order()
        here.run(1.0)
        np.testing.assert_allclose(here.measured.positions, at, atol=1e-3)
        assert all(motor is not None and motor.enabled for motor in here.driver.status().motors)
        here.driver.activate()
        assert here.stream(0, -1.0, 0.3) is None
        assert here.driver.mode is Mode.TRACKING


def test_enabling_by_itself_waits_for_the_activation() -> None:
    with cell(enable_at_start=True) as here:
        here.driver.deactivate()
        here.until(lambda: here.driver.mode is Mode.READY, 3.0)
        here.run(1.0)
        assert here.driver.mode is Mode.READY and not here.set_points()
        here.driver.activate()
        here.until(lambda: here.driver.mode in ARMED, 3.0)


def test_motors_that_are_being_enabled_go_on_to_hold() -> None:
    with cell() as here:
        here.until(lambda: here.driver.mode is Mode.READY, 3.0)
        here.driver.enable()
        here.driver.deactivate()
        here.until(lambda: here.driver.mode is Mode.HOLDING, 3.0)
        with pytest.raises(ArmNotReadyError, match="inactive"):
            here.send(here.measured.positions)


def test_a_closed_driver_says_so_and_can_be_opened_again() -> None:
    with cell() as here:
        here.enable()
        here.driver.close()
        sent = len(here.sent)
        for order in (here.driver.quick_stop, here.driver.make_follower, here.driver.enable):
            with pytest.raises(ArmNotReadyError, match="closed"):
                order()
        here.pass_period()
        assert here.driver.mode is Mode.CLOSED and len(here.sent) == sent
        here.driver.open()
        here.enable()


# ---- At the process -----------------------------------------------------------------------------


class Manager(Operator):
    """Also drives the states, by the services that `ros2 lifecycle` calls."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.driver = LifecycleClient(self, "/piper/driver")
        for name in ("quick_stop", "make_follower"):
            self._operator[name] = self.create_client(Trigger, name)

    def says(self, level: bytes, *texts: str) -> bool:
        last = self.statuses[-1] if self.statuses else DiagnosticStatus()
        return last.level == level and all(text in last.message for text in texts)

    def value(self, key: str) -> str:
        return next((v.value for v in self.statuses[-1].values if v.key == key), "")

    def stands(self, joint: int, at_rad: float) -> bool:
        """Whether it stands there for the next 40 joint states."""
        count = len(self.states)
        assert until(lambda: len(self.states) > count + 40, PATIENCE_S)
        angles = [state.position[joint] for state in self.states[-20:]]
        return max(abs(angle - at_rad) for angle in angles) < 0.01


@pytest.mark.system
@pytest.mark.timeout(240)
def test_the_states_at_the_process(tmp_path: Path) -> None:
    """unconfigured, inactive, active, inactive, unconfigured, active, finalized."""
    with (
        running_driver(tmp_path, ["silent=1"], extra=BY_HAND) as process,
        spinning(Manager, DOMAIN) as manager,
    ):
        driver = manager.driver
        assert driver.state() == "unconfigured"
        _cannot_be_configured(manager)
        tell_the_arm("clear")

        assert driver.change(Transition.TRANSITION_CONFIGURE)
        assert driver.state() == "inactive"
        assert until(lambda: len(manager.states) > 20, PATIENCE_S), "where it stands is told"
        manager.move(0, 0.3, 0.5)
        assert manager.stands(0, 0.0)
        assert until(lambda: int(manager.value("set-points refused")) > 5, PATIENCE_S)
        refused = manager.call("enable")
        assert not refused.success and "[33] the driver is inactive" in refused.message
        assert not driver.change(Transition.TRANSITION_DEACTIVATE), "it is not active"

        assert driver.change(Transition.TRANSITION_ACTIVATE)
        assert until(partial(manager.says, DiagnosticStatus.WARN, "ready, not enabled"), PATIENCE_S)
        manager.move(0, 0.3, 0.5)
        assert manager.stands(0, 0.0), "active is not enabled"
        assert manager.call("enable").success
        manager.move(0, 0.2, 1.0)
        assert until(lambda: abs(manager.positions()[0] - 0.2) < 0.01, PATIENCE_S)

        at_rad = _holds_when_deactivated_in_motion(manager)
        assert driver.change(Transition.TRANSITION_ACTIVATE)
        manager.move(0, 0.1, 0.5)
        assert until(lambda: abs(manager.positions()[0] - at_rad - 0.1) < 0.01, PATIENCE_S)

        assert driver.change(Transition.TRANSITION_DEACTIVATE)
        assert driver.change(Transition.TRANSITION_CLEANUP)
        assert driver.state() == "unconfigured"
        count = len(manager.states)
        assert driver.change(Transition.TRANSITION_CONFIGURE)
        assert until(lambda: len(manager.states) > count + 20, PATIENCE_S)
        assert manager.stands(0, at_rad + 0.1), "it held while nobody was connected"
        assert until(lambda: manager.value("motor 1").startswith("on"), PATIENCE_S)
        assert driver.change(Transition.TRANSITION_ACTIVATE)
        assert manager.call("enable").success
        manager.move(0, -0.1, 0.5)
        assert until(lambda: abs(manager.positions()[0] - at_rad) < 0.01, PATIENCE_S)
        _shut_down(manager, process)


def _holds_when_deactivated_in_motion(manager: Manager) -> float:
    """Where its first joint stands then."""
    mover = threading.Thread(target=manager.move, args=(0, 0.8, 4.0))
    mover.start()
    assert until(lambda: manager.positions()[0] > 0.3, PATIENCE_S)
    assert manager.driver.change(Transition.TRANSITION_DEACTIVATE)
    at_rad = float(manager.positions()[0])
    assert mover.is_alive() and manager.stands(0, at_rad), "it held while set-points came"
    mover.join()
    assert manager.stands(0, at_rad)
    assert until(partial(manager.says, DiagnosticStatus.WARN, "inactive: holding"), PATIENCE_S)
    assert manager.value("motor 1").startswith("on"), "a hold is no disable"
    return at_rad


def _cannot_be_configured(manager: Manager) -> None:
    """Nobody answers on that bus."""
    driver = manager.driver
    assert until(partial(manager.says, DiagnosticStatus.WARN, "unconfigured"), PATIENCE_S)
    assert "closed" in manager.call("quick_stop").message
    assert not driver.change(Transition.TRANSITION_CONFIGURE), "nobody answers on that bus"
    assert driver.state() == "unconfigured"
    silent = partial(manager.says, DiagnosticStatus.ERROR, "configure was refused: [32]")
    assert until(silent, PATIENCE_S)


def _shut_down(manager: Manager, process: subprocess.Popen[bytes]) -> None:
    driver = manager.driver
    assert driver.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert driver.state() == "finalized" and process.poll() is None
    assert until(lambda: "finalized" in driver.states_heard, PATIENCE_S)
    assert {"unconfigured", "inactive", "active"} <= set(driver.states_heard)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.system
def test_an_arm_that_must_not_be_moved_is_not_activated(tmp_path: Path) -> None:
    """It can still be made one that may: that is what `inactive` is for."""
    with (
        running_driver(tmp_path, ["leader=1"], extra=BY_HAND),
        spinning(Manager, DOMAIN) as manager,
    ):
        assert manager.driver.change(Transition.TRANSITION_CONFIGURE)
        assert not manager.driver.change(Transition.TRANSITION_ACTIVATE)
        assert manager.driver.state() == "inactive"
        refused = partial(manager.says, DiagnosticStatus.ERROR, "activate was refused: [34]")
        assert until(refused, PATIENCE_S)
        assert manager.call("make_follower").success
        ready = partial(manager.says, DiagnosticStatus.ERROR, "inactive: ready")
        assert until(ready, PATIENCE_S), manager.statuses[-1].message
        assert manager.driver.change(Transition.TRANSITION_ACTIVATE)
        assert until(partial(manager.says, DiagnosticStatus.WARN, "ready, not"), PATIENCE_S)


@pytest.mark.system
def test_a_bus_that_is_not_there_leaves_the_driver_unconfigured(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", NODE, "--ros-args", "-r", "__ns:=/piper", "--params-file",
             "config/piper.yaml", "-p", "autostart:=false", "-p", "channel:=nocan7"],
            cwd=ROOT, env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN)}, stderr=log,
        )  # fmt: skip
        try:
            with spinning(Manager, DOMAIN) as manager:
                assert not manager.driver.change(Transition.TRANSITION_CONFIGURE)
                assert manager.driver.state() == "unconfigured"
                words = ("configure was refused: [36]", "nocan7")
                assert until(partial(manager.says, DiagnosticStatus.ERROR, *words), PATIENCE_S)
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    assert "configure was refused: [36]" in (tmp_path / "log").read_text()
