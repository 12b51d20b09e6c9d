"""What was sent and why, told to whoever listens: beside the stream, never in its way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sensor_msgs.msg import JointState as JointStateMsg

from mvista_core.records import Float64, JointCommand
from mvista_executor.gaps import Gap
from mvista_executor.motion import Why
from mvista_executor.report import Recording, Status, Tick
from mvista_executor.report_messages import executed_to_msg, report_to_msg
from mvista_ros.convert import joint_command_to_msg, ns_to_stamp

FEEDBACK_TICKS = 12
KEPT = 1000
"""Changes that wait to be told; older ones are let go."""


class Publisher(Protocol):
    """What is needed of an rclpy publisher."""

    def publish(self, message: Any) -> None: ...


@dataclass(frozen=True)
class Topics:
    """Where it is told."""

    reports: Publisher
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
        self._changes: deque[tuple[Tick, str, Recording]] = deque(maxlen=KEPT)
        self._newest: tuple[Tick, str, Recording] | None = None
        self._seen: Tick | None = None
        self._count = 0
        self._noted: tuple[str, Status, tuple[Why, ...]] | None = None

    def note(self, tick: Tick, plan_id: str, recording: Recording, running: bool) -> None:
        """A set-point was sent, for a goal that runs or to hold what this plan ended with."""
        self._count += 1
        self._newest = tick, plan_id, recording
        if self._noted != (noted := (plan_id, tick.status, tick.why)):
            self._noted = noted
            self._changes.append(self._newest)
            self._wake()
        elif running and self._count % FEEDBACK_TICKS == 0:
            self._wake()

    def tell(self, gaps: Sequence[Gap], feedback: Callable[[Tick, Recording], object]) -> None:
        """Publish what is new; `feedback` is given the newest tick of a motion."""
        newest = self._newest
        if newest is None:
            return
        for _ in range(len(self._changes)):
            self._topics.reports.publish(report_to_msg(*self._changes.popleft()))
        for gap in gaps:
            self._topics.reports.publish(report_to_msg(*newest, gap))
        if newest[0] is not self._seen:
            self._seen = newest[0]
            if not self._seen.status.final:
                feedback(self._seen, newest[2])

    def tell_ended(self, recording: Recording) -> str:
        """Publish what was sent for a goal that is over; its summary."""
        report = recording.report()
        self._topics.executed.publish(executed_to_msg(report))
        return report.summary
