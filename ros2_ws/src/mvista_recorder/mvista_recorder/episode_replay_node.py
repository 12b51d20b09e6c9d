"""An episode on the topics it was recorded from: images decoded, depth registered, joints as sent.

What commands an arm (`joint_command`) and what others say of themselves is not sent again: a
replay moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage

from mvista_core.errors import ConfigError, MvistaError
from mvista_recorder import schemas
from mvista_recorder.episode_player import SPEEDS, DueMessage, EpisodePlayer
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import JOINT_STATE, TF_STATIC, CameraChannels
from mvista_recorder.recorded_cameras import EpisodeCamera, recorded_cameras
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert.depth_png import depth_from_transport
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.convert.jpeg import decode_jpeg
from mvista_ros.convert.stamps import optical_frame
from mvista_ros.observation import CameraTopics
from mvista_ros.parameters import declare, parameter

# Below the 5 ms between joint states at 200 Hz, which would go out in bunches otherwise.
POLL_S = 0.002
FIXED = "whoever reads the topics has begun with this episode and its kind of stamps"
"""Why the other parameters do not change."""


@dataclass(frozen=True)
class EpisodeReplayParameters:
    """What is played, and how."""

    episode: str = parameter("", "Folder of the episode (episode.mcap lies in it)")
    speed: float = parameter(1.0, "1 is as recorded", *SPEEDS, live=True)
    loop: bool = parameter(False, "Begin again after the last message", live=True)
    restamp: bool = parameter(True, "Stamps of now; false: as recorded, old for every consumer")

    def __post_init__(self) -> None:
        if not self.episode:
            raise ConfigError("parameter 'episode' is empty: name the folder of an episode")


class EpisodeReplayNode(HouseNode):
    """Plays once and stays, or in a loop; an image that cannot be read is left out and told."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("replay", **node_arguments)
        asked = declare(self, EpisodeReplayParameters, self._change, FIXED)
        reader = EpisodeReader(Path(asked.episode))
        self._cameras = recorded_cameras(reader) if reader.manifest.cameras else {}
        self._senders: dict[str, Any] = {}
        self._colors: dict[str, EpisodeCamera] = {}
        self._depths: dict[str, EpisodeCamera] = {}
        self._names: dict[str, str] = {}
        for name, camera in self._cameras.items():
            kept, named = CameraChannels.of(name), CameraTopics.of(name)
            self._colors[kept.color.name] = self._depths[kept.depth.name] = camera
            # Without the depth sensor's own camera_info: what is sent is registered to colour.
            for recorded, topic, kind in (
                (kept.color.name, named.color, Image),
                (kept.depth.name, named.depth, Image),
                (kept.color_info.name, named.info, CameraInfo),
            ):
                self._names[recorded] = topic
                self._senders[topic] = self.create_publisher(kind, topic, qos.SENSOR_OUT)
        for topic, stream in reader.manifest.streams.items():
            if stream.type == JOINT_STATE and topic.endswith("/joint_states"):
                # Below this node's namespace: two replays share a domain.
                name = topic.lstrip("/")
                self._senders[topic] = self.create_publisher(JointState, name, qos.SENSOR_OUT)
        self._senders[TF_STATIC] = self.create_publisher(TFMessage, TF_STATIC, qos.STATIC)
        self._sent = self._damaged = 0
        self._damage = ""
        self._player = EpisodePlayer(
            reader, self.system_clock, asked.speed, asked.restamp, asked.loop
        )
        self.create_timer(POLL_S, self._tick)

    def health(self) -> Health:
        """Whether it still plays, and what could not be read."""
        told, self._damage = self._damage, ""
        saying = "finished" if self._player.finished else "playing"
        values = (("messages sent", str(self._sent)), ("images damaged", str(self._damaged)))
        level = Level.WARN if told else Level.OK
        return Health(level, f"{saying}; {told}" if told else saying, values)

    @property
    def finished(self) -> bool:
        """Whether all has been played; never, with `loop`."""
        return self._player.finished

    def _change(self, asked: EpisodeReplayParameters) -> None:
        self._player.play(asked.speed, asked.loop)

    def _tick(self) -> None:
        for message in self._player.due():
            try:
                self._send(message)
            except MvistaError as error:
                self._damaged, self._damage = self._damaged + 1, f"[{error.code}] {error}"

    def _send(self, message: DueMessage) -> None:
        topic = self._names.get(message.topic, message.topic)
        sender = self._senders.get(topic)
        if sender is None:
            return
        image = message.topic in self._colors or message.topic in self._depths
        # Nobody pays for pixels that nobody reads.
        if not image or sender.get_subscription_count():
            sender.publish(self._prepared(message))
            self._sent += 1

    def _prepared(self, message: DueMessage) -> bytes:
        data = message.data
        if (camera := self._colors.get(message.topic)) is not None:
            pixels = decode_jpeg(bytes(schemas.picture_from_bytes(data).data))
            return image_to_bytes(pixels, "rgb8", message.stamp_ns, optical_frame(camera.name))
        if (camera := self._depths.get(message.topic)) is not None:
            native = depth_from_transport(schemas.picture_from_bytes(data).data)
            depth_mm = camera.calibration.register(native)
            return image_to_bytes(depth_mm, "16UC1", message.stamp_ns, optical_frame(camera.name))
        return data


def main() -> None:
    """Entry point of the `episode_replay_node` executable."""
    run_node(EpisodeReplayNode)
