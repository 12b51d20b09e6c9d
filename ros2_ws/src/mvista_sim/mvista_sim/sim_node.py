"""The simulated cell behind the topics of the hardware: four RGB-D cameras and one arm."""

from __future__ import annotations

from mvista_interfaces.srv import EvaluateTask, MoveCamera, ResetScene

from mvista_core.arm import load_arm
from mvista_core.records import CameraFrame, JointState
from mvista_core.rig import load_rig
from mvista_core.timing import ns_to_seconds
from mvista_ros import convert
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.camera_publisher import CameraPublisher
from mvista_ros.listening import MALFORMED
from mvista_ros.parameters import declare
from mvista_sim.arm_topics import FollowedArm, ServedArm
from mvista_sim.cell import SimCell
from mvista_sim.live_cell import LiveCell
from mvista_sim.sim_parameters import SimParameters

STATUS_PERIOD_S = 0.1
REALTIME_PRIORITY = 10
"""Below a driver's. Measured on two overloaded cores: while this process was starved, another
reader of the set-points got them up to 27 ms late and some not at all; so, none over 1.2 ms."""


class SimNode(HouseNode):
    """Serves the cell in real time; a command that stops coming is a hold."""

    def __init__(self) -> None:
        super().__init__("sim")
        settings = declare(self, SimParameters)
        arm, rig = load_arm(settings.arm_file), load_rig(settings.rig_file)
        cell = SimCell(arm, rig, settings.noise)
        self._instruction = cell.reset(settings.task, settings.seed)
        self._scene = f"{settings.task} {settings.seed}"
        self._states = self._frames = 0
        self._counted_ns = self.system_clock.monotonic_ns()
        self._cameras = {name: CameraPublisher(self, name) for name in rig.names}
        self.create_service(ResetScene, "sim/reset_scene", self._on_reset)
        self.create_service(MoveCamera, "sim/move_camera", self._on_move)
        self.create_service(EvaluateTask, "sim/evaluate_task", self._on_evaluate)
        self._live = LiveCell(
            cell,
            self.system_clock,
            self._publish_state,
            self._publish_frame,
            lambda camera: self._cameras[camera].watched,
            settings.joint_rate_hz,
            settings.frame_rate_hz,
            settings.noise,
        )
        self._arm: ServedArm | FollowedArm = (
            FollowedArm(self, self._live, settings.arm)
            if settings.follow_arm
            else ServedArm(self, self._live, arm, settings.arm)
        )
        self.create_timer(STATUS_PERIOD_S, self._tick)
        self._live.start()

    def health(self) -> Health:
        """The scene, and the rates that were really kept since the last report."""
        now_ns = self.system_clock.monotonic_ns()
        elapsed_s = max(ns_to_seconds(now_ns - self._counted_ns), 1e-6)
        watched = sum(camera.watched for camera in self._cameras.values())
        rates = self._states / elapsed_s, self._frames / elapsed_s / max(watched, 1)
        self._states, self._frames, self._counted_ns = 0, 0, now_ns
        values = (
            ("joint states (Hz)", f"{rates[0]:.1f}"),
            ("cameras watched", f"{watched} of {len(self._cameras)}"),
            ("images per watched camera (Hz)", f"{rates[1]:.1f}"),
        )
        health = Health(Level.OK, f"scene {self._scene}: {self._instruction}", values)
        return self._arm.graded(health)

    def stop(self) -> None:
        """End the cell's threads."""
        self._live.stop()

    def _publish_state(self, state: JointState) -> None:
        self._arm.publish(state)
        self._states += 1

    def _publish_frame(self, frame: CameraFrame) -> None:
        self._cameras[frame.camera].publish(frame)
        self._frames += 1

    def _tick(self) -> None:
        self._live.check()
        self._arm.tell(self._scene)

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            self._instruction = self._live.reset(request.task, request.seed)
            self._scene = f"{request.task} {request.seed}"
            response.instruction, response.outcome = self._instruction, convert.outcome_ok()
        except MALFORMED as error:
            response.outcome = convert.outcome_from_error(error)
        return response

    def _on_move(
        self, request: MoveCamera.Request, response: MoveCamera.Response
    ) -> MoveCamera.Response:
        try:
            step = convert.pose_from_msg(request.camera_from_moved)
            self._live.move_camera(request.camera, step)
            response.outcome = convert.outcome_ok()
        except MALFORMED as error:
            response.outcome = convert.outcome_from_error(error)
        return response

    def _on_evaluate(
        self, request: EvaluateTask.Request, response: EvaluateTask.Response
    ) -> EvaluateTask.Response:
        try:
            result = self._live.evaluate(request.instruction or None)
            response.success, response.detail = result.success, result.detail
        except MALFORMED as error:
            response.success, response.detail = False, str(error)
        return response


def main() -> None:
    """Entry point of the `sim_node` executable."""
    run_node(SimNode, realtime_priority=REALTIME_PRIORITY)
