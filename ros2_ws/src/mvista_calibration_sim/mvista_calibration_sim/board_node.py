"""The cell with a ChArUco board carried through it, behind the cameras' and the arm's topics.

For trying a calibration without a robot: `sim/next_place` (Trigger) carries the board on,
`sim/show_board` (SetBool) takes it out of sight or brings it back; both answer on arrival. With
`hold_s` above 0 the board moves on by itself, as a person would who follows no advice.
"""

from __future__ import annotations

import threading
from pathlib import Path

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import SetBool, Trigger

from mvista_calibration_sim.board_cell import GRIPPER, write_truth
from mvista_calibration_sim.board_parameters import BoardParameters
from mvista_calibration_sim.carried_board import CarriedBoard
from mvista_core.arm import load_arm
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros import convert, qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.observation import CameraTopics
from mvista_ros.parameters import declare

JOINT_PERIOD_S = 0.02


class BoardNode(HouseNode):
    """Draws on a thread of its own; of the executor's, one publishes joints, one serves."""

    def __init__(self) -> None:
        super().__init__("sim")
        self._settings = settings = declare(self, BoardParameters)
        arm = load_arm(settings.arm_file)
        clock = self.system_clock
        self._carried = CarriedBoard(settings.session, arm, clock, settings.move_s)
        if settings.truth_file:
            Path(settings.truth_file).parent.mkdir(parents=True, exist_ok=True)
            write_truth(Path(settings.truth_file), self._carried.truth)
        self._images = {
            name: (
                self.create_publisher(Image, topic.color, qos.SENSOR_OUT),
                self.create_publisher(Image, topic.depth, qos.SENSOR_OUT),
                self.create_publisher(CameraInfo, topic.info, qos.SENSOR_OUT),
            )
            for name, topic in ((n, CameraTopics.of(n)) for n in self._carried.names)
        }
        if settings.board_at == GRIPPER:
            self._joints = self.create_publisher(
                JointStateMsg, f"{settings.arm}/joint_states", qos.SENSOR_OUT
            )
            self.create_timer(JOINT_PERIOD_S, self._publish_joints)
        group = MutuallyExclusiveCallbackGroup()
        self.create_service(Trigger, "sim/next_place", self._on_next, callback_group=group)
        self.create_service(SetBool, "sim/show_board", self._on_show, callback_group=group)
        self._arrived_ns, self._shown = clock.monotonic_ns(), True
        self._frames, self._counted_ns = 0, clock.monotonic_ns()
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="rendering")
        self._thread.start()

    def health(self) -> Health:
        """Where the board is, and the image rate that was really kept since the last report."""
        if self._failure is not None:
            raise self._failure
        now_ns = self.system_clock.monotonic_ns()
        elapsed_s = max(ns_to_seconds(now_ns - self._counted_ns), 1e-6)
        rate = self._frames / elapsed_s / len(self._images)
        self._frames, self._counted_ns = 0, now_ns
        at = f"the board is at place {self._carried.index + 1} of {self._carried.count}"
        words = at if self._shown else "the board is out of the cell"
        return Health(Level.OK, words, (("images per camera (Hz)", f"{rate:.1f}"),))

    def stop(self) -> None:
        """End the drawing thread."""
        self._stopping.set()
        self._thread.join()

    def _guarded(self) -> None:
        try:
            self._draw()
        except Exception as error:
            self._failure = error

    def _draw(self) -> None:
        """One camera at a time, no faster than the frame rate."""
        clock = self.system_clock
        period_ns = seconds_to_ns(1.0 / self._settings.frame_rate_hz / len(self._images))
        try:
            while not self._stopping.is_set():
                for name in self._images:
                    due_ns = clock.monotonic_ns() + period_ns
                    self._publish_shot(name)
                    clock.sleep_until(due_ns)
                    if self._stopping.is_set():
                        break
                self._move_on()
        finally:
            self._carried.close()

    def _publish_shot(self, name: str) -> None:
        shot, frame_id = self._carried.shot(name), convert.optical_frame(name)
        color, depth, info = self._images[name]
        info.publish(convert.camera_info_to_msg(shot.lens, shot.stamp_ns, frame_id))
        color.publish(image_to_bytes(shot.color, "rgb8", shot.stamp_ns, frame_id))
        in_mm = convert.depth_to_mm(shot.depth_m)
        depth.publish(image_to_bytes(in_mm, "16UC1", shot.stamp_ns, frame_id))
        self._frames += 1

    def _move_on(self) -> None:
        """By itself, when it has stood for `hold_s`."""
        now_ns, hold_s = self.system_clock.monotonic_ns(), self._settings.hold_s
        if self._shown and 0 < hold_s < ns_to_seconds(now_ns - self._arrived_ns):
            self._carried.to_next()
            self._arrived_ns = now_ns + seconds_to_ns(self._settings.move_s)

    def _publish_joints(self) -> None:
        self._joints.publish(convert.joint_state_to_msg(self._carried.joints()))

    def _on_next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._shown:
            response.message = "the board is out of the cell; bring it back by sim/show_board"
            return response
        place = self._carried.to_next()
        self._await_arrival()
        response.success = True
        response.message = f"at place {place + 1} of {self._carried.count}"
        return response

    def _on_show(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._shown = bool(request.data)
        self._carried.show(self._shown)
        self._await_arrival()
        response.success = True
        return response

    def _await_arrival(self) -> None:
        self._arrived_ns = self.system_clock.monotonic_ns() + seconds_to_ns(self._settings.move_s)
        self._stopping.wait(self._settings.move_s)


def main() -> None:
    """Entry point of the `board_node` executable."""
    run_node(BoardNode, threads=2)
