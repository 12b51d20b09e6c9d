"""Closed-loop trials in process: plan on the cell's views, stream through the executor, judge.

Every way of planning starts from the same observation and the same imagined rollout. Ways named
`true-*` replace a stage by the truth; what they gain is what that stage costs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import (
    AS_NEEDED,
    STEPS_AS_USUAL,
    ActionTrajectory,
    ImagineOptions,
    InferredPlan,
    JointState,
    Observation,
    RigCalibration,
    Rollout,
)
from mvista_core.rig import load_rig
from mvista_eval.cell import (
    DRAWN_CAMERAS,
    arm_file,
    cell_settings,
    drawn_rig,
    loaded,
    quiet,
    rig_file,
)
from mvista_eval.trials import Study
from mvista_executor.in_process import execute_in_process
from mvista_executor.report import Status, Tolerances
from mvista_sim import tasks
from mvista_sim.cell import SimCell, SimClock
from mvista_world.choices import AS_CHECKPOINT, MethodChoices
from mvista_world.config import ModelConfig, OptimisationConfig
from mvista_world.probe import PlannerProbe

HEAD_STEPS = OptimisationConfig.head_steps
RANDOM_STEPS = OptimisationConfig.random_steps


@dataclass(frozen=True)
class PlanTrial:
    """What one way of planning did in one episode; `tip_error_mm` is to the expert's last tip,
    `plan_cpu_s` what all rollouts imagined, decoded, and refined actions took of the processor (NaN
    where a stage was left out, or the truth taken). `refused` before anything moved, `aborted` on
    the way or short of its end, which the task's success does not depend on: an arm that presses on
    what it opened does not reach its last point."""

    way: str
    seed: int
    instruction: str
    success: bool
    right_object: bool
    refused: bool
    tip_error_mm: float
    plan_cpu_s: float = float("nan")
    aborted: bool = False


@dataclass(frozen=True)
class PlanJob:
    """The trials of one scene: which ways, for which words (None: the scene's own), by which
    method, and of how many rollouts (`ImagineOptions`); with `drawn`, one of `cell.DRAWN`, seen by
    a rig drawn by the scene's seed instead of the shipped one. `views`: so many of the checkpoint's
    cameras, then of the rig's others; 0 are the checkpoint's."""

    task: str
    seed: int
    checkpoint: Path
    ways: tuple[str, ...]
    instructions: tuple[str | None, ...] = (None,)
    choices: MethodChoices = AS_CHECKPOINT
    best_of: int = AS_NEEDED
    drawn: str = ""
    views: int = 0


class PlannedScene:
    """One scene, one instruction, and the plans made for it, each inferred once."""

    def __init__(
        self, cell: SimCell, planner: PlannerProbe, job: PlanJob, instruction: str | None
    ) -> None:
        self.cell = cell
        self._planner = planner
        self._job = job
        self._asked = instruction
        self._plans: dict[tuple[str, str, int], InferredPlan] = {}
        self._cpu_s: dict[tuple[str, str, int], float] = {}
        self._imagined_cpu_s = float("nan")
        self.last_cpu_s = float("nan")
        """Of the plan that was asked for last, its rollout included."""
        self.names = names_of(planner.config, cell.rig, job.views)
        self.reset()
        self.expert: ActionTrajectory = cell.expert()

    def reset(self) -> None:
        self.cell.reset(self._job.task, self._job.seed, self._asked)

    @cached_property
    def imagined(self) -> Rollout:
        """Text-only imagination, seeded by the scene."""
        self.reset()
        frames = tuple(self.cell.latest(name) for name in self.cell.cameras())
        observation = Observation(
            frames, self.cell.state(), self.cell.rig.content_hash, self.cell.instruction
        )
        source, *targets = self.names
        # How far the trained range carries is what drawn rigs are for.
        anywhere = bool(self._job.drawn)
        options = ImagineOptions(allow_out_of_range=anywhere, best_of=self._job.best_of)
        began = time.process_time()
        found = self._planner.imagine(observation, source, targets, self._job.seed, quiet, options)
        # Decoded when first read, and then kept: it counts for every plan of this rollout.
        _ = found.color, found.depth_m
        self._imagined_cpu_s = time.process_time() - began
        return found

    @cached_property
    def true(self) -> Rollout:
        """The expert's own future, filmed."""
        self.reset()
        joints = self.cell.state()
        words = self.cell.instruction
        return filmed(self.cell, self._planner, self.expert, joints, words, self.names)

    def plan(self, source: str, start: str, steps: int) -> InferredPlan:
        """Actions inferred from the imagined or the true rollout; `STEPS_AS_USUAL`: by as many
        steps as these weights take."""
        if steps == STEPS_AS_USUAL:
            steps = self._planner.config.optimisation.steps_from(start)
        key = (source, start, steps)
        if key not in self._plans:
            rollout = self.imagined if source == "imagined" else self.true
            began = time.process_time()
            self._plans[key] = self._planner.infer_actions(rollout.rollout_id, start, steps, quiet)
            shown_s = self._imagined_cpu_s if source == "imagined" else float("nan")
            self._cpu_s[key] = shown_s + time.process_time() - began
        self.last_cpu_s = self._cpu_s[key]
        return self._plans[key]

    def unseen(self) -> ActionTrajectory:
        """What words and first frame alone say to the generator's head, the future hidden."""
        return self._planner.read_hidden(self.imagined.rollout_id)

    def reconstructed(self) -> ActionTrajectory:
        self.reset()
        return self._planner.reconstruct(self.expert, self.cell.state())


WAYS: dict[str, Callable[[PlannedScene], ActionTrajectory]] = {
    "full: as planned": lambda s: s.plan("imagined", "head", STEPS_AS_USUAL).refined,
    "+ActionInit, refined": lambda s: s.plan("imagined", "head", HEAD_STEPS).refined,
    "+ActionInit": lambda s: s.plan("imagined", "head", HEAD_STEPS).prior,
    "head alone, refined": lambda s: s.plan("imagined", "head", 0).refined,
    "head alone": lambda s: s.plan("imagined", "head", 0).prior,
    "100 steps from random, refined": lambda s: s.plan("imagined", "random", RANDOM_STEPS).refined,
    "100 steps from random": lambda s: s.plan("imagined", "random", RANDOM_STEPS).prior,
    "random latent, refined": lambda s: s.plan("imagined", "random", 0).refined,
    "random latent": lambda s: s.plan("imagined", "random", 0).prior,
    "hidden: words alone": lambda s: s.unseen(),
    "true-rollout, +ActionInit, refined": lambda s: s.plan("true", "head", HEAD_STEPS).refined,
    "true-rollout, +ActionInit": lambda s: s.plan("true", "head", HEAD_STEPS).prior,
    "true-rollout, head alone": lambda s: s.plan("true", "head", 0).prior,
    "true-latent": lambda s: s.reconstructed(),
    "true-actions": lambda s: s.expert,
}
FULL = next(iter(WAYS))
"""What a plan is where nobody says how."""


def study(checkpoint: Path) -> Study[PlanJob, PlanTrial]:
    """Trials of a checkpoint in the shipped cell; each worker holds its own cell and planner.

    Raises:
        WeightsError: it is not whole.
    """
    return Study("success", run_job, PlanTrial, cell_settings(checkpoint))


def run_job(job: PlanJob) -> list[PlanTrial]:
    """Every way and word of one scene."""
    asked = job.checkpoint, job.choices, job.drawn, job.seed, job.views
    cell, planner, arm = planner_and_cell(*asked)
    trials = []
    for instruction in job.instructions:
        scene = PlannedScene(cell, planner, job, instruction)
        trials += [_trial(scene, arm, job, way) for way in job.ways]
    return trials


def names_of(config: ModelConfig, rig: RigCalibration, views: int) -> tuple[str, ...]:
    """Source and targets of a request: the checkpoint's cameras, or (`views` above 0) so many of
    them and then of the rig's others.

    Raises:
        ConfigError: the rig has fewer.
    """
    if not views:
        return config.cameras
    own = [name for name in config.cameras if name in rig.names]
    names = tuple(dict.fromkeys((*own, *rig.names)))
    if views > len(names):
        raise ConfigError(f"{views} views asked for, the rig '{rig.name}' has {len(names)} cameras")
    return names[:views]


def filmed(
    cell: SimCell,
    planner: PlannerProbe,
    expert: ActionTrajectory,
    joints: JointState,
    words: str,
    names: Sequence[str] = (),
) -> Rollout:
    """These actions as the cell's cameras see them, at the times and (unless `names` says which)
    views of the checkpoint."""
    config = planner.config
    rows = cell.run_actions(expert, config.episode.frame_times_s)
    views = [
        [next(f for f in row if f.camera == name) for row in rows]
        for name in names or config.cameras
    ]
    return planner.adopt(views, joints, words)


_HELD: dict[tuple[Any, ...], tuple[SimCell, PlannerProbe, ArmModel]] = {}


def planner_and_cell(
    checkpoint: Path,
    choices: MethodChoices = AS_CHECKPOINT,
    drawn: str = "",
    seed: int = 0,
    views: int = 0,
) -> tuple[SimCell, PlannerProbe, ArmModel]:
    """This process's cell and planner, made at the first job of their cameras: the shipped ones,
    or (`drawn`) those that `seed` draws, for so many views. Only the last ones are kept."""
    cameras = max(DRAWN_CAMERAS, views)
    key = checkpoint, choices, drawn, *((seed, cameras) if drawn else ())
    if key not in _HELD:
        for cell, *_ in _HELD.values():
            cell.close()
        _HELD.clear()
        arm, weights = load_arm(arm_file()), loaded(checkpoint, choices)
        rig = drawn_rig(drawn, seed, weights.config, cameras) if drawn else load_rig(rig_file())
        cell = SimCell(arm, rig)
        _HELD[key] = (cell, PlannerProbe(weights, rig, arm, SimClock(cell)), arm)
    return _HELD[key]


def _trial(scene: PlannedScene, arm: ArmModel, job: PlanJob, way: str) -> PlanTrial:
    scene.last_cpu_s = float("nan")
    actions = WAYS[way](scene)
    # Actions are refined in any case: a row of unrefined ones would be charged for both.
    whole = way == FULL or way.endswith("refined")
    cpu_s = scene.last_cpu_s if whole else float("nan")
    goal = arm.base_from_tip(scene.expert.positions[-1])[:3, 3]
    aimed = arm.base_from_tip(actions.positions[-1])[:3, 3]
    error_mm = float(np.linalg.norm(goal - aimed) * 1000)
    scene.reset()
    cell = scene.cell
    words = cell.instruction
    try:
        settings = ExecutorSettings()
        allowed = Tolerances.default(arm, settings).of_plan(arm, settings)
        report = execute_in_process(cell, actions, arm, SimClock(cell), settings, allowed)
    except MvistaError as error:
        sys.stderr.write(f"seed {job.seed}, '{way}': refused: {error}\n")
        return PlanTrial(way, job.seed, words, False, False, True, error_mm, cpu_s)
    named = job.task == "touch_cube" and cell.approached_object() == f"{words.split()[2]}_cube"
    won = cell.evaluate().success
    aborted = report.status is Status.ABORTED
    return PlanTrial(way, job.seed, words, won, named, False, error_mm, cpu_s, aborted)


def pair_jobs(first_seed: int, count: int, asked: PlanJob) -> list[PlanJob]:
    """As `asked`, but the same touch_cube scene of each seed asked for two different colours."""
    jobs = []
    for seed in range(first_seed, first_seed + count):
        picks = np.random.default_rng(seed).permutation(list(tasks.COLORS))[:2]
        words = tuple(f"touch the {color} cube" for color in picks)
        jobs.append(replace(asked, seed=seed, ways=(FULL,), instructions=words))
    return jobs
