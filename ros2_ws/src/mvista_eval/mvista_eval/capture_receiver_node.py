"""The reader of `mvista bench capture`: takes every image whole and notes when it came.

It reads as one would that wants the pixels: the images' own bytes, viewed as arrays in place. Each
is checked (size, encoding, length) and a row of pixels is read; they are not copied again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sensor_msgs.msg import Image

from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert.image_bytes import image_from_bytes
from mvista_ros.observation import CameraTopics
from mvista_ros.parameters import declare, parameter


@dataclass(frozen=True)
class ReceiverParameters:
    """What is read, and where the log goes."""

    cameras: str = parameter("cam0", "Cameras whose colour and depth are read, spaces between")
    log: str = parameter("", "File (.npz) for stamp and arrival of every image, written at exit")


class CaptureReceiverNode(HouseNode):
    """Ready (no ERROR in its health) once every topic has delivered."""

    def __init__(self) -> None:
        super().__init__("receiver")
        self._settings = declare(self, ReceiverParameters)
        self._arrivals: dict[str, list[tuple[int, int, int]]] = {}
        for camera in self._settings.cameras.split():
            topics = CameraTopics.of(camera)
            for topic in (topics.color, topics.depth):
                self._arrivals[topic] = []
                self.listen(Image, f"/{topic}", self._taker(topic), qos.SENSOR_ALL_IN, raw=True)

    def health(self) -> Health:
        """How many topics have delivered."""
        silent = [topic for topic, arrivals in self._arrivals.items() if not arrivals]
        if silent:
            return Health(Level.ERROR, f"nothing from {', '.join(silent)}")
        return Health(Level.OK, f"{len(self._arrivals)} topics deliver")

    def stop(self) -> None:
        """Write the log: one array [N, 3] per topic: stamp, arrival (ns), sum of one row."""
        if self._settings.log:
            arrays = {
                topic.replace("/", "|"): np.array(arrivals, dtype=np.int64).reshape(-1, 3)
                for topic, arrivals in self._arrivals.items()
            }
            np.savez(Path(self._settings.log), **arrays)  # type: ignore[arg-type]

    def _taker(self, topic: str) -> Callable[[bytes], None]:
        arrivals, clock = self._arrivals[topic], self.system_clock

        def take(data: bytes) -> None:
            arrived_ns = clock.now_ns()
            image = image_from_bytes(data)
            row = image.pixels[image.pixels.shape[0] // 2]
            arrivals.append((image.stamp_ns, arrived_ns, int(row.sum())))

        return take


def main() -> None:
    """Entry point, started by `mvista bench capture`."""
    run_node(CaptureReceiverNode)
