"""The house node: steady timers, guarded listening, diagnostics at 1 Hz, and one `main` for all.

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
from dataclasses import dataclass, field, replace
from enum import Enum
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from mvista_core import realtime
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.ports import Clock
from mvista_core.process import BAD_INPUT_EXIT_CODE
from mvista_core.signal_flag import SignalFlag
from mvista_core.timing import SystemClock
from mvista_ros import qos
from mvista_ros.convert import error_to_values, ns_to_stamp
from mvista_ros.listening import Listening
from mvista_ros.parameters import why_fixed

DIAGNOSTICS_PERIOD_S = 1.0
EXECUTOR_STOP_TIMEOUT_S = 5.0
SIM_TIME = "use_sim_time"
NO_SIM_TIME = (
    f"{SIM_TIME} is true; allowed: false. Stamps here are the machine's wall clock and periods its "
    "steady clock, whoever publishes /clock; the simulated cell runs on both, and a replay has "
    "`restamp`"
)


class Level(Enum):
    """Levels of `diagnostic_msgs/DiagnosticStatus`."""

    OK = DiagnosticStatus.OK
    WARN = DiagnosticStatus.WARN
    ERROR = DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Health:
    """What a node says of itself once a second: a level, a sentence, and numbers with units.

    `error` is why it cannot do its work, if it cannot: told with its number beside the values.
    """

    level: Level = Level.OK
    message: str = "running"
    values: tuple[tuple[str, str], ...] = field(default=())
    error: MvistaError | None = None


class HouseNode(Node):
    """A node with `/diagnostics` at 1 Hz. The first one tells that the node serves.

    `system_clock` is the injected clock; stamps come from it, never from the node's ROS clock, and
    timers run on a steady one: a step of the wall clock neither stops nor hurries them. Simulated
    time (`use_sim_time`) is refused with a `ConfigError`.
    Create action clients and servers in the constructor: rclpy registers them with the node before
    they are whole, so one that is made on a spinning node can end its executor.
    """

    def __init__(self, name: str, clock: Clock | None = None, **node_arguments: Any) -> None:
        super().__init__(name, **node_arguments)
        if self.get_parameter(SIM_TIME).value:
            where = self.get_fully_qualified_name()
            self.destroy_node()
            raise ConfigError(f"{where}: {NO_SIM_TIME}")
        self.add_on_set_parameters_callback(_refuse_sim_time)
        self.system_clock: Clock = clock or SystemClock()
        self.steady_clock = RosClock(clock_type=ClockType.STEADY_TIME)
        self.listening = Listening(self, self.system_clock)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATUS)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_health)

    def create_timer(self, timer_period_sec: float, *arguments: Any, **options: Any) -> Timer:
        """As rclpy's, on a steady clock: the wall clock paces nothing."""
        options.setdefault("clock", self.steady_clock)
        return super().create_timer(timer_period_sec, *arguments, **options)

    def set_parameters_atomically(
        self, parameter_list: list[Parameter[Any]]
    ) -> SetParametersResult:
        """As rclpy's; a parameter that cannot change is refused with the reason why."""
        for item in parameter_list:
            if reason := why_fixed(self, item.name):
                return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)

    def listen(
        self,
        kind: Any,
        topic: str,
        handle: Callable[..., object],
        profile: QoSProfile,
        group: CallbackGroup | None = None,
        raw: bool = False,
        sender: bool = False,
    ) -> Subscription:
        """Hear a topic; a message that `handle` cannot use is dropped and told, and ends nothing.

        See `mvista_ros.listening`. Use this, not `create_subscription`.
        """
        return self.listening.listen(kind, topic, handle, profile, group, raw, sender)

    def health(self) -> Health:
        """Asked once a second, on an executor thread. Override to say more."""
        return Health()

    def start(self) -> None:
        """Called once when all nodes of the process are built, before the executor spins.

        Override to begin what may be refused: a `MvistaError` ends the process as one while
        building does.
        """

    def stop(self) -> None:
        """Called once when the process is told to stop, while the executor still spins.

        Override to hold an arm, end threads and cancel work; return within a second or two.
        """

    def _publish_health(self) -> None:
        health = _with_troubles(self.health(), self.listening)
        message = DiagnosticArray(status=[status_to_msg(self.get_fully_qualified_name(), health)])
        message.header.stamp = ns_to_stamp(self.system_clock.now_ns())
        self._diagnostics.publish(message)


def status_to_msg(name: str, health: Health) -> DiagnosticStatus:
    """A health as a diagnostic of that name; programs read its error by `outcome_from_status`."""
    told = () if health.error is None else error_to_values(health.error)
    values = [KeyValue(key=key, value=value) for key, value in (*told, *health.values)]
    return DiagnosticStatus(
        level=health.level.value, name=name, message=health.message, values=values
    )


def _with_troubles(health: Health, listening: Listening) -> Health:
    """What a node says of itself, and what it had to drop: a WARN while that happens."""
    values, troubles = (*health.values, *listening.values()), listening.troubles()
    if not troubles:
        return replace(health, values=values)
    level = Level.WARN if health.level is Level.OK else health.level
    return replace(health, level=level, message=f"{health.message}; {troubles}", values=values)


def _refuse_sim_time(parameters: list[Parameter[Any]]) -> SetParametersResult:
    asked = any(item.name == SIM_TIME and item.value for item in parameters)
    reason = f"[{ConfigError.code}] {NO_SIM_TIME}" if asked else ""
    return SetParametersResult(successful=not asked, reason=reason)


class _Stop:
    """SIGINT or SIGTERM: while nodes are built it interrupts, later it asks the main loop."""

    def __init__(self) -> None:
        self.asked = SignalFlag()
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
    for node in nodes:
        node.start()
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
