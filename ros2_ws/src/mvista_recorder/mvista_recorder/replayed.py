"""An episode behind the `FrameSource` and the `Arm` ports, in the time of the clock it is given."""

from __future__ import annotations

from collections.abc import Sequence

from mvista_core.capture import Capture
from mvista_core.errors import ArmNotReadyError, EpisodeError, RigError
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame, JointCommand, JointState
from mvista_core.set_points import positions_of
from mvista_recorder import schemas
from mvista_recorder.episode_player import DueMessage, EpisodePlayer
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import JOINT_STATE, CameraChannels
from mvista_recorder.recorded_cameras import PAIRED_WITHIN_NS, EpisodeCamera, recorded_cameras
from mvista_ros.convert.depth_png import depth_from_transport
from mvista_ros.convert.jpeg import decode_jpeg


class ReplayedEpisode:
    """The cameras of an episode as a `FrameSource`, its arms as `Arm`s, together in time.

    At the end everything stands still, no longer fresh; with `loop` it begins again.
    """

    def __init__(
        self,
        reader: EpisodeReader,
        clock: Clock,
        speed: float = 1.0,
        loop: bool = False,
        restamp: bool = True,
    ) -> None:
        """Raises EpisodeError: torn, or nothing says how its images are to be read.

        ConfigError: the speed is not above 0.
        """
        self._cameras = recorded_cameras(reader) if reader.manifest.cameras else {}
        self._colors: dict[str, EpisodeCamera] = {}
        self._depths: dict[str, EpisodeCamera] = {}
        for name, camera in self._cameras.items():
            topics = CameraChannels.of(name)
            self._colors[topics.color.name] = camera
            self._depths[topics.depth.name] = camera
        self._joints = {
            topic
            for topic, stream in reader.manifest.streams.items()
            if stream.type == JOINT_STATE and topic.endswith("/joint_states")
        }
        self._halves: dict[tuple[str, bool], DueMessage] = {}
        self._newest: dict[str, tuple[DueMessage, DueMessage]] = {}
        self._frames: dict[str, tuple[DueMessage, CameraFrame]] = {}
        self._states: dict[str, DueMessage] = {}
        wanted = {*self._colors, *self._depths, *self._joints}
        self._player = EpisodePlayer(reader, clock, speed, restamp, loop, wanted)

    def cameras(self) -> Sequence[str]:
        """Names of the cameras, in the episode's order."""
        return tuple(self._cameras)

    def latest(self, camera: str) -> CameraFrame | None:
        """The newest frame of one camera, decoded and registered; None before its first.

        Raises:
            RigError: no such camera. ObservationError: the image cannot be decoded.
            EpisodeError: the episode cannot be read from here on.
        """
        if camera not in self._cameras:
            raise RigError(f"no camera '{camera}'; there are {list(self._cameras)}")
        self._go_on()
        if camera not in self._newest:
            return None
        color, depth = self._newest[camera]
        kept = self._frames.get(camera)
        # Of many that pass only those are decoded that are asked for.
        if kept is None or kept[0] is not color:
            kept = self._frames[camera] = color, _frame(self._cameras[camera], color, depth)
        return kept[1]

    def arm(self, name: str) -> ReplayedArm:
        """One of its arms, by the namespace that it was recorded in.

        Raises:
            EpisodeError: it was not recorded.
        """
        topic = f"/{name.strip('/')}/joint_states"
        if topic not in self._joints:
            raise EpisodeError(f"no {topic} in this episode; there are {sorted(self._joints)}")
        return ReplayedArm(self, topic)

    def joints(self, topic: str) -> JointState | None:
        """The newest state of a topic that is due now."""
        self._go_on()
        message = self._states.get(topic)
        return None if message is None else schemas.joints_from_bytes(message.data)

    def _go_on(self) -> None:
        for message in self._player.due():
            if message.topic in self._joints:
                # As bytes: of the hundreds that pass a second, few are asked for.
                self._states[message.topic] = message
            elif (camera := self._colors.get(message.topic)) is not None:
                self._pair(camera, message, True)
            else:
                self._pair(self._depths[message.topic], message, False)

    def _pair(self, camera: EpisodeCamera, message: DueMessage, is_color: bool) -> None:
        self._halves[camera.name, is_color] = message
        other = self._halves.get((camera.name, not is_color))
        # By capture: replay's speed moves the stamps of now closer together or apart.
        if other is None or abs(other.capture_ns - message.capture_ns) > PAIRED_WITHIN_NS:
            return
        self._newest[camera.name] = (message, other) if is_color else (other, message)


def _frame(camera: EpisodeCamera, color: DueMessage, depth: DueMessage) -> CameraFrame:
    return Capture(
        camera.name,
        0,
        color.stamp_ns,
        depth.stamp_ns,
        bytes(schemas.picture_from_bytes(color.data).data),
        depth_from_transport(schemas.picture_from_bytes(depth.data).data),
        camera.calibration,
        decode_jpeg,
    ).frame()


class ReplayedArm:
    """Joint states of an episode at the pace they were measured at; it obeys no one."""

    def __init__(self, episode: ReplayedEpisode, topic: str) -> None:
        self._episode, self._topic = episode, topic

    def state(self) -> JointState | None:
        """The newest state that is due now; None before the first."""
        return self._episode.joints(self._topic)

    def send(self, command: JointCommand) -> None:
        """Refuse a set-point: first for what is wrong with it, then because this is a recording.

        Raises:
            TrajectoryError: a malformed command. ArmNotReadyError: any other.
        """
        state = self.state()
        if state is not None:
            positions_of(command, state.names, state.positions)
        raise ArmNotReadyError("this arm is a recording; it takes no set-points")

    def hold(self) -> None:
        """A recording is not stopped."""
