"""Whether a task may be planned for the arm, by what its driver says of itself. Knows no ROS.

Planning takes tens of seconds, and the executor would refuse its plan: that an arm has a fault, or
that nobody enabled it, is said before anything is planned.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds

FRESH_S = 2.0
"""A word older than this says nothing: the driver speaks ten times a second."""
COMING_MODES = frozenset({"closed", "searching", "enabling"})
"""Modes of a driver that starts, which end by themselves or by its manager
(`mvista_piper.status.Mode`, in small letters)."""
IDLE_MODE = "ready"
"""... and the one in which it waits to be told to enable the motors."""


@dataclass(frozen=True)
class ArmWord:
    """One status: the mode ("" where an arm names none), whether it is an error, the sentence, and
    whether the driver lets itself be used (it is a managed node, and may be inactive).

    `code` is the number of the error behind it, `reason` its words; 0 where none is named.
    """

    mode: str
    failed: bool
    text: str
    active: bool = True
    code: int = 0
    reason: str = ""

    @property
    def coming(self) -> bool:
        """Whether the arm may be ready soon without anybody's help."""
        inactive = not (self.active or self.failed or self.mode == IDLE_MODE)
        return self.mode in COMING_MODES or inactive

    @property
    def able(self) -> bool:
        """Whether set-points would move the arm."""
        return not (self.failed or self.coming or self.mode == IDLE_MODE)


class ArmWatch:
    """Keeps the newest word. One thread hears, others ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._word: ArmWord | None = None
        self._heard_ns = 0

    def hear(self, word: ArmWord) -> None:
        """Take what the driver says now."""
        with self._lock:
            self._word, self._heard_ns = word, self._clock.monotonic_ns()

    @property
    def word(self) -> ArmWord | None:
        """The newest word; None where none was heard lately."""
        with self._lock:
            age_s = ns_to_seconds(self._clock.monotonic_ns() - self._heard_ns)
            return self._word if self._word is not None and age_s <= FRESH_S else None
