"""What the page of `mvista watch` takes, unseen and with one browser."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.timing import SystemClock, ns_to_seconds
from mvista_eval.figures import Figure, Measured
from mvista_eval.live import let_run
from mvista_eval.process_usage import usage_of

ROWS = ("sim", "rig_publisher", "task")
"""Of the demo: cameras and an arm; nothing is planned."""
READY_S, SETTLE_S, SHOWN_S, END_S = 120.0, 3.0, 120.0, 10.0
ALLOWED_CORES = 0.15
"""While nobody looks."""
SHOWN = '[...document.images].some(image => image.src.startsWith("blob:"))'


@dataclass(frozen=True)
class Taken:
    """By the page's process, over a while: its share of one core; and its memory at the end."""

    cores: float
    memory_mb: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.cores:.1%} of one core, {self.memory_mb:.0f} MB ({self.seconds:.0f} s)"


def measure(seconds: float, page: Sequence[str]) -> Measured:
    """Each for so long; `page` is the command line that serves it.

    Raises:
        ConfigError: no time.
        UnavailableError: a process ended, or the page shows nothing.
    """
    if not seconds > 0:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: more than 0")
    clock = SystemClock()
    rows = [row for row in SIM_DEMO if row.name in ROWS]
    values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
    with Supervisor(rows, values, output_dir("bench", "watch"), clock=clock) as supervisor:
        supervisor.wait_ready(READY_S)
        with _served(page, supervisor.domain_id) as (process, address):
            unseen = _taken(process.pid, supervisor, seconds, clock)
            seen = _seen(process.pid, address, supervisor, seconds, clock)
    document = {
        "viser": version("viser"),
        "nobody": asdict(unseen),
        "one_browser": None if seen is None else asdict(seen),
    }
    return Measured(
        f"watch: viser {document['viser']}",
        f"while nobody looked: {unseen}\nwith one browser:    {seen or 'no chromium here'}",
        document,
        [Figure("cores of the page while nobody looks", unseen.cores, ALLOWED_CORES)],
    )


@contextmanager
def _served(page: Sequence[str], domain_id: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process that serves the page, and where.

    Raises:
        UnavailableError: it ended before it served one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [*page, "--port", port, "--domain", str(domain_id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            if not greeting:
                raise UnavailableError(f"`mvista watch` ended ({process.wait()})")
            yield process, greeting.split()[0]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _seen(
    pid: int, address: str, supervisor: Supervisor, seconds: float, clock: Clock
) -> Taken | None:
    """With one browser on it; None where there is none."""
    from mvista_watch.headless import Headless, find_chromium

    program = find_chromium()
    if program is None:
        return None
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        Headless(program, Path(profile), clock) as browser,
    ):
        browser.open(address)
        let_run(supervisor, SHOWN_S, clock, lambda: bool(browser.evaluate(SHOWN)))
        if not browser.evaluate(SHOWN):
            raise UnavailableError(f"the page shows no picture within {SHOWN_S:g} s")
        return _taken(pid, supervisor, seconds, clock)


def _taken(pid: int, supervisor: Supervisor, seconds: float, clock: Clock) -> Taken:
    let_run(supervisor, SETTLE_S, clock)
    before, began_ns = usage_of(pid), clock.monotonic_ns()
    let_run(supervisor, seconds, clock)
    after, took_s = usage_of(pid), ns_to_seconds(clock.monotonic_ns() - began_ns)
    return Taken((after.cpu_s - before.cpu_s) / took_s, after.memory_mb, took_s)
