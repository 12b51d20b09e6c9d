"""How long each stage of the planner takes, and how much of the processor, from what it reports."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from mvista_core.ports import Clock
from mvista_core.timing import ns_to_seconds
from mvista_eval.process_usage import usage_of


@dataclass(frozen=True)
class PlanStage:
    """One stage of the planner: how long it took, the processor time of all threads, and what the
    process held when it ended."""

    name: str
    seconds: float
    cpu_s: float
    held_mib: float = 0.0


class StageTimes:
    """A `Progress` that notes when each stage begins, and says so to `announce`."""

    def __init__(self, clock: Clock, announce: Callable[[str], object] | None = None) -> None:
        self._clock = clock
        self._announce = announce
        self._begun: list[tuple[str, int, float, float]] = []

    def __call__(self, stage: str, fraction: float) -> bool:
        if not self._begun or self._begun[-1][0] != stage:
            self._begun.append((stage, *self._now()))
            if self._announce is not None:
                self._announce(f"{stage} ...\n")
        return True

    def stages(self) -> tuple[PlanStage, ...]:
        """What was seen so far; the last stage ends now."""
        ends = [*self._begun[1:], ("end", *self._now())]
        return tuple(
            PlanStage(began[0], ns_to_seconds(end[1] - began[1]), end[2] - began[2], end[3])
            for began, end in zip(self._begun, ends, strict=True)
        )

    def _now(self) -> tuple[int, float, float]:
        used = usage_of(os.getpid())
        return self._clock.monotonic_ns(), used.cpu_s, used.memory_mb * 1e6 / 2**20
