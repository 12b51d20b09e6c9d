"""What a signal handler may set, whatever the interrupted thread is in the middle of."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class SignalFlag:
    """Set once, seen by everybody; as much of `threading.Event` as a program's end needs.

    An event holds a lock while it is set and while somebody waits. A handler runs in the main
    thread, between any two of its steps: one that comes while that lock is held waits for itself,
    and the process, told twice to stop, stays for ever. `SimpleQueue.put` may be interrupted by
    itself.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """From a signal handler or any thread."""
        self._is_set = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Whether it was."""
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is set, at most `timeout_s`; whether it is."""
        if not self._is_set:
            try:
                self._wake.get(timeout=timeout_s)
            except Empty:
                return self._is_set
            self._wake.put(None)  # for whoever else waits
        return True
