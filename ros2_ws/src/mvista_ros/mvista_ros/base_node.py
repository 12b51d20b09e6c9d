"""The house node: diagnostics at 1 Hz, and one `main` that starts and stops every process alike.

class SimNode(HouseNode):
    def __init__(self) -> None:
        super().__init__("sim")
        self.settings = declare(self, SimParameters)

def main() -> None:
    run_node(SimNode)
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mvista_core import realtime
from mvista_core.errors import MvistaError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock
from mvista_ros import qos
from mvista_ros.convert import ns_to_stamp

DIAGNOSTICS_PERIOD_S = 1.0
BAD_INPUT_EXIT_CODE = 2
EXECUTOR_STOP_TIMEOUT_S = 5.0


class Level(Enum):
    """Levels of `diagnostic_msgs/DiagnosticStatus`."""

    OK = DiagnosticStatus.OK
    WARN = DiagnosticStatus.WARN
    ERROR = DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Health:
    """What a node says of itself once a second: a level, a sentence, and numbers with units."""

    level: Level = Level.OK
    message: str = "running"
    values: tuple[tuple[str, str], ...] = field(default=())


class HouseNode(Node):
    """A node with `/diagnostics` at 1 Hz. The first one tells that the node serves.

    `system_clock` is the injected clock; stamps come from it, never from the node's ROS clock.
    Create action clients and servers in the constructor: rclpy registers them with the node before
    they are whole, so one that is made on a spinning node can end its executor.
    """

    def __init__(self, name: str, clock: Clock | None = None, **node_arguments: Any) -> None:
        super().__init__(name, **node_arguments)
        self.system_clock: Clock = clock or SystemClock()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATUS)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_health)

    def health(self) -> Health:
        """Asked once a second, on an executor thread. Override to say more."""
        return Health()

    def stop(self) -> None:
        """Called once when the process is told to stop, while the executor still spins.

        Override to hold an arm, end threads and cancel work; return within a second or two.
        """

    def _publish_health(self) -> None:
        health = self.health()
        status = DiagnosticStatus(
            level=health.level.value,
            name=self.get_fully_qualified_name(),
            message=health.message,
            values=[KeyValue(key=key, value=value) for key, value in health.values],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self.system_clock.now_ns())
        self._diagnostics.publish(message)


class _Stop:
    """SIGINT or SIGTERM: while nodes are built it interrupts, later it asks the main loop."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.building = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked.set()
        if self.building:
            raise KeyboardInterrupt


def run_node(
    factory: Callable[[], HouseNode | Sequence[HouseNode]],
    threads: int = 1,
    realtime_priority: int = 0,
) -> None:
    """Build the node (or the nodes of one process), spin until SIGINT or SIGTERM, leave cleanly.

    `threads` above 1 takes a multi-threaded executor, which action servers with long work need.
    `realtime_priority` puts the whole process under SCHED_FIFO where the system allows it: also the
    middleware's threads, or a real-time publisher would wait 0.1 s for a starved one's lock.
    Exits with 0 after a signal, with 2 and one line on stderr for a `MvistaError` while building;
    an error in a callback ends the process with its traceback.
    """
    stop = _Stop()
    if refused := realtime.claim(realtime_priority):
        print(refused, file=sys.stderr, flush=True)
    with _signals(stop):
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            _build_and_spin(factory, threads, stop)
        except KeyboardInterrupt:
            pass
        except MvistaError as error:
            print(f"{type(error).__name__} ({error.code}): {error}", file=sys.stderr, flush=True)
            raise SystemExit(BAD_INPUT_EXIT_CODE) from None
        finally:
            rclpy.try_shutdown()


def _build_and_spin(
    factory: Callable[[], HouseNode | Sequence[HouseNode]], threads: int, stop: _Stop
) -> None:
    built = factory()
    nodes = [built] if isinstance(built, HouseNode) else list(built)
    stop.building = False
    executor = MultiThreadedExecutor(threads) if threads > 1 else SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    failures: list[BaseException] = []
    # The executor spins beside the main thread, so that a signal is heard at once and the nodes
    # can still talk (hold, finish a goal) while they stop.
    spinner = threading.Thread(target=_spin, args=(executor, stop, failures), name="executor")
    spinner.start()
    try:
        stop.asked.wait()
        for node in nodes:
            node.stop()
    finally:
        # After a failure the work it left open never finishes: do not wait for it.
        executor.shutdown(0.0 if failures else EXECUTOR_STOP_TIMEOUT_S)
        spinner.join(EXECUTOR_STOP_TIMEOUT_S)
        for node in nodes:
            node.destroy_node()
    if failures:
        raise failures[0]


def _spin(executor: Executor, stop: _Stop, failures: list[BaseException]) -> None:
    try:
        executor.spin()
    except InvalidHandle as error:
        # A busy node: `shutdown` took away what the last callback still held.
        if not stop.asked.is_set():
            failures.append(error)
    except BaseException as error:
        failures.append(error)
    finally:
        stop.asked.set()


@contextmanager
def _signals(handler: _Stop) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
