"""Calibration behind three actions: `calibration/collect`, `calibration/solve` and `.../verify`.

The node feeds a `FrameBuffer` and answers goals; what is decided lies in collector.py and
mvista_calibration. A rig that passes is shown at once, by the rig publisher, which alone says where
cameras are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mvista_interfaces.action import CollectCalibration, SolveCalibration, VerifyCalibration
from rcl_interfaces.srv import SetParameters
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, JointState

from mvista_calibration.pipeline import METHODS
from mvista_calibration.recorded import SolveRequest, solve, verify
from mvista_calibration_ros.collector import Collected, Collector, Guidance
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError, CancelledError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_ros import convert, qos
from mvista_ros.actions import WorkServer, call_service
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.parameters import declare

SILENT_S = 3.0
START_ONE = "calibrate.launch.py rig_publisher:=true"


class CalibrationNode(HouseNode):
    """Collects, solves and verifies; one goal of each kind at a time."""

    def __init__(self, clock: Clock | None = None, **node_arguments: Any) -> None:
        super().__init__("calibration", clock, **node_arguments)
        self._settings = settings = declare(self, CalibrationParameters)
        self._board = settings.board
        arm = load_arm(settings.arm_file) if settings.board_on_gripper else None
        self._buffer = FrameBuffer(settings.cameras, self.system_clock)
        self._collector = Collector(settings, self._buffer, self.system_clock, arm)
        self._guidance: Guidance | None = None
        self._last = "no goal yet"
        self._subscribe()
        self._rig_publisher = self.create_client(
            SetParameters, f"{settings.rig_publisher}/set_parameters"
        )
        self._servers = [
            WorkServer(self, CollectCalibration, "calibration/collect", self._collect, self._guide),
            WorkServer(self, SolveCalibration, "calibration/solve", self._solve),
            WorkServer(self, VerifyCalibration, "calibration/verify", self._verify, self._guide),
        ]

    def health(self) -> Health:
        """Ages of the cameras' images, what is being worked on, how the last goal ended."""
        ages = self._buffer.ages_s()
        silent = [name for name, age in ages.items() if age is None or age > SILENT_S]
        working = any(server.busy for server in self._servers)
        values = [
            (f"{name} age", "no image" if age is None else f"{age:.2f} s")
            for name, age in ages.items()
        ]
        if self._guidance is not None:
            coverage = self._guidance.coverage
            values += [("shots", str(coverage.shots)), ("next", coverage.advice)]
        values.append(("last goal", self._last))
        if silent and working:
            return Health(Level.WARN, f"silent: {', '.join(silent)}", tuple(values))
        return Health(Level.OK, "working" if working else "waiting for a goal", tuple(values))

    def stop(self) -> None:
        """End goals; shots already recorded stay."""
        for server in self._servers:
            server.stop(1.0)

    def collect(
        self, folder: Path, shots: int, scene: bool, tell: Callable[[Guidance], bool]
    ) -> Collected:
        """What the action does, for a caller in this process; the node must be spinning."""
        if scene:
            return self._collector.record_scene(folder)
        return self._collector.collect(folder, shots, tell)

    def _subscribe(self) -> None:
        settings = self._settings
        # Images of one camera in turn, cameras side by side: 4K takes a while to take over.
        for name in settings.cameras:
            group = MutuallyExclusiveCallbackGroup()
            listen = partial(self.listen, group=group)
            color, depth = f"{name}/{settings.color_topic}", f"{name}/{settings.depth_topic}"
            on_color = partial(self._buffer.add_color, name)
            listen(Image, color, on_color, qos.SENSOR_IN, raw=True)
            if settings.depth_topic:
                on_depth = partial(self._buffer.add_depth, name)
                listen(Image, depth, on_depth, qos.SENSOR_IN, raw=True)
            info = f"{name}/{settings.info_topic}"
            listen(CameraInfo, info, partial(self._on_info, name), qos.SENSOR_IN)
        if settings.board_on_gripper:
            self.listen(
                JointState,
                f"{settings.arm}/joint_states",
                lambda message: self._buffer.add_joints(convert.joint_state_from_msg(message)),
                qos.SENSOR_IN,
                group=ReentrantCallbackGroup(),
            )

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        self._buffer.add_info(camera, convert.intrinsics_from_msg(message))

    def _guide(self, feedback: Any) -> None:
        guidance = self._guidance
        if guidance is None:
            return
        coverage = guidance.coverage
        feedback.advice, feedback.refused = coverage.advice, guidance.refused
        feedback.cameras = list(self._settings.cameras)
        feedback.sees = [guidance.sees.get(name, False) for name in self._settings.cameras]
        feedback.views = [coverage.views[name] for name in self._settings.cameras]
        feedback.image_coverage = [coverage.image[name] for name in self._settings.cameras]
        feedback.workspace_coverage = coverage.workspace
        feedback.shots = coverage.shots

    def _teller(self, progress: Progress) -> Callable[[Guidance], bool]:
        self._guidance = None

        def tell(guidance: Guidance) -> bool:
            self._guidance = guidance
            return progress(guidance.stage, guidance.progress)

        return tell

    def _collect(
        self, goal: CollectCalibration.Goal, progress: Progress
    ) -> CollectCalibration.Result:
        folder = self._settings.session_folder(goal.session)
        self._last = f"collecting into {folder}"
        tell = self._teller(progress)
        if goal.scene and not progress("scene", 0.0):
            raise CancelledError("cancelled before the scene was recorded")
        found = self.collect(folder, goal.shots, goal.scene, tell)
        self._last = f"{found.coverage.shots} shots in {folder}"
        return CollectCalibration.Result(
            outcome=convert.outcome_ok(),
            folder=str(folder),
            shots=found.coverage.shots,
            cameras=list(found.coverage.views),
            views=list(found.coverage.views.values()),
            missing="; ".join(found.coverage.missing),
        )

    def _solve(self, goal: SolveCalibration.Goal, progress: Progress) -> SolveCalibration.Result:
        settings = self._settings
        asked = SolveRequest(
            settings.session_folder(goal.session),
            goal.rig,
            Path(settings.rigs_folder),
            goal.method or METHODS[0],
            settings.base_frame,
            settings.keep_lenses,
        )
        found = solve(asked, self.system_clock, progress)
        words = f"{found.words} {self._show(found.rig_file)}" if found.passed else found.words
        self._last = words
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
        if not goal.rig_file:
            raise CalibrationError("verify needs a rig_file, such as config/rigs/sim_cell.yaml")
        tell = self._teller(progress)
        if goal.session:
            folder = self._settings.session_folder(goal.session)
        else:
            stamp = f"verify_{self.system_clock.now_ns() // 1_000_000_000}"
            folder = Path(self._settings.sessions_folder) / stamp
            self._collector.collect(folder, 0, tell, self._settings.verify_limits(goal.shots))
        found = verify(folder, Path(goal.rig_file), progress)
        self._last = found.words
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
