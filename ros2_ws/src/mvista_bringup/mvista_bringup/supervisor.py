"""Starts a graph as separate processes on a ROS domain of its own, and leaves none behind.

with Supervisor(SIM_DEMO, values, output_dir("demo")) as supervisor:
    supervisor.wait_ready(60.0)
    ...                      # this process is on the same domain
    supervisor.check()       # raises when a required process has died
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor

from mvista_bringup.graph.spec import (
    DDS_PROFILE,
    CellUrdf,
    Entry,
    Literal,
    NodeSpec,
    RvizConfig,
    Spec,
    Template,
    Value,
    started_rows,
)
from mvista_bringup.options import SHARE
from mvista_bringup.preflight import in_words, look_at_rows
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros import qos
from mvista_ros.listening import Listening

LAST_DOMAIN_ID = 101
PARTICIPANTS = 32
"""Places for processes in a domain that are looked at; a graph has about ten."""
"""Domains 1 to 101 lie below the ports that Linux hands out by itself (32768 and up)."""

STOP_SIGNALS = ((signal.SIGINT, 8.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))
"""What each process is sent, and the seconds it then gets."""

DDS_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"

POLL_PERIOD_S = 0.05
NAMED_LOG_LINES = 3


@dataclass
class _Child:
    spec: Spec
    process: subprocess.Popen[bytes]
    log: Path

    def describe(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        said = " | ".join(lines[-NAMED_LOG_LINES:]) or "it said nothing"
        return f"{self.spec.full_name} (exit {self.process.returncode}): {said}; log: {self.log}"


class Supervisor:
    """The processes of one run. `values` are `option_values(...)`; logs go to `run_dir/logs`.

    `dds_profile` lies below the share; "" leaves the middleware its defaults.
    """

    def __init__(
        self,
        graph: Sequence[Entry],
        values: Mapping[str, str],
        run_dir: Path,
        domain_id: int | None = None,
        clock: Clock | None = None,
        dds_profile: str = DDS_PROFILE,
    ) -> None:
        self._graph = started_rows(graph, values)
        self._dds_profile = dds_profile
        self._values = dict(values)
        self._logs = run_dir / "logs"
        self._clock: Clock = clock or SystemClock()
        self._children: list[_Child] = []
        self._environment_before: dict[str, str | None] = {}
        self.domain_id = free_domain_id() if domain_id is None else domain_id

    def __enter__(self) -> Supervisor:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the started nodes, in the graph's order."""
        return tuple(child.process.pid for child in self._children)

    def start(self) -> None:
        """Start every process. Until `stop` the calling process has the run's environment too.

        Raises:
            ConfigError: with all that would keep the rows from working (preflight.py).
        """
        if found := look_at_rows(self._graph, self._values):
            raise ConfigError(in_words("this run", found))
        commands = [command_line(spec, self._values) for spec in self._graph]
        self._logs.mkdir(parents=True, exist_ok=True)
        variables = run_environment(self.domain_id, self._values[SHARE], self._dds_profile)
        changed = (*variables, DDS_PROFILE_VARIABLE)
        self._environment_before = {name: os.environ.get(name) for name in changed}
        os.environ.pop(DDS_PROFILE_VARIABLE, None)
        os.environ.update(variables)
        for spec, command in zip(self._graph, commands, strict=True):
            log = self._logs / f"{spec.full_name.strip('/').replace('/', '_')}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._children.append(_Child(spec, process, log))

    def check(self) -> None:
        """Return while all required processes live.

        Raises:
            UnavailableError: one has ended; names it, its last words and its log.
        """
        dead = [c for c in self._children if c.spec.required and c.process.poll() is not None]
        if dead:
            raise UnavailableError("ended: " + "; ".join(child.describe() for child in dead))

    def wait_ready(
        self, timeout_s: float, on_ready: Callable[[str], None] = lambda name: None
    ) -> None:
        """Wait until every node has told its health once; `on_ready` hears each node's name.

        Raises:
            UnavailableError: a required process ended, or nodes were silent for `timeout_s`.
        """
        waiting = {s.full_name for s in self._graph if isinstance(s, NodeSpec) and s.required}

        def listen(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name in waiting and status.level != DiagnosticStatus.ERROR:
                    waiting.discard(status.name)
                    on_ready(status.name)

        context = rclpy.Context()
        context.init(domain_id=self.domain_id)
        node = rclpy.create_node(f"supervisor_{os.getpid()}", context=context)
        executor = SingleThreadedExecutor(context=context)
        try:
            hearing = Listening(node, self._clock)
            hearing.listen(DiagnosticArray, "/diagnostics", listen, qos.STATUS)
            executor.add_node(node)
            deadline_ns = self._clock.monotonic_ns() + seconds_to_ns(timeout_s)
            while waiting:
                self.check()
                if self._clock.monotonic_ns() > deadline_ns:
                    raise self._silent(waiting, timeout_s)
                executor.spin_once(timeout_sec=POLL_PERIOD_S)
        finally:
            executor.shutdown()
            node.destroy_node()
            context.try_shutdown()

    def stop(self) -> None:
        """SIGINT, then SIGTERM, then SIGKILL to each process group; returns when none is left."""
        for number, grace_s in STOP_SIGNALS:
            living = [child for child in self._children if child.process.poll() is None]
            for child in reversed(living):
                _signal_group(child.process.pid, number)
            self._wait_ended(living, grace_s)
        # A leader that is gone may have left members of its group.
        for child in self._children:
            _signal_group(child.process.pid, signal.SIGKILL)
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _wait_ended(self, children: Sequence[_Child], grace_s: float) -> None:
        deadline_ns = self._clock.monotonic_ns() + seconds_to_ns(grace_s)
        while any(child.process.poll() is None for child in children):
            now_ns = self._clock.monotonic_ns()
            if now_ns > deadline_ns:
                return
            self._clock.sleep_until(now_ns + seconds_to_ns(POLL_PERIOD_S))

    def _silent(self, waiting: set[str], timeout_s: float) -> UnavailableError:
        logs = [str(child.log) for child in self._children if child.spec.full_name in waiting]
        return UnavailableError(
            f"no sign of {sorted(waiting)} within {timeout_s:g} s on ROS domain {self.domain_id}; "
            f"logs: {', '.join(logs)}"
        )


def command_line(spec: Spec, values: Mapping[str, str]) -> list[str]:
    """The command that runs one row of the table with this interpreter.

    Raises:
        ConfigError: its parameter file is missing, or an option does not fit.
    """
    if isinstance(spec, NodeSpec):
        module, arguments = spec.executable, _ros_arguments(spec, values)
    else:
        module, arguments = spec.module, []
    arguments = [*(str(_resolved(a, values)) for a in spec.arguments), *arguments]
    module = f"{spec.package}.{module}"
    return [sys.executable, "-m", "mvista_bringup.child", str(os.getpid()), module, *arguments]


def _ros_arguments(spec: NodeSpec, values: Mapping[str, str]) -> list[str]:
    arguments = ["--ros-args", "-r", f"__node:={spec.name}", "-r", f"__ns:={spec.namespace}"]
    if spec.parameter_file:
        path = Path(values[SHARE]) / spec.parameter_file
        if not path.is_file():
            raise ConfigError(f"{spec.full_name}: no parameter file {path}")
        arguments += ["--params-file", str(path)]
    for name, value in spec.parameters:
        arguments += ["-p", f"{name}:={_yaml(_resolved(value, values))}"]
    for source, target in spec.remappings:
        arguments += ["-r", f"{source}:={target}"]
    return arguments


def _resolved(value: Value | RvizConfig, values: Mapping[str, str]) -> Literal:
    if isinstance(value, CellUrdf | RvizConfig):
        raise ConfigError(f"{type(value).__name__} is for programs of an apt ROS: `ros2 launch`")
    return value.resolve(values) if isinstance(value, Template) else value


def run_environment(domain_id: int, share: str, dds_profile: str = DDS_PROFILE) -> dict[str, str]:
    """Variables that keep a run to itself, on this machine, with buffers fit for images.

    An empty `dds_profile` leaves the middleware its defaults.
    """
    variables = {
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    if dds_profile:
        variables[DDS_PROFILE_VARIABLE] = str(Path(share) / dds_profile)
    return variables


def free_domain_id() -> int:
    """A domain no participant of this machine is on, tried from this process's own number on.

    Raises:
        UnavailableError: all of 1 to 101 are taken.
    """
    for offset in range(LAST_DOMAIN_ID):
        domain_id = 1 + (os.getpid() + offset) % LAST_DOMAIN_ID
        if not _in_use(domain_id):
            return domain_id
    raise UnavailableError(f"every ROS domain from 1 to {LAST_DOMAIN_ID} is in use")


def _in_use(domain_id: int) -> bool:
    """By the ports that RTPS 9.6.1 gives a domain's participants for discovery: the one that all
    share, and each one's own. The first participant may have gone while others stay."""
    first = 7400 + 250 * domain_id
    for port in (first, *(first + 10 + 2 * place for place in range(PARTICIPANTS))):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return True
    return False


def free_udp_port() -> int:
    """A UDP port of this machine that nobody is bound to now, for a bus of this run's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _yaml(value: Literal) -> str:
    # Quoted, so that a text made of digits stays a text; JSON is YAML.
    return json.dumps(value)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
