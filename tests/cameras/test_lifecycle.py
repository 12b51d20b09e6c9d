"""The camera as a managed node: opened and checked, streaming, quiet, let go of."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import SHARE
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_cameras.records import Condition
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros.spinning import spinning
from tests.cameras.emulated import SMALL, rig
from tests.cameras.test_nodes import READY_S, Reader
from tests.fakes.lifecycle_client import LifecycleClient

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
PATIENCE_S, QUIET_S = 60.0, 0.5
NAME = "/cam0/camera"


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(PATIENCE_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns
        CLOCK.sleep_until(CLOCK.monotonic_ns() + 10_000_000)


# ---- On the injected clock ----------------------------------------------------------------------


def test_a_camera_is_opened_and_checked_before_it_streams() -> None:
    made = rig()
    made.source.stream(False)
    assert not made.run(2.0)
    report = made.source.report()
    assert report.condition is Condition.READY and made.body.starts == 0
    assert made.values()["camera"].endswith("CL8F25300A1, firmware 1.1.2")
    made.source.stream(True)
    assert made.run(1.0) and made.body.starts == 1


def test_a_camera_that_stops_stays_open_and_starts_anew() -> None:
    made = rig()
    assert made.run(1.0)
    opened = made.values()["camera"]
    for starts in (2, 3, 4):
        made.source.stream(False)
        made.run(0.2)
        assert not made.run(2.0)
        assert made.source.report().condition is Condition.READY
        assert made.values()["camera"] == opened
        made.source.stream(True)
        taken = made.run(1.0)
        assert len(taken) > 10 and made.body.starts == starts
        assert np.abs(made.stamp_errors_s(taken)).max() < 0.01
    assert made.values()["connection losses"] == "0"


def test_a_camera_that_vanishes_while_it_is_quiet_is_opened_again_and_stays_quiet() -> None:
    made = rig()
    made.source.stream(False)
    made.run(1.0)
    made.body.connected = False
    made.run(10.0)
    assert made.source.report().condition is Condition.FAILED
    made.body.connected = True
    assert not made.run(10.0)
    assert made.source.report().condition is Condition.READY and made.body.starts == 0


def test_a_link_that_is_too_slow_is_told_before_anything_streams() -> None:
    made = rig(body={"connection": "USB2.1"})
    made.source.stream(False)
    made.run(1.0)
    report = made.source.report()
    assert report.condition is Condition.FAILED and "USB2.1" in report.message
    assert made.body.starts == 0


# ---- At the process -----------------------------------------------------------------------------


class _Watcher(Reader):
    """A reader that also drives the states."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("cam0", **arguments)
        self.camera = LifecycleClient(self, NAME)

    def images(self) -> int:
        return len(self.messages["color/image_raw"])

    def more_images(self) -> None:
        before = self.images()
        until(lambda: self.images() > before + 2)

    def says(self, level: bytes, *texts: str) -> bool:
        told = self.health.get(NAME, DiagnosticStatus())
        return told.level == level and all(text in told.message for text in texts)

    def is_quiet(self) -> bool:
        """No image for a while that held several."""
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.2))
        before = self.images()
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(QUIET_S))
        return self.images() == before


@pytest.mark.system
@pytest.mark.beside
@pytest.mark.timeout(240)
def test_the_states_at_the_process(tmp_path: Path) -> None:
    """unconfigured, inactive, active, inactive, unconfigured, active, finalized."""
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"serial": "OTHER"}), encoding="utf-8")
    chosen = {"backend": "emulated", "serial": "FAULTY", "autostart": False, **SMALL}
    spec = NodeSpec(
        *("tests.cameras", "faulty_camera_node", "camera", "cam0"),
        parameters=tuple(chosen.items()),
        arguments=(str(body),),
    )
    with (
        Supervisor((spec,), {SHARE: str(share_root())}, tmp_path) as supervisor,
        spinning(_Watcher, supervisor.domain_id) as heard,
    ):
        supervisor.wait_ready(READY_S)
        camera = heard.camera
        assert camera.state() == "unconfigured" and not heard.images()
        assert not camera.change(Transition.TRANSITION_ACTIVATE), "it is not configured"
        assert not camera.change(Transition.TRANSITION_CONFIGURE), "it is another camera"
        assert camera.state() == "unconfigured"
        words = ("configure was refused: [38] no camera FAULTY", "OTHER")
        until(partial(heard.says, DiagnosticStatus.ERROR, *words))

        body.write_text(json.dumps({"serial": "FAULTY"}), encoding="utf-8")
        assert camera.change(Transition.TRANSITION_CONFIGURE)
        until(partial(heard.says, DiagnosticStatus.WARN, "inactive: opened and checked"))
        assert heard.is_quiet()
        assert camera.change(Transition.TRANSITION_ACTIVATE)
        heard.more_images()
        until(partial(heard.says, DiagnosticStatus.OK, "streaming"))
        assert camera.change(Transition.TRANSITION_DEACTIVATE)
        assert camera.state() == "inactive" and heard.is_quiet()
        assert camera.change(Transition.TRANSITION_CLEANUP)
        assert camera.state() == "unconfigured"
        assert camera.change(Transition.TRANSITION_CONFIGURE)
        assert camera.change(Transition.TRANSITION_ACTIVATE)
        heard.more_images()
        assert camera.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert camera.state() == "finalized"
        supervisor.check()
