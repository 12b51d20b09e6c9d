"""An episode played again: at its pace, in the order of capture, on the topics of a cell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, JointState

from mvista_core.errors import ConfigError, EpisodeError
from mvista_core.timing import ManualClock
from mvista_recorder import schemas
from mvista_recorder.episode_player import EpisodePlayer
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.episode_replay_node import EpisodeReplayNode
from mvista_recorder.layout import EPISODE
from mvista_ros import qos
from mvista_ros.convert import depth_from_msg, joint_state_from_msg
from tests.recorder.made import JOINTS, finished
from tests.recorder.test_recorder import wait_until
from tests.recorder.test_training_shards import CALIBRATION, recorded
from tests.ros.conftest import domain_id, spinning

pytestmark = [pytest.mark.ros, pytest.mark.slow]
__all__ = ["domain_id", "spinning"]


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_it_keeps_the_pace_and_the_distances(tmp_path: Path, speed: float) -> None:
    folder, feed = finished(tmp_path, 10)
    clock = ManualClock(5_000_000_000)
    player = EpisodePlayer(EpisodeReader(folder), clock, speed)
    first_ns = min(capture_ns for _, capture_ns, _ in feed.written)
    heard = []
    while not player.finished:
        for message in player.due():
            age_ns = clock.now_ns() - message.stamp_ns
            assert 0 <= age_ns <= 10_000_001, "sent when it is due, stamped as of then"
            assert schemas.stamp_ns(message.data) == message.stamp_ns
            heard.append((message.topic, message.stamp_ns))
        clock.advance(0.01)
    assert len(heard) == len(feed.written)
    assert [stamp for _, stamp in heard] == sorted(stamp for _, stamp in heard)
    wanted = sorted(round((capture_ns - first_ns) / speed) for topic, capture_ns, _ in feed.written)
    assert [stamp - 5_000_000_000 for _, stamp in heard] == wanted


def test_it_begins_again_and_goes_on_at_another_speed(tmp_path: Path) -> None:
    """A round after the other, stamps rising; what was due before the change keeps its time."""
    folder, feed = finished(tmp_path, 5)
    clock = ManualClock(5_000_000_000)
    player = EpisodePlayer(EpisodeReader(folder), clock, loop=True)
    heard, speed = [], 1.0
    for step in range(300):
        if step == 150:
            speed = 4.0
            player.play(speed, loop=True)
        for message in player.due():
            age_ns = clock.now_ns() - message.stamp_ns
            assert 0 <= age_ns <= 10_000_001
            heard.append(message)
        clock.advance(0.01)
    assert len(heard) > 2 * len(feed.written) and not player.finished
    assert [m.stamp_ns for m in heard] == sorted(m.stamp_ns for m in heard)
    rounds = sum(b.capture_ns < a.capture_ns for a, b in pairwise(heard))
    played_s = 1.5 + 4.0 * 1.5
    assert rounds == pytest.approx(played_s / (5 / 15 + 0.1), abs=1.5)
    player.play(speed, loop=False)
    clock.advance(5.0)
    list(player.due())
    assert player.finished


def test_what_has_ended_begins_again_once_it_shall_loop(tmp_path: Path) -> None:
    """However long ago it ended: a round of now, not all that were missed; its stamps rise."""
    folder, feed = finished(tmp_path, 5)
    for waited_s in (0.0, 30.0):
        clock = ManualClock(5_000_000_000)
        player = EpisodePlayer(EpisodeReader(folder), clock)
        clock.advance(1.0)
        heard = list(player.due())
        clock.advance(waited_s)
        assert player.finished and list(player.due()) == []
        player.play(1.0, loop=True)
        assert not player.finished
        begun_ns = clock.now_ns()
        for _ in range(30):
            heard += player.due()
            clock.advance(0.01)
        assert len(feed.written) < len(heard) <= 2 * len(feed.written)
        again = heard[len(feed.written) :]
        assert begun_ns - again[0].stamp_ns <= 10_000_000
        assert [m.stamp_ns for m in heard] == sorted(m.stamp_ns for m in heard)


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path, 10)
    with pytest.raises(ConfigError, match="above 0"):
        EpisodePlayer(EpisodeReader(folder), ManualClock(), 0.0)
    content = (folder / EPISODE).read_bytes()
    (folder / EPISODE).write_bytes(content[: len(content) // 2])
    with pytest.raises(EpisodeError, match="at byte"):
        clock = ManualClock()
        player = EpisodePlayer(EpisodeReader(folder), clock)
        clock.advance(60.0)
        list(player.due())


def test_the_topics_carry_what_was_recorded(
    spinning: Callable[[Node], Node],
    domain_id: int,
    tmp_path: Path,
) -> None:
    folder, images = recorded(tmp_path, count=20)
    listener, lock = Node("replay_listener"), threading.Lock()
    depths: list[Image] = []
    joints: list[JointState] = []

    def keep(kept: list, message: object) -> None:
        with lock:
            kept.append(message)

    listener.create_subscription(
        Image, "/cam1/depth/image_raw", lambda m: keep(depths, m), qos.SENSOR_ALL_IN
    )
    listener.create_subscription(
        JointState, JOINTS.name, lambda m: keep(joints, m), qos.SENSOR_ALL_IN
    )
    spinning(listener)
    overrides = [
        Parameter("episode", value=str(folder)),
        Parameter("restamp", value=False),
        Parameter("speed", value=2.0),
    ]
    spinning(EpisodeReplayNode(parameter_overrides=overrides))
    wait_until(lambda: len(depths) > 3 and len(joints) > 20, 40.0)
    with lock:
        for message in depths:
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            native = images["cam1", stamp_ns - 1_000_000][1]
            wanted = CALIBRATION.register(native).astype(np.float32) / np.float32(1000.0)
            assert np.array_equal(depth_from_msg(message), wanted)
        assert joint_state_from_msg(joints[0]).names[-1] == "joint1"
