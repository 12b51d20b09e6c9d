"""The cell in real time: what nobody watches is not drawn, and what is drawn is now."""

from __future__ import annotations

import threading
import time

from mvista_core.arm import ArmModel
from mvista_core.records import CameraFrame, RigCalibration
from mvista_core.timing import SystemClock
from mvista_sim.cell import SimCell
from mvista_sim.live_cell import LiveCell

CLOCK = SystemClock()
WAIT_S = 20.0


def test_only_watched_cameras_are_drawn(arm: ArmModel, rig: RigCalibration) -> None:
    watched, drawn = {"cam2"}, list[CameraFrame]()
    came = threading.Event()

    def take(frame: CameraFrame) -> None:
        drawn.append(frame)
        came.set()

    live = LiveCell(SimCell(arm, rig), CLOCK, lambda state: None, take, watched.__contains__)
    live.start()
    try:
        assert came.wait(WAIT_S)
        watched.clear()
        time.sleep(0.3)  # one may be on its way
        drawn.clear()
        time.sleep(0.5)
        assert drawn == []
        asked_ns = CLOCK.now_ns()
        came.clear()
        watched.add("cam0")
        assert came.wait(WAIT_S)
        assert {frame.camera for frame in drawn} == {"cam0"} and drawn[0].stamp_ns > asked_ns
        live.check()
    finally:
        live.stop()
