"""A camera's images on their way into an episode: what cannot be used is told, counted, no more."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvista_core.capture import Capture
from mvista_core.errors import MvistaError
from mvista_core.rig import load_rig
from mvista_core.tap import Tap
from mvista_core.tap_wire import tap_path
from mvista_core.timing import ManualClock
from mvista_recorder import schemas
from mvista_recorder.camera_feed import CameraFeed, StaticFrames
from mvista_recorder.layout import CameraChannels, Topic
from mvista_recorder.tap_feed import RECENT_S, TapFeed
from mvista_recorder.topic_feed import ImageKind, TopicFeed
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg
from tests.recorder.made import RIG
from tests.recorder.test_recorder import wait_until
from tests.recorder.test_training_shards import CALIBRATION, COLOR, DEPTH

pytestmark = pytest.mark.slow

TOPICS = CameraChannels.of("cam0")
GREY = np.tile(np.arange(COLOR.width_px, dtype=np.uint8), (COLOR.height_px, 1))
WHOLE = encode_jpeg(np.repeat(GREY[..., None], 3, axis=2))
NATIVE = np.full((DEPTH.height_px, DEPTH.width_px), 900, np.uint16)


@dataclass
class Ear:
    """Keeps what a feed tells, by topic; `gate` holds it up."""

    heard: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    newest: dict[str, bytes] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def hear(
        self,
        topic: Topic,
        capture_ns: int,
        data: bytes,
        sequence: int = 0,
        lost: int = 0,
        size_px: tuple[int, int] | None = None,
        picture: bytes = b"",
        residual_ns: int | None = None,
    ) -> None:
        self.heard.setdefault(topic.name, []).append((capture_ns, lost))
        self.sizes[topic.name], self.newest[topic.name] = size_px, data
        assert self.gate.wait(20.0)

    def drop(self, topic: Topic) -> None:
        self.dropped[topic.name] += 1

    def blame(self, topic: Topic, words: str) -> None:
        """Another lens is not the matter here."""

    def of(self, topic: Topic) -> list[tuple[int, int]]:
        return self.heard.get(topic.name, [])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**15)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def feed(ear: Ear, clock: ManualClock) -> CameraFeed:
    rig = load_rig(RIG)
    return CameraFeed(rig.camera("cam0"), ear, StaticFrames(rig, ear, clock))


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tap]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    with Tap(tap_path("cam0"), "cam0") as made:
        yield made


@pytest.fixture
def tapped(tap: Tap, feed: CameraFeed, clock: ManualClock) -> Iterator[TapFeed]:
    made = TapFeed(feed, "cam0", clock)
    wait_until(lambda: tap.readers == 1)
    yield made
    made.close()


def offer(tap: Tap, number: int, jpeg: bytes = WHOLE) -> None:
    tap.offer(Capture("cam0", number, number, number, jpeg, NATIVE, CALIBRATION, decode_jpeg))


def test_a_picture_that_is_cut_short_costs_neither_its_depth_nor_the_count_of_what_was_lost(
    tap: Tap, tapped: TapFeed, ear: Ear
) -> None:
    offer(tap, 1)
    offer(tap, 4, WHOLE[:-2])
    offer(tap, 5)
    wait_until(lambda: len(ear.of(TOPICS.depth_info)) == 3)
    assert ear.of(TOPICS.depth) == [(1, 0), (4, 2), (5, 0)]
    assert ear.of(TOPICS.color) == [(1, 0), (5, 0)]
    assert ear.dropped == {TOPICS.color.name: 3}, "two were lost, one was cut short"
    assert ear.sizes[TOPICS.depth.name] == (DEPTH.width_px, DEPTH.height_px)


def test_a_trouble_is_told_while_it_is_news_and_again_when_it_happens_again(
    tap: Tap, tapped: TapFeed, ear: Ear, clock: ManualClock
) -> None:
    for number in (1, 2):
        offer(tap, number, WHOLE[:-2])
        wait_until(lambda: bool(tapped.trouble))
        assert tapped.trouble.startswith("cam0: [") and "cut short" in tapped.trouble
        clock.advance(RECENT_S + 0.1)
        assert tapped.trouble == ""
    offer(tap, 3)
    wait_until(lambda: bool(ear.of(TOPICS.color)))
    assert tapped.trouble == ""


@pytest.fixture
def refused() -> list[tuple[ImageKind, MvistaError]]:
    return []


@pytest.fixture
def topics(feed: CameraFeed, refused: list[tuple[ImageKind, MvistaError]]) -> Iterator[TopicFeed]:
    made = TopicFeed(feed, lambda kind, error: refused.append((kind, error)))
    yield made
    made.close()


def color_bytes(stamp_ns: int, pixels: np.ndarray = GREY) -> bytes:
    return image_to_bytes(pixels, "mono8", stamp_ns, "cam0_color_optical_frame")


def test_images_of_topics_that_cannot_be_read_are_counted_and_told_one_by_one(
    topics: TopicFeed, ear: Ear, refused: list[tuple[ImageKind, MvistaError]]
) -> None:
    topics.color(b"before its lens nobody can read an image")
    topics.lens(COLOR)
    topics.color(b"\x00\x01\x00\x00no image")
    one_row, no_row = struct.pack("<II", 1, COLOR.width_px), struct.pack("<II", 0, COLOR.width_px)
    topics.color(color_bytes(1, GREY[:1]).replace(one_row, no_row))
    topics.depth(color_bytes(2))
    topics.color(color_bytes(3))
    wait_until(lambda: bool(ear.of(TOPICS.color)))
    assert ear.of(TOPICS.color) == [(3, 0)]
    assert ear.dropped == {TOPICS.color.name: 2, TOPICS.depth.name: 1}
    assert [kind for kind, _ in refused] == [ImageKind.COLOR, ImageKind.COLOR, ImageKind.DEPTH]


def test_a_grey_image_is_recorded_the_right_way_round(topics: TopicFeed, ear: Ear) -> None:
    topics.lens(COLOR)
    topics.color(color_bytes(3))
    wait_until(lambda: bool(ear.of(TOPICS.color)))
    jpeg = bytes(schemas.picture_from_bytes(ear.newest[TOPICS.color.name]).data)
    seen = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(seen.astype(int) - GREY).max() < 8


def test_depth_of_topics_waits_for_their_own_word_on_the_lens(
    feed: CameraFeed, topics: TopicFeed, ear: Ear
) -> None:
    """The tap that was there before spoke of a depth sensor of its own."""
    feed.calibrate(CALIBRATION)
    registered = image_to_bytes(np.full_like(GREY, 900, np.uint16), "16UC1", 1, "cam0")
    topics.depth(registered)
    topics.lens(COLOR)
    topics.depth(registered)
    wait_until(lambda: bool(ear.of(TOPICS.depth_info)))
    assert schemas.lens_from_bytes(ear.newest[TOPICS.depth_info.name]).width_px == COLOR.width_px
    assert ear.of(TOPICS.depth) == [(1, 0)]


def test_what_waits_when_topics_are_let_go_is_counted(topics: TopicFeed, ear: Ear) -> None:
    topics.lens(COLOR)
    ear.gate.clear()
    for stamp_ns in range(1, 6):
        topics.color(color_bytes(stamp_ns))
    wait_until(lambda: bool(ear.of(TOPICS.color)))
    closing = threading.Thread(target=topics.close, daemon=True)
    closing.start()
    wait_until(lambda: topics._closed)
    ear.gate.set()
    closing.join(20.0)
    topics.color(color_bytes(6))
    assert not closing.is_alive()
    assert ear.of(TOPICS.color) == [(1, 0)] and ear.dropped == {TOPICS.color.name: 4}
