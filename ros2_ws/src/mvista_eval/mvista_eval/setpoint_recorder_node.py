"""The reader of `mvista bench executor`: notes stamp and arrival of every set-point, as a driver
would get it, at the priority that a driver has; and the gaps that the executor reports."""

from __future__ import annotations

import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mvista_interfaces.msg import SetPointReport
from sensor_msgs.msg import JointState

from mvista_core import realtime
from mvista_eval.executor.setpoints import Recorded, ToldGap
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import stamp_to_ns
from mvista_ros.parameters import declare, parameter

REALTIME_PRIORITY = 20


@dataclass(frozen=True)
class RecorderParameters:
    """What is read, and where the log goes."""

    topic: str = parameter("piper/joint_command", "Set-points to listen to")
    reports: str = parameter("piper/set_point_report", "What is told of them")
    log: str = parameter("", "File (.npz) for stamp and arrival of each, written at exit")


class SetpointRecorderNode(HouseNode):
    """Writes `Recorded`."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self._settings = declare(self, RecorderParameters)
        self._noted = array.array("q")
        self._gaps: list[ToldGap] = []
        # Deeper than a driver's queue of one: what the next one overtakes in this reader was sent
        # all the same.
        self.listen(JointState, self._settings.topic, self._take, qos.RECORD_IN)
        self.listen(SetPointReport, self._settings.reports, self._hear, qos.EVENTS)
        realtime.switch_threads_soon()
        realtime.freeze_collector()

    def health(self) -> Health:
        """How many set-points have come."""
        return Health(message=f"{len(self._noted) // 2} set-points")

    def stop(self) -> None:
        """Write the log."""
        if self._settings.log:
            setpoints = np.array(self._noted, np.int64).reshape(-1, 2)
            Recorded(setpoints, tuple(self._gaps)).write(Path(self._settings.log))

    def _take(self, message: JointState) -> None:
        arrived_ns = self.system_clock.now_ns()
        self._noted.append(stamp_to_ns(message.header.stamp))
        self._noted.append(arrived_ns)

    def _hear(self, message: SetPointReport) -> None:
        if message.gap_s > 0.0:
            self._gaps.append(ToldGap(stamp_to_ns(message.header.stamp), message.gap_s * 1e3))


def main() -> None:
    """Entry point, started by `mvista bench executor`."""
    run_node(SetpointRecorderNode, realtime_priority=REALTIME_PRIORITY)
