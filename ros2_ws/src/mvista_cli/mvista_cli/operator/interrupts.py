"""Ctrl-C beside a moving arm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Within, Ctrl-C sets the event instead of raising: there is an arm to be stopped first."""
    asked = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)
