"""One planner, one job at a time: the weights and the rollouts are shared by two actions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from mvista_core.errors import BusyError
from mvista_core.ports import Planner, Progress
from mvista_core.records import (
    AS_TRAINED,
    Doubt,
    ImagineOptions,
    InferredPlan,
    Observation,
    Rollout,
)


class ExclusivePlanner:
    """A `Planner` that refuses a second job with `BusyError` instead of running both."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._in_use = threading.Lock()
        self._job = ""

    def imagine(
        self,
        observation: Observation,
        source_camera: str,
        target_cameras: Sequence[str],
        seed: int,
        progress: Progress,
        options: ImagineOptions = AS_TRAINED,
    ) -> Rollout:
        """See `Planner.imagine`; `BusyError` while another job runs."""
        with self._alone("imagine"):
            return self._planner.imagine(
                observation, source_camera, target_cameras, seed, progress, options
            )

    def infer_actions(
        self, rollout_id: str, initialisation: str, steps: int, progress: Progress
    ) -> InferredPlan:
        """See `Planner.infer_actions`, and judged; `BusyError` while another job runs."""
        with self._alone("infer_actions"):
            plan = self._planner.infer_actions(rollout_id, initialisation, steps, progress)
            return replace(plan, doubts=self._planner.judge(rollout_id, plan, progress))

    def judge(self, rollout_id: str, plan: InferredPlan, progress: Progress) -> tuple[Doubt, ...]:
        """See `Planner.judge`; `BusyError` while another job runs."""
        with self._alone("judge"):
            return self._planner.judge(rollout_id, plan, progress)

    @contextmanager
    def _alone(self, job: str) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise BusyError(f"the planner is working on '{self._job}'; one job at a time")
        self._job = job
        try:
            yield
        finally:
            self._in_use.release()
