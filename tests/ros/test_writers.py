"""Who may write a topic: one. Laws of the counting, then two real publishers on a graph."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableSequence
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Int32

from mvista_core.errors import RivalWritersError
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level
from mvista_ros.writers import SoleWriter, Writer, Writers

pytestmark = pytest.mark.ros

CLOCK = SystemClock()
ONE, TWIN, OTHER = Writer("/a", b"1"), Writer("/a", b"2"), Writer("/b", b"3")


def writers(*there: Writer, heard: tuple[bytes | None, ...] = ()) -> Writers:
    made = Writers("/arm/joint_command")
    made.see(there)
    for sender in heard:
        made.hear(sender)
    return made


@pytest.mark.parametrize("there", [(), (ONE,), (OTHER,)])
def test_one_writer_is_no_trouble(there: tuple[Writer, ...]) -> None:
    made = writers(*there, heard=tuple(writer.identity for writer in there) * 3)
    assert made.trouble is None and made.refusal is None


def test_two_nodes_are_refused_before_either_has_written() -> None:
    made = writers(ONE, OTHER)
    assert made.refusal is not None and made.refusal.code == 39
    assert "2 publishers of /arm/joint_command (/a, /b)" in str(made.refusal)


def test_two_of_one_name_are_told_and_refused_once_both_have_written() -> None:
    """One may be a process that was killed: the graph knows it for its lease."""
    made = writers(ONE, TWIN, heard=(b"2", b"2"))
    assert made.trouble is not None and made.refusal is None
    made.hear(b"1")
    assert made.refusal is not None
    made.see((ONE, TWIN))
    assert made.refusal is not None
    made.see((TWIN,))
    assert made.refusal is None and made.trouble is None


def test_where_senders_are_not_told_presence_is_enough() -> None:
    assert writers(ONE, TWIN, heard=(None,)).refusal is not None
    assert writers(ONE, heard=(None,)).refusal is None


def test_a_second_sender_is_refused_before_the_graph_knows_it() -> None:
    assert writers(ONE, heard=(b"1", b"9")).refusal is not None


class Reader(HouseNode):
    def __init__(self, context: Context) -> None:
        super().__init__("reader", context=context)
        self.taken: list[int] = []
        self.refused: list[RivalWritersError] = []
        self.sole = SoleWriter(self, Int32, "points", self._take, self.refused.append, qos.COMMAND)

    def _take(self, message: Int32) -> None:
        self.taken.append(message.data)


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    rclpy.init(context=made, domain_id=20 + os.getpid() % 80)
    yield made
    rclpy.shutdown(context=made)


def test_two_real_publishers_are_counted_named_and_refused(context: Context) -> None:
    reader, first = Reader(context), Node("first", namespace="cell", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(reader)

    def publish(publisher: object, value: int, seen: MutableSequence[Any]) -> None:
        until_ns, before = CLOCK.monotonic_ns() + seconds_to_ns(20.0), len(seen)
        while len(seen) == before and CLOCK.monotonic_ns() < until_ns:
            publisher.publish(Int32(data=value))  # type: ignore[attr-defined]
            executor.spin_once(0.05)
        assert len(seen) > before

    try:
        one = first.create_publisher(Int32, "/points", qos.COMMAND)
        publish(one, 1, reader.taken)
        assert reader.sole.graded(Health()).level is Level.OK
        second = Node("second", namespace="cell", context=context)
        two = second.create_publisher(Int32, "/points", qos.COMMAND)
        publish(two, 2, reader.refused)
        assert 2 not in reader.taken
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.6))
        health = reader.sole.graded(Health())
        assert health.level is Level.ERROR
        assert "[39] 2 publishers of /points (/cell/first, /cell/second)" in health.message
        publish(one, 3, reader.refused)
        second.destroy_node()
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.6))
        assert reader.sole.graded(Health()).level is Level.OK
        publish(one, 4, reader.taken)
        assert reader.taken[-1] == 4
    finally:
        executor.shutdown()
        reader.destroy_node()
        first.destroy_node()
