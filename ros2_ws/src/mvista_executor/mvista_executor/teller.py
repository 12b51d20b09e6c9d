"""What was sent and why, told to whoever listens: beside the stream, never in its way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.records import Float64, JointCommand
from mvista_executor import action_messages
from mvista_executor.motion import Why
from mvista_executor.report import Recording, Status, Tick
from mvista_ros.convert import joint_command_to_msg, ns_to_stamp

LISTENED_TICKS = 5
"""Ticks between two looks whether anyone listens to `sent`, and between two parcels of it."""
FEEDBACK_TICKS = 12


class Publisher(Protocol):
    """What is needed of an rclpy publisher."""

    def publish(self, message: Any) -> None: ...

    def get_subscription_count(self) -> int: ...


@dataclass(frozen=True)
class Topics:
    """Where it is told."""

    sent: Publisher
    why: Publisher
    executed: Publisher


class CommandMessage:
    """Set-points as messages; one that repeats the last is not built anew."""

    def __init__(self) -> None:
        self._positions: Float64 | None = None
        self._message = JointStateMsg()

    def of(self, command: JointCommand) -> JointStateMsg:
        """The message; valid until the next call."""
        if command.positions is self._positions and not command.velocities.any():
            self._message.header.stamp = ns_to_stamp(command.stamp_ns)
        else:
            self._message = joint_command_to_msg(command)
            resting = not command.velocities.any()
            self._positions = command.positions if resting else None
        return self._message


class Teller:
    """`note` on the ticker's thread, `tell` on another: woken only when there is news."""

    def __init__(self, topics: Topics, wake: Callable[[], object]) -> None:
        self._topics, self._wake = topics, wake
        self._ticks: deque[Tick] = deque()
        self._newest: Tick | None = None
        self._seen: Tick | None = None
        self._listened = False
        self._count = 0
        self._reasons: tuple[Status, tuple[Why, ...]] | None = None
        self._told = ""

    def note(self, tick: Tick, running: bool) -> None:
        """A set-point was sent, for a goal that runs or to hold."""
        self._count += 1
        if self._count % LISTENED_TICKS == 0:
            self._listened = self._topics.sent.get_subscription_count() > 0
            if self._ticks:
                self._wake()
        if self._listened:
            self._ticks.append(tick)
        self._newest = tick
        reasons = tick.status, tick.why
        if reasons != self._reasons or (running and self._count % FEEDBACK_TICKS == 0):
            self._reasons = reasons
            self._wake()

    def tell(self, recording: Callable[[], Recording], feedback: Callable[[Any], None]) -> None:
        """Publish what is new; `feedback` is given a message for the goal that runs."""
        for _ in range(len(self._ticks)):
            self._topics.sent.publish(action_messages.sent_to_msg(self._ticks.popleft()))
        newest = self._newest
        if newest is None or newest is self._seen:
            return
        self._seen = newest
        if self._told != (told := action_messages.reasons(newest)):
            self._told = told
            self._topics.why.publish(action_messages.why_to_msg(newest, recording()))
        if not newest.status.final:
            feedback(newest)

    def tell_ended(self, recording: Recording) -> str:
        """Publish what was sent for a goal that is over; its summary."""
        report = recording.report()
        self._topics.executed.publish(action_messages.executed_to_msg(report))
        return report.summary
