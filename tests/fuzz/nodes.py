"""A real node in this process, and whatever leaves one of its callbacks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.random import Generator
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_bringup.supervisor import free_domain_id
from mvista_core.arm import load_arm
from mvista_core.records import JointState
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import convert
from mvista_ros.base_node import HouseNode
from mvista_ros.observation import CameraTopics
from mvista_ros.spinning import spinning, take_down
from tests.fuzz.messages import random_message, spoiled

ROOT = Path(__file__).parents[2]
ARM = load_arm(ROOT / "config/arms/piper.yaml")
RIG = load_rig(ROOT / "config/rigs/sim_cell.yaml")
CLOCK = SystemClock()
PAUSE_S = 0.004
SENDER = QoSProfile(
    depth=10,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)
"""What every subscription takes."""


@dataclass
class Alive:
    """A node that spins, and the domain it is on."""

    node: HouseNode
    domain_id: int
    heard: Counter[str] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)

    def count_what_is_heard(self) -> None:
        """Note every message by its topic, before the node judges it."""
        judge = self.node.listening.judge

        def counted(topic: str, handle: Callable[[Any], Any], message: Any) -> Any:
            self.heard[topic] += 1
            return judge(topic, handle, message)

        # Callbacks and what waits in the middleware both go through it.
        vars(self.node.listening)["judge"] = counted

    def check(self) -> None:
        """Raises what left a callback."""
        if self.failures:
            raise AssertionError("an exception left a callback") from self.failures[0]


@contextmanager
def alive(factory: Callable[[], HouseNode], *arguments: str) -> Iterator[Alive]:
    """The node as its process has it: `--ros-args` as given, a domain of its own, spinning."""
    domain_id = free_domain_id()
    rclpy.init(args=["--ros-args", *arguments], domain_id=domain_id)
    node = factory()
    executor = MultiThreadedExecutor(4)
    executor.add_node(node)
    found = Alive(node, domain_id)
    found.count_what_is_heard()
    thread = threading.Thread(target=_spin, args=(executor, found), daemon=True)
    thread.start()
    try:
        yield found
        found.check()
    finally:
        node.stop()
        executor.shutdown(5.0)
        thread.join(5.0)
        take_down(node)
        rclpy.try_shutdown()


def _spin(executor: MultiThreadedExecutor, found: Alive) -> None:
    try:
        executor.spin()
    except BaseException as error:
        found.failures.append(error)


def pause(seconds: float = PAUSE_S) -> None:
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(seconds))


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for it; fails after `timeout_s`."""
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(timeout_s)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns, f"not within {timeout_s:g} s"
        pause(0.01)


Topics = Sequence[tuple[Any, str]]
"""Message types and topics."""


def seen_by_a_planner() -> Topics:
    """What is looked at for an observation; a planner is subscribed only while it looks."""
    topics: list[tuple[Any, str]] = [(JointStateMsg, "piper/joint_states")]
    for name in RIG.names:
        of = CameraTopics.of(name)
        topics += [(Image, of.color), (Image, of.depth), (CameraInfo, of.info)]
    return topics


def shower(target: Alive, rng: Generator, rounds: int, heard: Topics = ()) -> int:
    """Send random and spoiled messages to what the node hears now, or to `heard`; how many."""
    heard = heard or [(s.msg_type, s.topic_name) for s in target.node.subscriptions]
    assert heard, "the node hears nothing"
    with spinning(partial(Node, "stranger"), target.domain_id) as stranger:
        senders = [(kind, stranger.create_publisher(kind, name, SENDER)) for kind, name in heard]
        for _, publisher in senders:
            until(partial(_heard, publisher))
        for index in range(rounds):
            for kind, publisher in senders:
                publisher.publish(_message(kind, publisher.topic_name, rng, index))
            pause()
            target.check()
        pause(0.3)
    target.check()
    return rounds * len(senders)


def _heard(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())


def _message(kind: Any, topic: str, rng: Generator, index: int) -> Any:
    valid = _valid(kind, topic)
    if valid is None or index % 4 == 0:
        return random_message(kind, rng)
    return spoiled(valid, rng, (0.0, 0.1, 0.3, 0.6)[index % 4])


def _valid(kind: Any, topic: str) -> Any:
    """What a good sender of this type would send now; None for a type without an example."""
    camera = next((c for c in RIG.cameras if f"/{c.name}/" in topic), RIG.cameras[0])
    frame, stamp_ns = convert.optical_frame(camera.name), CLOCK.now_ns()
    size = (camera.intrinsics.height_px, camera.intrinsics.width_px)
    if kind is Image and "depth" in topic:
        return convert.depth_to_msg(np.full(size, 0.8, np.float32), stamp_ns, frame)
    if kind is Image:
        return convert.color_to_msg(np.zeros((*size, 3), np.uint8), stamp_ns, frame)
    if kind is CameraInfo:
        return convert.camera_info_to_msg(camera.intrinsics, stamp_ns, frame)
    if kind is JointStateMsg:
        still = np.zeros(len(ARM.joint_names))
        return convert.joint_state_to_msg(JointState(ARM.joint_names, ARM.home, still, stamp_ns))
    return None


def files(*paths: str | Path) -> Sequence[str]:
    """`--params-file` for each."""
    return [word for path in paths for word in ("--params-file", str(path))]
