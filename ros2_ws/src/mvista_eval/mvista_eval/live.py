"""A running graph is watched while time passes."""

from __future__ import annotations

from collections.abc import Callable

from mvista_bringup.supervisor import Supervisor
from mvista_core.ports import Clock
from mvista_core.timing import seconds_to_ns

POLL_S = 0.25


def let_run(
    supervisor: Supervisor,
    seconds: float,
    clock: Clock,
    done: Callable[[], bool] = lambda: False,
) -> None:
    """Return after so long, or as soon as it is `done`.

    Raises:
        UnavailableError: a required process has ended meanwhile.
    """
    until_ns = clock.monotonic_ns() + seconds_to_ns(seconds)
    while (now_ns := clock.monotonic_ns()) < until_ns and not done():
        supervisor.check()
        clock.sleep_until(min(until_ns, now_ns + seconds_to_ns(POLL_S)))
