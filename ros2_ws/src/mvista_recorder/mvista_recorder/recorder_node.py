"""The recorder as a node: topics and taps in, the services `recorder/start`, `end` and `label`.

Joints, commands, status and diagnostics are taken as the middleware's bytes and never decoded.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mvista_interfaces.srv import EndEpisode, LabelEpisode, StartEpisode

from mvista_core.errors import MvistaError
from mvista_core.rig import load_rig
from mvista_recorder.camera_feed import CameraFeed, StaticFrames
from mvista_recorder.camera_input_node import CameraInput
from mvista_recorder.layout import JOINT_STATE, Topic
from mvista_recorder.plans import answered, arm_topics, recorder_settings, stream_plans, told
from mvista_recorder.recorder import Recorder
from mvista_recorder.settings import EpisodeRecorderParameters
from mvista_recorder.small_topics import SmallTopics
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.parameters import declare

LOOK_PERIOD_S = 0.5
TAKE_PERIOD_S = 0.02
FIXED = "streams are heard by them, and episodes say what they were"


class RecorderNode(HouseNode):
    """Records what its parameters name. The arm of an episode's `arm.yaml` is every arm's."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("recorder", **node_arguments)
        asked = declare(self, EpisodeRecorderParameters, fixed=FIXED)
        rig = load_rig(asked.rig_file)
        cameras = rig.names if asked.cameras == ("",) else asked.cameras
        self._arms = tuple(map(self._full, asked.arms))
        settings = recorder_settings(asked, cameras, self._arms)
        plans = stream_plans(asked, rig, cameras, self._arms)
        self.recorder = Recorder(settings, plans, self.system_clock)
        frames, to = StaticFrames(rig, self.recorder, self.system_clock), self.recorder
        feeds = [CameraFeed(rig.camera(name), to, frames) for name in cameras]
        self._cameras = [CameraInput(self, feed) for feed in feeds]
        self._small = SmallTopics(self, self.recorder)
        self._wanted = {*map(self._full, asked.topics), *arm_topics(self._arms)}
        self.create_service(StartEpisode, "recorder/start", self._on_start)
        self.create_service(EndEpisode, "recorder/end", self._on_end)
        self.create_service(LabelEpisode, "recorder/label", self._on_label)
        for arm in self._arms:
            self._hear(Topic(f"{arm}/joint_states", JOINT_STATE))
        self.create_timer(LOOK_PERIOD_S, self._look)
        self.create_timer(TAKE_PERIOD_S, self._small.take)

    def health(self) -> Health:
        """What is recorded, and every stream that is not in order."""
        said = [trouble for camera in self._cameras if (trouble := camera.trouble)]
        grade, words, values = told(self.recorder.state(), said)
        return Health(Level[grade], words, values)

    def stop(self) -> None:
        """End what is being recorded, then let go of the cameras."""
        self._small.take()
        self.recorder.close()
        for camera in self._cameras:
            camera.close()

    def _full(self, name: str) -> str:
        return str(self.resolve_topic_name(name))

    def _look(self) -> None:
        """Hear topics that have come up, and each camera by its tap or its topics."""
        there = dict(self.get_topic_names_and_types()) if self._wanted else {}
        for name in [name for name in self._wanted if there.get(name)]:
            self._wanted.discard(name)
            self._hear(Topic(name, there[name][0]))
        for camera in self._cameras:
            camera.look()

    def _hear(self, topic: Topic) -> None:
        try:
            self._small.hear(topic)
        except MvistaError as error:
            self.get_logger().error(f"{topic.name} is not recorded: [{error.code}] {error}")

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        self._small.take()
        start = partial(self.recorder.start, request.instruction, request.practice)
        return answered(response, start)

    def _on_end(
        self, request: EndEpisode.Request, response: EndEpisode.Response
    ) -> EndEpisode.Response:
        # What was captured before the end belongs to the episode; what before the start does not.
        self._small.take()
        if request.label == EndEpisode.Request.DISCARD:
            return answered(response, self.recorder.discard)
        if request.label == EndEpisode.Request.REDO:
            return answered(response, self.recorder.redo)
        return answered(response, lambda: self.recorder.end(request.label))

    def _on_label(
        self, request: LabelEpisode.Request, response: LabelEpisode.Response
    ) -> LabelEpisode.Response:
        return answered(response, lambda: self.recorder.label(request.label, request.episode))


def main() -> None:
    """Entry point of the `recorder_node` executable."""
    run_node(RecorderNode)
