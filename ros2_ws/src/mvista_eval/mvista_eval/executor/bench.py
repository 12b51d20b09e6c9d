"""The set-points of the whole graph at work, as a driver gets them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import NodeSpec, with_parameters
from mvista_bringup.options import option_values
from mvista_bringup.paths import config_file, output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.executor_settings import load_settings
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_eval.executor.load import GraphLoad
from mvista_eval.executor.setpoints import Recorded, SetpointFigures, ToldGap, figures_of
from mvista_eval.executor.standstill import standstills, witnesses
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run

INSTRUCTION = "touch the red cube"
READY_S = 120.0
FIRST_S = 30.0
SETTLE_S = 2.0
SHOWN_ERRORS = 5


def measure(seconds: float, cores: int, checkpoint: str) -> Measured:
    """The simulated graph on so many cores at work, and a reader of its set-points.

    Raises:
        ConfigError: no time, no core, or a graph that cannot work.
        UnavailableError: a process ended, or no motion came to its end.
    """
    if seconds <= 0 or cores < 1:
        raise ConfigError("allowed: more than 0 seconds, at least 1 core")
    clock, run_dir = SystemClock(), output_dir("bench", "executor")
    log = run_dir / "setpoints.npz"
    log.unlink(missing_ok=True)
    recorder = NodeSpec(
        "mvista_eval", "setpoint_recorder_node", "recorder", parameters=(("log", str(log)),)
    )
    values = option_values(SIM_DEMO_OPTIONS, {"checkpoint": checkpoint}, str(share_root()))
    settings = load_settings(config_file("executor.yaml"))
    # It holds at the rate of a motion: every period is judged.
    graph = with_parameters(SIM_DEMO, "executor", rest_rate_hz=settings.rate_hz)
    with (
        _on_cores(cores) as used,
        Supervisor((*graph, recorder), values, run_dir, clock=clock) as supervisor,
    ):
        supervisor.wait_ready(READY_S)
        with _load(clock, supervisor) as load, witnesses(used, run_dir):
            window_ns = _watch(supervisor, load, seconds, clock)
    period_ns = seconds_to_ns(settings.period_s)
    still, heard = standstills(used, run_dir), Recorded.read(log)
    found = figures_of(heard.setpoints, window_ns, period_ns, heard.gaps, still)
    return _measured(found, heard.gaps, load, cores)


@contextmanager
def _on_cores(count: int) -> Iterator[list[int]]:
    """This process, and those it starts, on so many cores at most (Linux): yields which."""
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before = os.sched_getaffinity(0)
    cores = sorted(before)[:count]
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


def _load(clock: Clock, supervisor: Supervisor) -> GraphLoad:
    arm = load_arm(config_file("arms", "piper.yaml"))
    return GraphLoad(arm, INSTRUCTION, clock, supervisor.domain_id)


def _watch(
    supervisor: Supervisor, load: GraphLoad, seconds: float, clock: Clock
) -> tuple[int, int]:
    """The window, wall time of stamps in ns; it begins when the first motion has ended."""
    let_run(supervisor, FIRST_S, clock, lambda: load.moved > 0)
    if not load.moved:
        raise UnavailableError(f"no motion came to its end in {FIRST_S:g} s: {load.errors[-3:]}")
    first_ns = clock.now_ns()
    let_run(supervisor, seconds, clock)
    window_ns = first_ns, clock.now_ns()
    let_run(supervisor, SETTLE_S, clock)  # what the executor has to tell is told once a second
    return window_ns


def _measured(
    found: SetpointFigures, told: tuple[ToldGap, ...], load: GraphLoad, cores: int
) -> Measured:
    lines = [
        f"period error (ms), by stamp: {found.period_error_ms}; by arrival: "
        f"{found.arrival_error_ms}",
        f"command to wire (ms): {found.wire_ms}",
        f"gaps over two periods: {found.gaps} (largest {found.largest_gap_ms:.2f} ms), "
        f"{found.gaps_beyond_standstill} of them while the machine ran, {found.silent} silent; "
        f"between arrivals {found.arrival_gaps}; the executor told of {len(told)}",
        f"the machine stood still {found.standstills} times, {found.standstill_ms:.1f} ms in all",
        f"{load.moved} motions, {load.imagined} rollouts",
        *(f"failed: {error}" for error in load.errors[:SHOWN_ERRORS]),
    ]
    document = {
        **asdict(found),
        "cores_used": cores,
        "gaps_told": [asdict(gap) for gap in told],
        "motions": load.moved,
        "rollouts": load.imagined,
        "errors": load.errors,
    }
    figures = [
        Figure("period error, p99 (ms)", found.period_error_ms.p99, 1.0),
        Figure("gaps over two periods while the machine ran", found.gaps_beyond_standstill, 0.0),
        Figure("of them silent", float(found.silent), 0.0),
        Figure("command to wire, p99 (ms)", found.wire_ms.p99, 3.0),
        Figure("motions or rollouts that failed", float(len(load.errors)), 0.0),
        Figure("planner idle (1: no rollout came to its end)", float(load.imagined == 0), 0.0),
    ]
    title = f"executor: {found.setpoints} set-points in {found.seconds:.0f} s, planner busy"
    return Measured(title, "\n".join(lines), document, figures)
