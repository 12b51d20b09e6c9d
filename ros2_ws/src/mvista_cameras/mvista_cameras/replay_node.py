"""A recording behind the cameras' topics: every camera of it, in one process."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_cameras.capture_publisher_node import CapturePublisher
from mvista_cameras.pace import Pace
from mvista_cameras.recording import load_recording
from mvista_cameras.records import Condition, SourceReport
from mvista_cameras.replay import Replay
from mvista_core.errors import ConfigError, ObservationError
from mvista_core.timing import ns_to_seconds
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.parameters import declare, parameter

POLL_S = 0.005
FIXED = "whoever reads the cameras has begun with this recording and its kind of stamps"
"""Why the other parameters do not change."""


@dataclass(frozen=True)
class ReplayParameters:
    """What is played, and how."""

    recording: str = parameter("", "Folder of the recording (recording.yaml lies in it)")
    speed: float = parameter(1.0, "1 is as recorded", 0.05, 20.0, live=True)
    loop: bool = parameter(True, "Begin again after the last frame", live=True)
    restamp: bool = parameter(True, "Stamps of now; false: as recorded, old for every consumer")
    preview_rate_hz: float = parameter(
        5.0, "320x180 previews per second; 0: none", 0.0, 60.0, live=True
    )

    def __post_init__(self) -> None:
        if not self.recording:
            raise ConfigError("parameter 'recording' is empty: name the folder of a recording")


class ReplayNode(HouseNode):
    """Publishes each frame when its time has come; frames that came too late are skipped."""

    def __init__(self) -> None:
        super().__init__("replay")
        settings = declare(self, ReplayParameters, self._change, FIXED)
        clock = self.system_clock
        cameras = load_recording(settings.recording)
        self._replay = Replay(cameras, clock, settings.speed, settings.loop, settings.restamp)
        self._outlets = {
            name: CapturePublisher(self, f"{name}/", settings.preview_rate_hz, clock)
            for name in self._replay.cameras()
        }
        self._played = dict.fromkeys(self._outlets, -1)
        self._skipped = 0
        self._damaged, self._damage = 0, ""
        self._pace = Pace(0.0, clock.monotonic_ns())
        self.create_timer(POLL_S, self._tick)

    def health(self) -> Health:
        """What is played, at which rate, and what was skipped."""
        rate_hz, numbers = self._pace.take(self.system_clock.monotonic_ns())
        message = "finished" if self._replay.finished else f"replaying {len(self._played)} cameras"
        told, self._damage = self._damage, ""
        report = SourceReport(Condition.OK, message, warning=told)
        level, message = self._pace.grade(report, rate_hz)
        counts = (("frames skipped", str(self._skipped)), ("frames damaged", str(self._damaged)))
        return Health(Level[level], message, (*numbers, *counts))

    def _change(self, settings: ReplayParameters) -> None:
        self._replay.play(settings.speed, settings.loop)
        for publisher in self._outlets.values():
            publisher.preview_rate(settings.preview_rate_hz)

    def _tick(self) -> None:
        clock = self.system_clock
        for name, publisher in self._outlets.items():
            position = self._replay.position(name)
            if position is None or position == self._played[name]:
                continue
            self._skipped += max(position - self._played[name] - 1, 0)
            self._played[name] = position
            try:
                shot = self._replay.shot(name, position)
            except ObservationError as error:
                # One picture that cannot be read is left out, as one that a camera damaged.
                self._damaged, self._damage = self._damaged + 1, f"[{error.code}] {error}"
                continue
            publisher.publish(shot)
            self._pace.shot(ns_to_seconds(clock.now_ns() - shot.stamp_ns), clock.monotonic_ns())


def main() -> None:
    """Entry point of the `replay_node` executable."""
    run_node(ReplayNode)
