"""Episodes made for tests: two small cameras and an arm, from a seed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvista_core.records import Intrinsics
from mvista_core.timing import ManualClock
from mvista_recorder import schemas
from mvista_recorder.episode_writer import EpisodeHead, EpisodeWriter
from mvista_recorder.layout import COLOR_FORMAT, DEPTH_FORMAT, JOINT_STATE, CameraChannels, Topic
from mvista_ros.convert.depth_png import depth_to_transport

ROOT = Path(__file__).parents[2]
RIG, ARM = ROOT / "config/rigs/sim_cell.yaml", ROOT / "config/arms/piper.yaml"
CAMERAS = ("cam0", "cam1")
JOINTS = Topic("/piper/joint_states", JOINT_STATE)
LENS = Intrinsics(48, 32, 40.0, 40.0, 23.5, 15.5)
START_NS = 1_700_000_000_000_000_000


def head(**other: Any) -> EpisodeHead:
    said: dict = {
        "id": "0badcafe",
        "instruction": "open the drawer",
        "cameras": CAMERAS,
        "arms": ("piper",),
        "rig": RIG.read_bytes(),
        "arm": ARM.read_bytes(),
    }
    return EpisodeHead(**{**said, **other})


def jpeg(rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    pixels = rng.integers(0, 255, (LENS.height_px, LENS.width_px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def depth(rng: np.random.Generator) -> NDArray[np.uint16]:
    image = rng.integers(400, 2000, (LENS.height_px, LENS.width_px)).astype(np.uint16)
    image[rng.random(image.shape) < 0.3] = 0
    return image


def joint_bytes(stamp_ns: int, positions: NDArray[np.float64]) -> bytes:
    types = schemas.typestore().types
    header = types["std_msgs/msg/Header"](
        types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), ""
    )
    names = [f"joint{k}" for k in range(1, 1 + len(positions))]
    message = types[JOINT_STATE](header, names, positions, np.zeros_like(positions), np.zeros(0))
    return bytes(schemas.typestore().serialize_cdr(message, JOINT_STATE))


@dataclass
class Feed:
    """Writes one period of 1/15 s after the other: an image pair per camera, 13 joint states."""

    writer: EpisodeWriter
    clock: ManualClock
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.channels = {name: CameraChannels.of(name) for name in self.writer.cameras}
        for found in self.channels.values():
            for topic in (found.color, found.depth, found.color_info, found.depth_info):
                self.writer.open(topic)
        self.writer.open(JOINTS)
        self.written: list[tuple[str, int, bytes]] = []

    def add(self, topic: str, capture_ns: int, data: bytes) -> None:
        self.writer.add(topic, self.clock.now_ns(), capture_ns, data)
        self.written.append((topic, capture_ns, data))

    def period(self) -> None:
        now_ns = self.clock.now_ns()
        for k, (name, topics) in enumerate(self.channels.items()):
            taken_ns = now_ns - 20_000_000 + 3_000_000 * k
            picture = jpeg(self.rng)
            frame = f"{name}_color_optical_frame"
            self.writer.show(name, picture)
            self.add(
                topics.color.name,
                taken_ns,
                schemas.picture_to_bytes(COLOR_FORMAT, picture, taken_ns, frame),
            )
            coded = depth_to_transport(depth(self.rng))
            self.add(
                topics.depth.name,
                taken_ns,
                schemas.picture_to_bytes(DEPTH_FORMAT, coded, taken_ns, frame),
            )
            for info in (topics.color_info, topics.depth_info):
                self.add(info.name, taken_ns, schemas.lens_to_bytes(LENS, taken_ns, frame))
        for _ in range(13):
            self.clock.advance(1 / 195)
            stamp_ns = self.clock.now_ns() - 1_000_000
            self.add(JOINTS.name, stamp_ns, joint_bytes(stamp_ns, self.rng.normal(size=7)))
        self.writer.tick()


def started(root: Path, seed: int = 0, reserve_bytes: int = 1 << 20, **other: Any) -> Feed:
    clock = ManualClock(START_NS)
    return Feed(EpisodeWriter(root, head(**other), clock, reserve_bytes), clock, seed)


def finished(root: Path, periods: int = 30, seed: int = 0, **other: Any) -> tuple[Path, Feed]:
    feed = started(root, seed, **other)
    for _ in range(periods):
        feed.period()
    return feed.writer.finish(), feed
