"""The operator's yes or no between the plan and the arm."""

from __future__ import annotations

import threading

from mvista_core.errors import CancelledError, OperatorRefusedError
from mvista_core.ports import Clock, Progress
from mvista_core.timing import NS_PER_S, seconds_to_ns

POLL_PERIOD_S = 0.1
STAGE = "confirm"


class Confirmation:
    """One question at a time; `ask` waits on a worker thread, `answer` comes from a service."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._asking = False
        self._answer: bool | None = None

    def ask(self, progress: Progress) -> None:
        """Return once the operator agrees.

        Raises:
            OperatorRefusedError: no, or no answer within `timeout_s`.
            CancelledError: `progress` returned False meanwhile.
        """
        start_ns = self._clock.monotonic_ns()
        with self._lock:
            self._asking, self._answer = True, None
        try:
            while not self._agreed():
                waited_s = (self._clock.monotonic_ns() - start_ns) / NS_PER_S
                if waited_s >= self._timeout_s:
                    raise OperatorRefusedError(
                        f"the operator did not answer within {self._timeout_s:g} s; "
                        "call the service `confirm` with data: true to execute"
                    )
                if not progress(STAGE, waited_s / self._timeout_s):
                    raise CancelledError("cancelled while waiting for the operator")
                self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(POLL_PERIOD_S))
        finally:
            with self._lock:
                self._asking = False

    def answer(self, go: bool) -> tuple[bool, str]:
        """(whether somebody was waiting for it, a sentence)."""
        with self._lock:
            if not self._asking:
                return False, "no task is waiting for a confirmation"
            self._answer = go
        return True, "the plan will be executed" if go else "the plan is declined"

    def _agreed(self) -> bool:
        with self._lock:
            answer = self._answer
        if answer is False:
            raise OperatorRefusedError("the operator declined to execute the imagined rollout")
        return answer is True
