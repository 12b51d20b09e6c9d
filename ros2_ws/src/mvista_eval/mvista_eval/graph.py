"""What each process of the simulated demo takes of the machine, idle and while it plans."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Protocol

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.options import option_values
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
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


@dataclass(frozen=True)
class ProcessShare:
    """One process: shares of one core, memory and threads at the end."""

    name: str
    idle_cores: float
    thinking_cores: float
    memory_mb: float
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.name:<22}{self.idle_cores:>8.1%}{self.thinking_cores:>10.1%}"
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


class Client(Protocol):
    """Who asks for the plan; what it takes itself is measured too."""

    def plan(self, on_stage: Callable[[str, float], None], keep_going: Callable[[], bool]) -> str:
        """Ask, and wait until not to be kept going: what became of it, in words."""


def measure(
    seconds: float,
    checkpoint: str,
    make_client: Callable[[int, Clock], AbstractContextManager[Client]],
) -> Measured:
    """The simulated demo idle for so long, then planning for a client on its ROS domain.

    Raises:
        ConfigError: no time, or a graph that cannot work. UnavailableError: a process ended.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: more than 0")
    clock = SystemClock()
    values = option_values(SIM_DEMO_OPTIONS, {"checkpoint": checkpoint}, str(share_root()))
    with Supervisor(SIM_DEMO, values, output_dir("bench", "graph"), clock=clock) as supervisor:
        names = [row.full_name for row in started_rows(SIM_DEMO, values)]
        leaders = dict(zip(names, supervisor.pids, strict=True))
        supervisor.wait_ready(READY_S)
        with make_client(supervisor.domain_id, clock) as client:
            idle, asked, ended, outcome = _watch(supervisor, leaders, client, seconds, clock)
    planned_s = ns_to_seconds(ended.at_ns - asked.at_ns)
    return _measured(shares(idle, asked, ended), seconds, planned_s, outcome)


def _watch(
    supervisor: Supervisor,
    leaders: Mapping[str, int],
    client: Client,
    seconds: float,
    clock: Clock,
) -> tuple[Moment, Moment, Moment, str]:
    """Before and after the idle time, after the planning, and what became of that ("": a plan)."""

    def now() -> Moment:
        usages = {name: usage_of_session(pid) for name, pid in leaders.items()}
        return Moment(clock.monotonic_ns(), {**usages, CLIENT: usage_of(os.getpid())})

    planned: list[Moment] = []

    def on_stage(stage: str, progress: float) -> None:
        if (stage, progress) == ("infer", 1.0):
            planned.append(now())

    def keep_going() -> bool:
        supervisor.check()
        return not planned  # nothing is to move: the task is cancelled at its confirmation

    let_run(supervisor, SETTLE_S, clock)
    idle = now()
    let_run(supervisor, seconds, clock)
    asked = now()
    outcome = client.plan(on_stage, keep_going)
    ended = planned[0] if planned else now()
    return idle, asked, ended, "" if planned else outcome


def shares(idle: Moment, asked: Moment, ended: Moment) -> list[ProcessShare]:
    """Every process, idle until it was asked for a plan and planning until that ended."""
    idle_cores, thinking_cores = asked.cores_since(idle), ended.cores_since(asked)
    return [
        ProcessShare(name, idle_cores[name], thinking_cores[name], usage.memory_mb, usage.threads)
        for name, usage in ended.usages.items()
    ]


def added(name: str, rows: Sequence[ProcessShare]) -> ProcessShare:
    """Several processes as one row."""
    return ProcessShare(
        name,
        sum(row.idle_cores for row in rows),
        sum(row.thinking_cores for row in rows),
        sum(row.memory_mb for row in rows),
        sum(row.threads for row in rows),
    )


def _measured(rows: list[ProcessShare], idle_s: float, planned_s: float, outcome: str) -> Measured:
    rest = added("without the planner", [row for row in rows if row.name != PLANNER])
    total = added("all", rows)
    machine = {fact.name: fact.value for fact in facts.machine()}
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{'of one core':<22}{'idle':>8}{'planning':>10}{'MB':>10}{'threads':>9}",
        *(str(row) for row in (*rows, rest, total)),
        f"planning took {planned_s:.1f} s" + (f" and failed: {outcome}" if outcome else ""),
    ]
    document = {
        "facts": machine,
        "idle_s": idle_s,
        "planning_s": planned_s,
        "outcome": outcome,
        "processes": [asdict(row) for row in rows],
        "without_planner": asdict(rest),
        "total": asdict(total),
    }
    figures = [
        Figure("cores of all but the planner, idle", rest.idle_cores, ALLOWED_CORES),
        Figure("cores of all but the planner, planning", rest.thinking_cores, ALLOWED_CORES),
        Figure("planning that failed", float(bool(outcome)), 0.0),
    ]
    return Measured(f"graph: {len(rows)} processes", "\n".join(lines), document, figures)
