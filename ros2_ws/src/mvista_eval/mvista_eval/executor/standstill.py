"""Times at which the machine itself stood still: no thread ran on a core, whatever its priority.

A host takes a virtual machine's processors away for tens of milliseconds, firmware does it to real
ones, and no program on it can help that. Two witnesses sleep on every core: one ahead of all others
(SCHED_FIFO 99), one an ordinary thread of the highest nice value. Real-time work that hogs a core
delays only the second; the kernel's brake on real-time work (`sched_rt_runtime_us`) only the first;
where both are late, nothing ran.

    python -m mvista_eval.executor.standstill <core> ahead|ordinary <log.npy>
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvista_core import realtime
from mvista_core.signal_flag import SignalFlag
from mvista_core.timing import SystemClock

Int64 = NDArray[np.int64]
"""Intervals [N, 2]: begin and end, wall time in ns."""

AHEAD, ORDINARY = "ahead", "ordinary"
HIGHEST_PRIORITY = 99
PERIOD_NS = 2_000_000
LATE_NS = 1_000_000
END_S = 10.0


@contextlib.contextmanager
def witnesses(cores: Sequence[int], folder: Path) -> Iterator[None]:
    """Watch these cores while the block runs; `standstills` then reads what was seen."""
    processes = [
        subprocess.Popen([sys.executable, "-m", __name__, str(core), kind, str(log)])
        for core, kind, log in _logs(cores, folder)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(END_S)


def standstills(cores: Sequence[int], folder: Path) -> Int64:
    """Where a core stood still, over all cores, in order; empty where real time is refused."""
    logs = {(core, kind): log for core, kind, log in _logs(cores, folder)}
    found = [
        common(np.load(logs[core, AHEAD]), np.load(logs[core, ORDINARY]))
        for core in cores
        if logs[core, AHEAD].is_file() and logs[core, ORDINARY].is_file()
    ]
    return merged(np.concatenate([np.empty((0, 2), np.int64), *found]))


def common(a: Int64, b: Int64) -> Int64:
    """What two lists of intervals have in common."""
    begin = np.maximum(a[:, None, 0], b[None, :, 0])
    end = np.minimum(a[:, None, 1], b[None, :, 1])
    return np.stack([begin[begin < end], end[begin < end]], axis=1)


def merged(intervals: Int64) -> Int64:
    """The same times as intervals in order that do not touch."""
    whole: list[list[int]] = []
    for begin, end in sorted(intervals.tolist()):
        if whole and begin <= whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], end)
        else:
            whole.append([begin, end])
    return np.array(whole, dtype=np.int64).reshape(-1, 2)


def overlap_ns(begin_ns: Int64, end_ns: Int64, intervals: Int64) -> Int64:
    """How much of each span [N] lies in `intervals` (in order, apart): ns [N]."""
    shared = np.minimum(end_ns[:, None], intervals[None, :, 1]) - np.maximum(
        begin_ns[:, None], intervals[None, :, 0]
    )
    return np.asarray(np.maximum(shared, 0).sum(axis=1), dtype=np.int64)


def _logs(cores: Sequence[int], folder: Path) -> list[tuple[int, str, Path]]:
    return [
        (core, kind, folder / f"standstill_{core}_{kind}.npy")
        for core in cores
        for kind in (AHEAD, ORDINARY)
    ]


def main() -> int:
    """Watch one core until SIGTERM; writes nothing when the system refuses the priority."""
    core, kind, log = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    log.unlink(missing_ok=True)
    os.sched_setaffinity(0, {core})
    if kind == AHEAD and (refused := realtime.claim(HIGHEST_PRIORITY)):
        print(refused, file=sys.stderr)
        return 1
    if kind == ORDINARY:
        with contextlib.suppress(PermissionError):  # later by itself then: it accuses no less
            os.setpriority(os.PRIO_PROCESS, 0, -20)
    stopping = SignalFlag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    np.save(log, _watch(stopping))
    return 0


def _watch(stopping: SignalFlag) -> Int64:
    clock, late = SystemClock(), array.array("q")
    due_ns = clock.monotonic_ns() + PERIOD_NS
    while not stopping.is_set():
        clock.sleep_until(due_ns)
        woke_ns = clock.monotonic_ns()
        if woke_ns - due_ns > LATE_NS:
            now_ns = clock.now_ns()
            late.extend((now_ns - (woke_ns - due_ns), now_ns))
        due_ns = max(due_ns + PERIOD_NS, woke_ns)
    return np.array(late, dtype=np.int64).reshape(-1, 2)


if __name__ == "__main__":
    sys.exit(main())
