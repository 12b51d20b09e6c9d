"""Ctrl-C beside a moving arm."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mvista_core.signal_flag import SignalFlag


@contextmanager
def interrupts() -> Iterator[SignalFlag]:
    """Within, Ctrl-C sets the flag instead of raising: there is an arm to be stopped first."""
    asked = SignalFlag()
    previous = signal.signal(signal.SIGINT, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)
