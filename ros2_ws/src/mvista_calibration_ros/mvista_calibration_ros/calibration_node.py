"""Calibration behind three actions: `calibration/collect`, `calibration/solve` and `.../verify`.

The node hears topics and answers goals; what is decided lies in work.py, collector.py and
mvista_calibration. A rig that passes is shown at once, by the rig publisher, which alone says where
cameras are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvista_interfaces.action import CollectCalibration, SolveCalibration, VerifyCalibration
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from mvista_calibration_ros.collector import Collected, Tell
from mvista_calibration_ros.frame_node import FrameNode
from mvista_calibration_ros.work import CalibrationWork
from mvista_core.errors import CalibrationError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_ros import convert
from mvista_ros.actions import WorkServer, call_service
from mvista_ros.base_node import Health, run_node

START_ONE = "calibrate.launch.py rig_publisher:=true"


class CalibrationNode(FrameNode):
    """Collects, solves and verifies; one goal of each kind at a time."""

    def __init__(self, clock: Clock | None = None, **node_arguments: Any) -> None:
        super().__init__("calibration", clock, **node_arguments)
        self._work = CalibrationWork(self.settings, self.buffer, self.system_clock)
        self._rig_publisher = self.create_client(
            SetParameters, f"{self.settings.rig_publisher}/set_parameters"
        )
        self._servers = [
            WorkServer(self, CollectCalibration, "calibration/collect", self._collect, self._guide),
            WorkServer(self, SolveCalibration, "calibration/solve", self._solve),
            WorkServer(self, VerifyCalibration, "calibration/verify", self._verify, self._guide),
        ]

    def health(self) -> Health:
        """Ages of the cameras' images, what is being worked on, how the last goal ended."""
        return self._work.health(any(server.busy for server in self._servers))

    def stop(self) -> None:
        """End goals; shots already recorded stay."""
        for server in self._servers:
            server.stop(1.0)

    def collect(self, folder: Path, shots: int, scene: bool, tell: Tell) -> Collected:
        """What the action does, for a caller in this process; the node must be spinning."""
        return self._work.record(folder, shots, scene, tell)

    def _guide(self, feedback: Any) -> None:
        guidance = self._work.guidance
        if guidance is None:
            return
        coverage = guidance.coverage
        feedback.advice, feedback.refused = coverage.advice, guidance.refused
        feedback.cameras = list(self.settings.cameras)
        feedback.sees = [guidance.sees.get(name, False) for name in self.settings.cameras]
        feedback.views = [coverage.views[name] for name in self.settings.cameras]
        feedback.image_coverage = [coverage.image[name] for name in self.settings.cameras]
        feedback.workspace_coverage = coverage.workspace
        feedback.shots = coverage.shots

    def _collect(
        self, goal: CollectCalibration.Goal, progress: Progress
    ) -> CollectCalibration.Result:
        found = self._work.collect(goal.session, goal.shots, goal.scene, progress)
        return CollectCalibration.Result(
            outcome=convert.outcome_ok(),
            folder=str(found.folder),
            shots=found.coverage.shots,
            cameras=list(found.coverage.views),
            views=list(found.coverage.views.values()),
            missing="; ".join(found.coverage.missing),
        )

    def _solve(self, goal: SolveCalibration.Goal, progress: Progress) -> SolveCalibration.Result:
        found = self._work.solve(goal.session, goal.rig, goal.method, progress)
        words = f"{found.words} {self._show(found.rig_file)}" if found.passed else found.words
        self._work.last = words
        error = found.error
        if error is None and not found.passed:
            error = CalibrationError(f"{found.words} See {found.report}")
        return SolveCalibration.Result(
            outcome=convert.outcome_ok() if error is None else convert.outcome_from_error(error),
            passed=found.passed,
            words=words,
            report=str(found.report),
            rig_file=str(found.rig_file),
            cameras=list(found.rig.names),
            base_from_camera=[
                convert.pose_to_msg(camera.base_from_camera) for camera in found.rig.cameras
            ],
        )

    def _verify(self, goal: VerifyCalibration.Goal, progress: Progress) -> VerifyCalibration.Result:
        found = self._work.verify(goal.rig_file, goal.session, goal.shots, progress)
        return VerifyCalibration.Result(
            outcome=convert.outcome_ok(),
            holds=found.holds,
            words=found.words,
            cameras=[camera.name for camera in found.cameras],
            moved_m=[float(camera.moved_m) for camera in found.cameras],
            turned_rad=[float(camera.turned_rad) for camera in found.cameras],
            sigmas=[float(camera.sigmas) for camera in found.cameras],
        )

    def _show(self, rig_file: Path) -> str:
        """Have the rig publisher show this rig; in words, whether it does."""
        value = Parameter("rig_file", value=str(rig_file.resolve())).to_parameter_msg()
        request = SetParameters.Request(parameters=[value])
        try:
            (answer,) = call_service(self._rig_publisher, request, self.system_clock).results
        except UnavailableError as error:
            return f"Not shown on /tf_static: {error} (a rig publisher: {START_ONE})."
        if not answer.successful:
            return f"Not shown on /tf_static: {answer.reason}."
        name = self._rig_publisher.service_name.rpartition("/")[0]
        return f"Shown on /tf_static by {name}."


def main() -> None:
    """Entry point of the `calibration_node` executable."""
    run_node(CalibrationNode, threads=6)
