"""Settings every test shares: reproducible examples, and a ROS domain of this run's own."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from mvista_core import realtime

# Domains 1 to 100 lie below the ports that Linux hands out by itself; each worker has its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
_DOMAIN_ID = int(os.environ.get("ROS_DOMAIN_ID", os.getpid())) + _WORKER
os.environ["ROS_DOMAIN_ID"] = str(1 + (_DOMAIN_ID - 1) % 100)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# Cameras of two runs on one machine have the same names: their taps must not meet.
_RUNTIME = tempfile.mkdtemp(prefix="mvista-run-")
atexit.register(shutil.rmtree, _RUNTIME, ignore_errors=True)
os.environ["XDG_RUNTIME_DIR"] = _RUNTIME

# What a shell starts in the background ignores Ctrl-C, and so would every process started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("mvista", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("mvista")


# Both workers compute at once: one thread each.
if _WORKER:
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Layers: what no other claims is a unit test.

    Real processes share the machine with whatever else it does: each of them has three tries.
    Another try is counted and named in the summary; a test that needs one often is a bug.
    """
    for item in items:
        if item.get_closest_marker("system") is not None:
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=2))
        elif not any(item.get_closest_marker(layer) for layer in ("ros", "contract")):
            item.add_marker(pytest.mark.unit)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Why tests had another try: what passes in the end is otherwise told without a reason."""
    for report in terminalreporter.stats.get("rerun", []):
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = str(crash.message if crash is not None else report.longrepr)
        terminalreporter.write_line(f"RERUN {report.nodeid}: {' '.join(reason.split())[:400]}")


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """A node built in this process may have claimed real time, its interpreter and its collector:
    the next must not inherit them."""
    between_threads_s = sys.getswitchinterval()
    yield
    realtime.release()
    realtime.thaw_collector()
    realtime.switch_threads_soon(between_threads_s)
