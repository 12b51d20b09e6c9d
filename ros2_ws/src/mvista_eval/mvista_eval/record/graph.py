"""The graphs of these benches, and who starts and ends their episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvista_interfaces.srv import EndEpisode, StartEpisode
from rclpy.node import Node

from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.paths import config_file
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import BusyError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_eval.capture.bench import camera_spec
from mvista_eval.live import let_run
from mvista_eval.record import ARMS, RIG
from mvista_ros.actions import call_service

READY_S, PATIENCE_S, ANSWER_S = 180.0, 90.0, 60.0
QUESTION_S, RETRY_S = 10.0, 0.25
SIZE_PX = (1280, 720)
INSTRUCTION = "what a bench records"


def bolt(name: str, index: int, emulation: str, fps: int = 15) -> NodeSpec:
    """An emulated Femto Bolt in a process of its own."""
    return camera_spec(name, index, SIZE_PX, fps, "emulated", emulation=emulation)


def arm_traffic() -> NodeSpec:
    """Both arms' topics, numbered."""
    return NodeSpec(
        "mvista_eval",
        "arm_traffic_node",
        "arm_traffic",
        parameters=(("arm_file", _file("arms", "piper")), ("arms", ARMS)),
    )


def recorder(
    root: Path,
    cameras: tuple[str, ...],
    arms: tuple[str, ...] = ARMS,
    least_share: float = 1.0,
    fps: float = 15.0,
) -> NodeSpec:
    """The recorder's process; with a `least_share` below 1 slower streams will do too."""
    return NodeSpec(
        "mvista_recorder",
        "recorder_node",
        "recorder",
        parameter_file="config/recorder.yaml",
        parameters=(
            ("root", str(root)),
            ("rig_file", _file("rigs", RIG)),
            ("arm_file", _file("arms", "piper")),
            ("cameras", cameras),
            ("arms", arms),
            ("camera_rate_hz", fps * least_share),
            ("joint_rate_hz", 200.0 * least_share),
        ),
    )


def _file(folder: str, name: str) -> str:
    return str(config_file(folder, f"{name}.yaml"))


class RecordDesk(Node):
    """Starts and ends episodes by the recorder's services."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("bench_record", **arguments)
        self._clock: Clock = SystemClock()
        self._start = self.create_client(StartEpisode, "recorder/start")
        self._end = self.create_client(EndEpisode, "recorder/end")
        self.said = ""

    def start(self, supervisor: Supervisor) -> None:
        """Ask until the streams are in order.

        Raises:
            UnavailableError: they never are.
        """
        asked = StartEpisode.Request(instruction=INSTRUCTION)
        unanswered = False

        def begun() -> bool:
            nonlocal unanswered
            try:
                answer = call_service(self._start, asked, self._clock, QUESTION_S)
            except UnavailableError as error:
                # What is asked of one that was killed, or is not known yet, nobody hears.
                self.said, unanswered = str(error), True
                return False
            self.said = answer.outcome.message
            heard_late = unanswered and answer.outcome.code == BusyError.code
            return answer.outcome.code == 0 or heard_late

        until_ns = self._clock.monotonic_ns() + seconds_to_ns(PATIENCE_S)
        while not begun():
            let_run(supervisor, RETRY_S, self._clock)
            if self._clock.monotonic_ns() < until_ns:
                continue
            raise UnavailableError(f"nothing could be recorded for {PATIENCE_S:g} s: {self.said}")

    def end(self, label: str = "success") -> None:
        """Raises UnavailableError: the episode could not be ended."""
        answer = call_service(self._end, EndEpisode.Request(label=label), self._clock, ANSWER_S)
        if answer.outcome.code:
            raise UnavailableError(f"the episode was not ended: {answer.outcome.message}")
