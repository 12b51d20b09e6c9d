"""A program's first moments: it dies with its launch, and is told to stop, before heavy imports.

    driver = executable("mvista_piper.piper_node")      # an entry point of a package's programs.py

Importing rclpy, NumPy and torch takes seconds. Whoever launches a graph may die or give it up
meanwhile, and a half-started driver must neither stay behind nor answer with a traceback.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

LAUNCHER = "MVISTA_LAUNCHER"
"""Environment variable: process id of the launch that this program must not outlive."""
BAD_INPUT_EXIT_CODE = 2
_PR_SET_PDEATHSIG = 1


def executable(module: str) -> Callable[[], Any]:
    """An entry point: `module`'s `main()`, guarded from its first moment on."""

    def run() -> Any:
        named = os.environ.get(LAUNCHER, "")
        return run_module(module, int(named) if named.isdigit() else None)

    return run


def run_module(module: str, launcher: int | None = None) -> Any:
    """Import `module` and run its `main()`; with `launcher`, never longer than that process.

    A signal while it imports ends the process at once and quietly, with code 0, as a node that was
    told to stop does: nothing is held yet. What cannot be imported is one line, and exit code 2.
    """
    if launcher is not None:
        die_with(launcher)
    with _ended_by_signals():
        try:
            main = importlib.import_module(module).main
        except ImportError as error:
            line = f"{module} cannot be imported: {error}; `mvista doctor` says what is missing"
            print(line, file=sys.stderr, flush=True)
            raise SystemExit(BAD_INPUT_EXIT_CODE) from None
    try:
        return main()
    except KeyboardInterrupt:  # between the imports and the node's own handlers
        return None


def die_with(launcher: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies; end now where `launcher` is gone already.

    The parent need not be `launcher` itself: a debugger or a terminal may stand in between.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # In this order: who dies between the two lines is noticed by the kernel, who died before, here.
    if launcher not in _ancestors():
        raise SystemExit(f"the launch (process {launcher}) that started this program is gone")


def _ancestors() -> Iterator[int]:
    process = os.getppid()
    while process > 0:
        yield process
        try:
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        # The name, in brackets, may hold anything.
        process = int(status.rpartition(")")[2].split()[1])


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within, SIGINT and SIGTERM end the process where it stands: no traceback, no half import."""

    def end(number: int, frame: FrameType | None) -> None:
        os._exit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
