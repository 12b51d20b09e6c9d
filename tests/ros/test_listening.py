"""What is malformed is dropped, counted, told at a bounded rate and shown in health."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.errors import ObservationError
from mvista_core.timing import ManualClock
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, _with_troubles
from mvista_ros.convert import joint_state_from_msg
from mvista_ros.listening import RECENT_S, WARN_EVERY_S, Listening, message_from_bytes

pytestmark = pytest.mark.ros

TOPIC = "/piper/joint_states"


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


class _HalfNode:
    """What `Listening` asks of a node when a message is dropped."""

    def __init__(self) -> None:
        self.log = _Log()

    def get_logger(self) -> _Log:
        return self.log


def _listening() -> tuple[Listening, ManualClock, list[str]]:
    clock, node = ManualClock(10**9), _HalfNode()
    return Listening(node, clock), clock, node.log.lines


BAD = JointStateMsg(name=["a", "b"], position=[1.0])


def test_a_bad_message_is_dropped_and_a_good_one_after_it_is_heard() -> None:
    listening, _, _ = _listening()
    good = JointStateMsg(name=["a"], position=[1.0])
    assert listening.judge(TOPIC, joint_state_from_msg, BAD) is None
    heard = listening.judge(TOPIC, joint_state_from_msg, good)
    assert heard is not None and heard.names == ("a",)
    assert listening.dropped(TOPIC) == 1


@pytest.mark.parametrize(
    "error", [ObservationError("x"), ValueError("x"), KeyError("x"), ZeroDivisionError("x")]
)
def test_every_error_of_reading_is_a_drop(error: Exception) -> None:
    listening, _, _ = _listening()

    def handle(message: object) -> None:
        raise error

    assert listening.judge(TOPIC, handle, None) is None
    assert listening.dropped(TOPIC) == 1


def test_a_fault_of_the_program_is_none_of_the_senders() -> None:
    listening, _, _ = _listening()

    def handle(message: object) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        listening.judge(TOPIC, handle, None)


def test_it_warns_at_once_with_the_topic_and_then_at_a_bounded_rate() -> None:
    listening, clock, lines = _listening()
    seconds, rate_hz = 60, 200
    for _ in range(seconds * rate_hz):
        listening.judge(TOPIC, joint_state_from_msg, BAD)
        clock.advance(1 / rate_hz)
    assert TOPIC in lines[0] and "[30]" in lines[0] and "1 malformed" in lines[0]
    assert len(lines) == seconds / WARN_EVERY_S
    assert listening.dropped(TOPIC) == seconds * rate_hz


def test_health_warns_while_it_happens_and_keeps_the_count() -> None:
    listening, clock, _ = _listening()
    fine = Health(Level.OK, "idle", (("a", "1"),))
    assert _with_troubles(fine, listening) == fine
    listening.judge(TOPIC, joint_state_from_msg, BAD)
    told = _with_troubles(fine, listening)
    assert told.level is Level.WARN and TOPIC in told.message and told.message.startswith("idle")
    assert _with_troubles(Health(Level.ERROR, "x"), listening).level is Level.ERROR
    clock.advance(RECENT_S)
    later = _with_troubles(fine, listening)
    assert (later.level, later.message) == (Level.OK, "idle")
    assert dict(later.values)[f"dropped of {TOPIC}"].startswith("1 ")


def test_bytes_that_are_no_message_are_refused_with_a_number() -> None:
    with pytest.raises(ObservationError, match="5 bytes are no JointState"):
        message_from_bytes(b"\0\1\0\0\1", JointStateMsg)


@pytest.fixture
def node(domain_id: int) -> Iterator[HouseNode]:
    context = rclpy.Context()
    context.init(domain_id=domain_id)
    node = HouseNode("listener", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_a_queue_gives_what_can_be_read_in_order(node: HouseNode) -> None:
    def read(data: bytes) -> float:
        return float(message_from_bytes(data, JointStateMsg).position[0])

    queue = node.listening.queue(JointStateMsg, "waits", read, qos.STATUS)
    sender = node.create_publisher(JointStateMsg, "waits", qos.STATUS)
    while not sender.get_subscription_count():
        node.system_clock.sleep_until(node.system_clock.monotonic_ns() + 20_000_000)
    for value in (1.0, None, 2.0):
        sender.publish(JointStateMsg(position=[] if value is None else [value]))
    sender.publish(b"no message")
    taken: list[float] = []
    for _ in range(100):
        taken += queue.take()
        if len(taken) == 2 and node.listening.dropped(queue.topic) == 2:
            break
        node.system_clock.sleep_until(node.system_clock.monotonic_ns() + 20_000_000)
    assert taken == [1.0, 2.0]
    assert node.listening.dropped(queue.topic) == 2
