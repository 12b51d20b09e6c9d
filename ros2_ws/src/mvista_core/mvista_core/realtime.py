"""Scheduling: ahead for the processes that keep an arm's period, behind for those that compute."""

from __future__ import annotations

import gc
import os
import sys
import threading

MANY_YOUNG = 5000
"""Objects made lately that take about a millisecond to go through."""
MOST_PUT_OFF = 10


def claim(priority: int) -> str:
    """Put the calling thread, and those it starts from now on, under SCHED_FIFO (Linux).

    `priority` is 1 (lowest) to 99; 0 asks for nothing. Returns "" or, where the system refuses, why
    not: the caller says so once and goes on. A process under it must sleep in every period.
    """
    if priority == 0:
        return ""
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no SCHED_FIFO"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, ValueError) as error:
        return (
            f"SCHED_FIFO {priority} was refused ({error}); allow it with "
            "'* - rtprio 99' in /etc/security/limits.d/, or expect late set-points under load"
        )
    return ""


def release(process: int = 0) -> None:
    """Take the calling thread, and those it starts from now on, back to ordinary scheduling.

    For what is long and may be late, such as drawing, in a process that claimed real time; or, by
    its id, for a `process` that was just started and has inherited it.
    """
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))


def give_way(niceness: int) -> None:
    """Let others go first: the calling thread, and those it starts from now on, to a nice value.

    0 to 19, counted from 0 and not from now; one that is already nicer stays so.
    """
    if not hasattr(os, "setpriority"):
        return
    thread = threading.get_native_id()
    if niceness > os.getpriority(os.PRIO_PROCESS, thread):
        os.setpriority(os.PRIO_PROCESS, thread, niceness)


def switch_threads_soon(seconds: float = 0.0002) -> None:
    """How long a thread may keep the interpreter from one that waits for it; Python's own: 5 ms."""
    sys.setswitchinterval(seconds)


def freeze_collector() -> None:
    """Take what was built so far out of garbage collection; collect only by a `YoungCollector`.

    A full collection of a process with rclpy, NumPy and SciPy takes tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def thaw_collector() -> None:
    """Undo `freeze_collector`, so that a process that ends takes itself apart as usual."""
    gc.unfreeze()
    gc.enable()


class YoungCollector:
    """Collects what was made lately: about a millisecond at most. Call `collect` once a second.

    While a large message is read (100,000 objects of 50,000 points, all alive, take 50 ms to go
    through) it waits for that to be over, `MOST_PUT_OFF` times in a row.
    """

    def __init__(self) -> None:
        self._put_off = 0

    def collect(self) -> bool:
        """Whether it did."""
        if gc.get_count()[0] > MANY_YOUNG and self._put_off < MOST_PUT_OFF:
            self._put_off += 1
            return False
        self._put_off = 0
        gc.collect(1)
        return True
