"""Watches for cameras that moved and joints whose zeros are off; speaks on /diagnostics only."""

from __future__ import annotations

from pathlib import Path

from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_calibration.drift.files import load_backgrounds, save_backgrounds
from mvista_calibration.drift.watch import DriftWatch
from mvista_calibration_ros.drift_frames import newest_frame
from mvista_calibration_ros.drift_settings import DriftParameters
from mvista_calibration_ros.drift_words import values_of
from mvista_core.arm import load_arm
from mvista_core.errors import MvistaError
from mvista_core.records import CameraFrame, JointState
from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import joint_state_from_msg
from mvista_ros.convert.image_bytes import color_from_bytes, depth_from_bytes
from mvista_ros.convert.joint_bytes import stamped
from mvista_ros.listening import Queue, message_from_bytes
from mvista_ros.observation import CameraTopics
from mvista_ros.parameters import declare


class DriftNode(HouseNode):
    """Takes messages from the middleware only when it looks, one camera at a time."""

    def __init__(self) -> None:
        super().__init__("drift")
        self._settings = declare(self, DriftParameters)
        self._rig = load_rig(self._settings.rig_file)
        self._arm = load_arm(self._settings.arm_file) if self._settings.arm else None
        file = Path(self._settings.baseline_file)
        self._save_to = file if self._settings.baseline_file and not file.exists() else None
        baseline = (
            load_backgrounds(file, self._rig.content_hash)
            if self._settings.baseline_file and file.exists()
            else ()
        )
        self._watch = DriftWatch(self._rig, self._arm, self._settings.settings(), baseline)
        # Hundreds of messages a second, of which a few are looked at: they wait in the middleware.
        self._images = {
            topic: self.listening.queue(Image, topic, read, qos.SENSOR_IN)
            for name in self._rig.names
            for topic, read in (
                (CameraTopics.of(name).color, color_from_bytes),
                (CameraTopics.of(name).depth, depth_from_bytes),
            )
        }
        self._joints: Queue[tuple[int, bytes]] | None = None
        if self._arm is not None:
            topic = f"{self._settings.arm}/joint_states"
            self._joints = self.listening.queue(JointStateMsg, topic, stamped, qos.SENSOR_ALL_IN)
        self._turn = 0
        self._trouble: dict[str, str] = dict.fromkeys(self._rig.names, "nothing received")
        self.create_timer(self._settings.period_s / len(self._rig.names), self._look)

    def health(self) -> Health:
        """Every estimate with its sigma, and the warnings in words."""
        report = self._watch.report()
        silent = [f"{name}: {words}" for name, words in self._trouble.items() if words]
        learning = [c.words for c in report.cameras if c.words]
        words = "; ".join([*report.warnings, *silent]) or (
            f"cameras: {learning[0]}" if learning else "cameras and joints are where they were"
        )
        level = Level.WARN if report.warnings or silent else Level.OK
        return Health(level, words, values_of(report))

    def _look(self) -> None:
        """The newest pair of the camera whose turn it is; what is taken is never seen again."""
        name = self._rig.names[self._turn]
        self._turn = (self._turn + 1) % len(self._rig.names)
        try:
            frame = self._newest(name)
            if frame is None:
                self._trouble[name] = "no new pair of colour and depth"
                return
            self._watch.add([frame], self._joints_at(frame.stamp_ns))
            self._trouble[name] = ""
        except MvistaError as error:
            self._trouble[name] = str(error)
        self._save_baseline()

    def _newest(self, name: str) -> CameraFrame | None:
        topics, lens = CameraTopics.of(name), self._rig.camera(name).intrinsics
        colors, depths = (self._images[topic].take() for topic in (topics.color, topics.depth))
        return newest_frame(name, lens, colors, depths)

    def _joints_at(self, stamp_ns: int) -> JointState | None:
        """The joints measured nearest to a frame; only that message is read whole."""
        if self._joints is None:
            return None
        kept = self._joints.take()
        nearest = min(kept, key=lambda state: abs(state[0] - stamp_ns), default=None)
        if nearest is None:
            return None
        return self.listening.judge(self._joints.topic, _joints_of, nearest[1])

    def _save_baseline(self) -> None:
        if self._save_to is not None and len(self._watch.backgrounds) == len(self._rig.names):
            save_backgrounds(self._watch.backgrounds, self._rig.content_hash, self._save_to)
            self._save_to = None


def _joints_of(data: bytes) -> JointState:
    return joint_state_from_msg(message_from_bytes(data, JointStateMsg))


def main() -> None:
    """Entry point of the `drift_node` executable."""
    run_node(DriftNode)
