"""`mvista bench executor`: the set-points of the whole graph at work, as a driver gets them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from mvista_bringup.bench_load import GraphLoad
from mvista_bringup.commands.bench import Figure, finish
from mvista_bringup.nodes import SIM_DEMO, SIM_DEMO_OPTIONS, NodeSpec, option_values
from mvista_bringup.paths import checkpoint_dir, config_file, output_dir, share_root
from mvista_bringup.setpoints import Recorded, SetpointFigures, ToldGap, figures_of
from mvista_bringup.standstill import standstills, witnesses
from mvista_bringup.supervisor import Supervisor
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_executor.settings import load_settings

INSTRUCTION = "touch the red cube"
READY_S = 120.0
FIRST_S = 30.0
SETTLE_S = 2.0
POLL_S = 0.25
SHOWN_ERRORS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--cores", type=int, default=2, help="processor cores for the whole graph")
    parser.add_argument("--checkpoint", default=checkpoint_dir().name, help="of models/checkpoints")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(args: argparse.Namespace) -> int:
    if args.seconds <= 0 or args.cores < 1:
        raise ConfigError("allowed: more than 0 seconds, at least 1 core")
    clock, run_dir = SystemClock(), output_dir("bench", "executor")
    log = run_dir / "setpoints.npz"
    log.unlink(missing_ok=True)
    recorder = NodeSpec(
        "mvista_bringup", "setpoint_recorder_node", "recorder", parameters=(("log", str(log)),)
    )
    graph = (*SIM_DEMO, recorder)
    values = option_values(SIM_DEMO_OPTIONS, {"checkpoint": args.checkpoint}, str(share_root()))
    with (
        _on_cores(args.cores) as cores,
        Supervisor(graph, values, run_dir, clock=clock) as supervisor,
    ):
        supervisor.wait_ready(READY_S)
        with _load(clock, supervisor) as load, witnesses(cores, run_dir):
            window_ns = _measure(supervisor, load, args.seconds, clock)
    period_ns = seconds_to_ns(load_settings(config_file("executor.yaml")).period_s)
    still = standstills(cores, run_dir)
    heard = Recorded.read(log)
    figures = figures_of(heard.setpoints, window_ns, period_ns, heard.gaps, still)
    return _finish(args, figures, heard.gaps, load)


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


def _measure(
    supervisor: Supervisor, load: GraphLoad, seconds: float, clock: Clock
) -> tuple[int, int]:
    """The window, wall time of stamps in ns; it begins when the first motion has ended."""
    _wait(supervisor, FIRST_S, clock, lambda: load.moved > 0)
    if not load.moved:
        raise UnavailableError(f"no motion came to its end in {FIRST_S:g} s: {load.errors[-3:]}")
    first_ns = clock.now_ns()
    _wait(supervisor, seconds, clock)
    window_ns = first_ns, clock.now_ns()
    _wait(supervisor, SETTLE_S, clock)  # what the executor has to tell is told once a second
    return window_ns


def _wait(
    supervisor: Supervisor,
    seconds: float,
    clock: Clock,
    done: Callable[[], bool] = lambda: False,
) -> None:
    until_ns = clock.monotonic_ns() + seconds_to_ns(seconds)
    while clock.monotonic_ns() < until_ns and not done():
        supervisor.check()
        clock.sleep_until(min(until_ns, clock.monotonic_ns() + seconds_to_ns(POLL_S)))


def _finish(
    args: argparse.Namespace,
    found: SetpointFigures,
    told: tuple[ToldGap, ...],
    load: GraphLoad,
) -> int:
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
    sys.stdout.write("\n".join(lines) + "\n")
    document = {
        **asdict(found),
        "cores_used": args.cores,
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
    return finish(title, document, figures, args.json)
