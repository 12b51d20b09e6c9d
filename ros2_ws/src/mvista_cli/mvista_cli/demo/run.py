"""One run of the demo: start the graph, look, send the task, look again, ask whether it worked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from mvista_interfaces.action import RunTask
from mvista_interfaces.msg import Outcome

from mvista_bringup import paths
from mvista_bringup.graph.sim import DEMOS, EMULATED
from mvista_bringup.options import option_values
from mvista_bringup.supervisor import Supervisor, free_udp_port
from mvista_cli.demo import timeline
from mvista_cli.demo.client import DemoClient
from mvista_cli.demo.record import ImaginedCloud, RunRecord, StageTime
from mvista_cli.demo.scene import Assignment
from mvista_cli.operator.interrupts import interrupts
from mvista_cli.operator.progress import StageProgress
from mvista_core.errors import MvistaError
from mvista_core.ports import Clock
from mvista_core.records import AS_NEEDED, ActionTrajectory, Provenance, Rollout
from mvista_core.rig import load_rig
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_eval import facts
from mvista_ros.convert import doubts_from_msg, error_from_outcome, trajectory_from_msg
from mvista_world.fusion import FusionConfig, fuse

START_TIMEOUT_S = 180.0
ARRIVAL_TIMEOUT_S = 3.0
DRAWN_RATE_HZ = 50.0
CLOUD_VOXEL_M = 0.005


class DemoRun:
    """Carries one assignment out; `record` holds what is known so far, also after a failure."""

    def __init__(
        self,
        assignment: Assignment,
        seed: int,
        checkpoint: str,
        arm: str,
        run_dir: Path,
        clock: Clock,
        show: StageProgress,
        best_of: int = AS_NEEDED,
    ) -> None:
        chosen = {"task": assignment.task, "seed": str(seed), "checkpoint": checkpoint}
        if arm == EMULATED:
            chosen["can_port"] = str(free_udp_port())
        self._graph, options = DEMOS[arm]
        self._values = option_values(options, chosen, str(paths.share_root()))
        self._rig = load_rig(paths.config_file("rigs", f"{self._values['rig']}.yaml"))
        self._run_dir = run_dir
        self._clock = clock
        self._show = show
        self._best_of = best_of
        self.record = RunRecord(
            assignment.task,
            assignment.instruction,
            seed,
            arm,
            versions=facts.versions(),
            machine=facts.machine(),
        )

    def carry_out(self) -> RunRecord:
        """The whole run. What fails is in the record; every process is stopped in any case.

        Raises:
            KeyboardInterrupt: Ctrl-C; the arm holds.
        """
        try:
            with Supervisor(self._graph, self._values, self._run_dir) as supervisor:
                with self._timed("start"):
                    supervisor.wait_ready(START_TIMEOUT_S)
                with DemoClient(self._rig, self._clock, supervisor.domain_id) as client:
                    self._use(client, supervisor)
                self._show.update("stop")
        except MvistaError as error:
            self._fail(error)
        self._show.done()
        return self.record

    def _use(self, client: DemoClient, supervisor: Supervisor) -> None:
        with self._timed("observe"):
            self.record = replace(self.record, before=client.observe())
        with interrupts() as asked:

            def keep_going() -> bool:
                supervisor.check()
                return not asked.is_set()

            result = client.run_task(
                self.record.instruction,
                self.record.seed,
                self._show.update,
                keep_going,
                best_of=self._best_of,
            )
        if asked.is_set():
            raise KeyboardInterrupt
        self._show.done()
        self._keep_result(result, client)
        with self._timed("evaluate"):
            final = client.observe()
            success, detail = client.evaluate(self.record.instruction)
            self.record = replace(self.record, final=final, success=success, success_detail=detail)
        error = error_from_outcome(result.outcome)
        if error is not None:
            raise error

    def _keep_result(self, result: RunTask.Result, client: DemoClient) -> None:
        stages = [StageTime(s.name, s.duration_s, _words(s.outcome)) for s in result.stages]
        self.record = replace(
            self.record,
            stages=(*self.record.stages, *stages),
            weights_sha256=result.weights_sha256,
            losses=np.array(result.losses),
            imagined=int(result.imagined),
        )
        if result.rollout_id:
            rollout = self._arrived(client, int(result.seed))
            self.record = replace(self.record, rollout=rollout, clouds=_clouds(rollout))
        if result.plan_id:
            made = Provenance(result.plan_id, result.weights_sha256, int(result.seed), "head")
            self._keep_motion(trajectory_from_msg(result.refined, made), client)
            self.record = replace(
                self.record,
                prior=trajectory_from_msg(result.prior, made),
                head_disagreement_rad=float(result.head_disagreement_rad),
                doubts=doubts_from_msg(result.doubts),
            )

    def _keep_motion(self, refined: ActionTrajectory, client: DemoClient) -> None:
        """What was executed, on the plan's clock, and what the rollout's views saw meanwhile."""
        self.record = replace(self.record, refined=refined)
        found = client.sent()
        if found is None or self.record.rollout is None:
            return
        sent, first_ns = found
        offset_s = timeline.start_offset(sent, refined)
        start_ns = first_ns + seconds_to_ns(offset_s)
        rollout = self.record.rollout
        frames = client.recording.frames(rollout.cameras, start_ns, rollout.times_s.tolist())
        measured = client.recording.measured(start_ns)
        self.record = replace(
            self.record,
            sent=timeline.decimated(timeline.shifted(sent, offset_s), DRAWN_RATE_HZ),
            measured=None if measured is None else timeline.decimated(measured, DRAWN_RATE_HZ),
            reality=timeline.reality_of(rollout, frames, start_ns),
        )

    def _arrived(self, client: DemoClient, seed: int) -> Rollout:
        """The imagined rollout; its message may come a moment after the result."""
        deadline_ns = self._clock.monotonic_ns() + seconds_to_ns(ARRIVAL_TIMEOUT_S)
        while (rollout := client.rollout(seed)) is None:
            if self._clock.monotonic_ns() > deadline_ns:
                raise MvistaError(f"no imagined/rollout within {ARRIVAL_TIMEOUT_S:g} s")
            self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(0.05))
        return rollout

    def _fail(self, error: MvistaError) -> None:
        self._show.done("failed")
        self.record = replace(self.record, outcome=type(error).__name__, message=str(error))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self._show.update(stage)
        start_ns = self._clock.monotonic_ns()
        error = ""
        try:
            yield
            self._show.done()
        except MvistaError as failure:
            error = str(failure)
            raise
        finally:
            seconds = ns_to_seconds(self._clock.monotonic_ns() - start_ns)
            stages = (*self.record.stages, StageTime(stage, seconds, error))
            self.record = replace(self.record, stages=stages)


def _words(outcome: Outcome) -> str:
    return "" if outcome.code == 0 else str(outcome.message)


def _clouds(rollout: Rollout) -> tuple[ImaginedCloud, ...]:
    """The fused clouds at the beginning, in the middle and at the end."""
    fused = fuse(rollout, FusionConfig(voxel_m=CLOUD_VOXEL_M))
    chosen = (0, len(fused) // 2, len(fused) - 1)
    return tuple(
        ImaginedCloud(float(rollout.times_s[i]), fused[i].points_m, fused[i].color) for i in chosen
    )
