"""What an episode of numbered captures and joint messages holds, and what it lacks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvista_core.timing import NS_PER_S
from mvista_recorder import schemas
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import JOINT_STATE, CameraChannels

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """One stream: messages, and numbers that are missing between its first and its last."""

    count: int
    lost: int
    repeated: int
    span_s: float
    bytes: int

    @property
    def rate_hz(self) -> float:
        """By capture stamps; 0 of a single one."""
        return (self.count - 1) / self.span_s if self.span_s > 0 else 0.0


@dataclass
class _Stream:
    numbers: list[int]
    stamps_ns: list[int]
    size: int = 0


def counted(reader: EpisodeReader) -> Mapping[str, Counted]:
    """Of each image topic by the camera's sequence, of each joint topic by its joint 1.

    Raises:
        EpisodeError: the episode is torn.
    """
    images = set()
    for name in reader.manifest.cameras:
        topics = CameraChannels.of(name)
        images |= {topics.color.name, topics.depth.name}
    found: dict[str, _Stream] = {}
    for message in reader.messages():
        if message.topic in images:
            number = message.sequence
        elif message.type == JOINT_STATE:
            number = round(float(schemas.joints_from_bytes(message.data).positions[0]))
        else:
            continue
        stream = found.setdefault(message.topic, _Stream([], []))
        stream.numbers.append(number)
        stream.stamps_ns.append(message.capture_ns)
        stream.size += len(message.data)
    return {
        topic: of_numbers(np.array(s.numbers), np.array(s.stamps_ns), s.size)
        for topic, s in found.items()
    }


def of_numbers(numbers: Numbers, stamps_ns: Numbers, size: int) -> Counted:
    """Numbers [N] and stamps [N] of one stream's messages, `size` bytes in all."""
    different = len(np.unique(numbers))
    span_s = float(stamps_ns.max() - stamps_ns.min()) / NS_PER_S
    lost = int(numbers.max() - numbers.min()) + 1 - different
    return Counted(len(numbers), lost, len(numbers) - different, span_s, size)
