"""What each process of the demo takes of the machine: idle, planning, at rest after a motion."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Protocol

from mvista_bringup.graph.sim import DEMOS, EMULATED
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.options import option_values
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor, free_udp_port
from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, ns_to_seconds
from mvista_eval import facts
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.process_usage import Usage, usage_of, usage_of_session

READY_S, SETTLE_S = 180.0, 2.0
PLANNER, CLIENT = "/planning", "demo client"
ALLOWED_CORES = 0.4
"""Of all but the planner while the model thinks: what is left of two cores is the model's."""
ALLOWED_WITH_BUS = {"/piper/driver": 0.315, "/piper/executor": 0.15, "/sim": 0.235}
"""Of a core at rest, with the arm behind a driver: half of what each once took."""


@dataclass(frozen=True)
class ProcessShare:
    """One process: shares of one core, memory and threads at the end."""

    name: str
    idle_cores: float
    thinking_cores: float
    moved_cores: float
    memory_mb: float
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.name:<22}{self.idle_cores:>8.1%}{self.thinking_cores:>10.1%}"
            f"{self.moved_cores:>10.1%}"
            f"{self.memory_mb:>10.0f}{self.threads:>9}"
        )


@dataclass(frozen=True)
class Moment:
    """What every process had used at one time."""

    at_ns: int
    usages: dict[str, Usage]

    def cores_since(self, before: Moment) -> dict[str, float]:
        """Processor time per time, by process; between two moments (s/s)."""
        seconds = max(ns_to_seconds(self.at_ns - before.at_ns), 1e-9)
        return {n: (u.cpu_s - before.usages[n].cpu_s) / seconds for n, u in self.usages.items()}


@dataclass(frozen=True)
class Moments:
    """The ends of what is measured, and why the task was not carried out ("": it was)."""

    idle: Moment
    asked: Moment
    planned: Moment
    rested: Moment
    ended: Moment
    outcome: str

    @property
    def planning_s(self) -> float:
        """From the task's sending to its plan."""
        return ns_to_seconds(self.planned.at_ns - self.asked.at_ns)


class Client(Protocol):
    """Who sends the task; what it takes itself is measured too."""

    def carry_out(
        self, on_stage: Callable[[str, float], None], keep_going: Callable[[], bool]
    ) -> str:
        """Send it, and wait for its end: why it was not carried out ("": it was)."""


def measure(
    seconds: float,
    arm: str,
    checkpoint: str,
    make_client: Callable[[int, Clock], AbstractContextManager[Client]],
) -> Measured:
    """The demo idle for so long, planning for a client on its domain, and as long after the motion.

    `arm` is one of `DEMOS`.

    Raises:
        ConfigError: no time, or a graph that cannot work. UnavailableError: a process ended.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: more than 0")
    clock = SystemClock()
    graph, options = DEMOS[arm]
    chosen = {"checkpoint": checkpoint}
    if arm == EMULATED:
        chosen["can_port"] = str(free_udp_port())
    values = option_values(options, chosen, str(share_root()))
    with Supervisor(graph, values, output_dir("bench", "graph"), clock=clock) as supervisor:
        names = [row.full_name for row in started_rows(graph, values)]
        leaders = dict(zip(names, supervisor.pids, strict=True))
        supervisor.wait_ready(READY_S)
        with make_client(supervisor.domain_id, clock) as client:
            moments = _watch(supervisor, leaders, client, seconds, clock)
    return _measured(arm, shares(moments), moments, seconds)


def _watch(
    supervisor: Supervisor,
    leaders: Mapping[str, int],
    client: Client,
    seconds: float,
    clock: Clock,
) -> Moments:
    """A task between two times of rest. An executor holds from its first motion on, not before."""

    def now() -> Moment:
        usages = {name: usage_of_session(pid) for name, pid in leaders.items()}
        return Moment(clock.monotonic_ns(), {**usages, CLIENT: usage_of(os.getpid())})

    planned: list[Moment] = []

    def on_stage(stage: str, progress: float) -> None:
        if (stage, progress) == ("infer", 1.0):
            planned.append(now())

    def keep_going() -> bool:
        supervisor.check()
        return True

    let_run(supervisor, SETTLE_S, clock)
    idle = now()
    let_run(supervisor, seconds, clock)
    asked = now()
    outcome = client.carry_out(on_stage, keep_going)
    if not planned:
        planned.append(now())
    let_run(supervisor, SETTLE_S, clock)
    rested = now()
    let_run(supervisor, seconds, clock)
    return Moments(idle, asked, planned[0], rested, now(), outcome)


def shares(moments: Moments) -> list[ProcessShare]:
    """Every process: before the task, until there was a plan, and after the motion."""
    idle = moments.asked.cores_since(moments.idle)
    thinking = moments.planned.cores_since(moments.asked)
    moved = moments.ended.cores_since(moments.rested)
    return [
        ProcessShare(name, idle[name], thinking[name], moved[name], usage.memory_mb, usage.threads)
        for name, usage in moments.ended.usages.items()
    ]


def added(name: str, rows: Sequence[ProcessShare]) -> ProcessShare:
    """Several processes as one row."""
    return ProcessShare(
        name,
        sum(row.idle_cores for row in rows),
        sum(row.thinking_cores for row in rows),
        sum(row.moved_cores for row in rows),
        sum(row.memory_mb for row in rows),
        sum(row.threads for row in rows),
    )


def _measured(arm: str, rows: list[ProcessShare], moments: Moments, idle_s: float) -> Measured:
    rest = added("without the planner", [row for row in rows if row.name != PLANNER])
    total = added("all", rows)
    machine = {fact.name: fact.value for fact in facts.machine()}
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{'of one core':<22}{'idle':>8}{'planning':>10}{'moved':>10}{'MB':>10}{'threads':>9}",
        *(str(row) for row in (*rows, rest, total)),
        f"planning took {moments.planning_s:.1f} s",
        *([f"the task was not carried out: {moments.outcome}"] if moments.outcome else []),
    ]
    document = {
        "facts": machine,
        "arm": arm,
        "idle_s": idle_s,
        "planning_s": moments.planning_s,
        "outcome": moments.outcome,
        "processes": [asdict(row) for row in rows],
        "without_planner": asdict(rest),
        "total": asdict(total),
    }
    figures = [*_bounds(arm, rows, rest), Figure("tasks failed", float(bool(moments.outcome)), 0.0)]
    return Measured(f"graph: {len(rows)} processes", "\n".join(lines), document, figures)


def _bounds(arm: str, rows: Sequence[ProcessShare], rest: ProcessShare) -> list[Figure]:
    if arm == EMULATED:
        return [
            Figure(f"cores of {row.name}, {when}", cores, ALLOWED_WITH_BUS[row.name])
            for row in rows
            if row.name in ALLOWED_WITH_BUS
            for when, cores in (("idle", row.idle_cores), ("after a motion", row.moved_cores))
        ]
    return [
        Figure("cores of all but the planner, idle", rest.idle_cores, ALLOWED_CORES),
        Figure("cores of all but the planner, planning", rest.thinking_cores, ALLOWED_CORES),
    ]
