"""Which numbers tell a wrong future from a right one: `mvista eval gate`.

Futures that are right, of every task; those that were asked for alike and show another goal than
the expert's; those of a second task, from where the first ended; and three that are wrong on
purpose: told other words, swapped for another scene's, and asked from a camera out of the trained
range (which a planner refuses to begin with; here it is asked to). Limits come of right futures of
seeds of their own; what they refuse is counted on others.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.machine import describe
from mvista_core.records import ActionTrajectory, CameraFrame, Observation, Rollout
from mvista_eval.cell import cell_settings, loaded, quiet
from mvista_eval.follow.trials import TASK, other_words
from mvista_eval.generation.viewpoints import STANDARD, moved_to
from mvista_eval.statistics import Interval, median_interval, wilson
from mvista_eval.success.trials import planner_and_cell
from mvista_eval.trials import ALONE, Repeating, Study, run_study
from mvista_executor.in_process import execute_in_process
from mvista_sim.cell import SimCell, SimClock
from mvista_sim.tasks import TEMPLATES
from mvista_world.choices import AS_CHECKPOINT
from mvista_world.config import INITIALISATIONS
from mvista_world.gate import save_limits
from mvista_world.plausibility import Doubts, doubts_of, goal_gap_m
from mvista_world.probe import ANYWHERE, PlannerProbe

RIGHT, WORDS, SWAPPED, CAMERA = "right", "wrong words", "swapped future", "camera out of range"
AGAIN = "from where a task ended"
ASTRAY = "imagined another goal"
ASTRAY_M = 0.06
"""A plan's tip that ends so far from the expert's is at another thing, or at none: cubes stand
95 mm apart at least."""
FARTHER = 500_000
"""From a scene's seed to that of the scene whose future is put in its place."""
OUT_OF_RANGE = STANDARD[3:]
"""Azimuth 90, pitch 30, distance 1 m: in turn, by seed."""
WIDENED, WIDENED_TARGETS = 1.5, 2.5
"""A limit is so many times the worst right value of the limits' own seeds; that of the other views'
first frames more: where a second task begins, an arm that is not at home doubles their error."""
LEAST_OUTSIDE_M = 0.02
NUMBERS = tuple(field.name for field in fields(Doubts))


@dataclass(frozen=True)
class DoubtScene:
    """One trial."""

    seed: int
    checkpoint: Path


@dataclass(frozen=True)
class DoubtedFuture:
    """A future of one scene, right or wrong in one way, and its `Doubts` in the order of
    `NUMBERS`."""

    seed: int
    case: str
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class GateRow:
    """How many futures of one kind the limits refuse, by any number and by each; `low` and `high`
    bound the share by any (Wilson, 95 %)."""

    case: str
    count: int
    refused: int
    low: float
    high: float
    refused_by: tuple[int, ...]
    medians: tuple[Interval, ...]

    def __str__(self) -> str:
        each = ", ".join(
            f"{name} {count} ({median.value:.4f})"
            for name, count, median in zip(NUMBERS, self.refused_by, self.medians, strict=True)
        )
        return (
            f"{self.case:20s} refused {self.refused:2d}/{self.count} = "
            f"{self.refused / self.count:4.0%} [{self.low:.0%}, {self.high:.0%}]; by (median): "
            f"{each}"
        )


def measure(
    checkpoint: Path,
    episodes: int,
    first_seed: int,
    limits_seed: int,
    how: Repeating = ALONE,
    write: bool = False,
) -> tuple[list[GateRow], dict[str, Any]]:
    """A row for each case, over seeds that the limits have not seen, and the same as a document;
    with `write` the limits are the checkpoint's from now on.

    Raises:
        ConfigError: no scene, a negative seed, seeds that overlap, or no right future.
        WeightsError: the checkpoint is not whole.
    """
    if episodes < 1 or min(first_seed, limits_seed) < 0:
        raise ConfigError(
            f"--episodes {episodes} --seed {first_seed} --limits-seed {limits_seed}: at least 1 "
            "episode, seeds from 0"
        )
    if abs(first_seed - limits_seed) < episodes:
        raise ConfigError(
            f"seeds from {first_seed} and from {limits_seed} overlap in {episodes} episodes; "
            "limits must not be judged by the scenes that set them"
        )
    settings = cell_settings(checkpoint)
    seeds = [begin + k for begin in (limits_seed, first_seed) for k in range(episodes)]
    found = run_study(
        Study("gate", doubt_scene, DoubtedFuture, settings),
        [DoubtScene(seed, checkpoint) for seed in seeds],
        how,
    )
    set_by = set(seeds[:episodes])
    limits = limits_of([one for one in found if one.seed in set_by])
    rows = rows_of([one for one in found if one.seed not in set_by], limits)
    if write:
        fitted = {"tasks": list(TEMPLATES), "first_seed": limits_seed, "episodes": episodes}
        save_limits(checkpoint, settings["weights"], limits, fitted)
    return rows, {
        "tasks": list(TEMPLATES),
        "first_seed": first_seed,
        "limits_seed": limits_seed,
        "episodes": episodes,
        "weights_sha256": settings["weights"],
        "machine": describe(),
        "python": platform.python_version(),
        "limits": dict(limits),
        "rows": [asdict(row) for row in rows],
    }


def limits_of(found: Sequence[DoubtedFuture]) -> dict[str, float]:
    """For each number, the largest value that is not refused.

    Raises:
        ConfigError: no future is right: these weights imagine nothing that limits could be of.
    """
    right = np.array([one.numbers for one in found if one.case.startswith(RIGHT)])
    if not len(right):
        raise ConfigError(
            f"of {len(found)} futures none shows the goal that was asked for (the plan's tip "
            f"within {ASTRAY_M * 1e3:g} mm of the expert's): no limits can be fitted; see "
            "--episodes, or `mvista eval success` for what these weights can do"
        )
    limits = dict(zip(NUMBERS, (WIDENED * np.nanmax(right, axis=0)).tolist(), strict=True))
    limits["targets_first_abs_rel"] *= WIDENED_TARGETS / WIDENED
    # A hand that never left its workspace would leave a limit of nothing at all.
    limits["outside_m"] = max(limits["outside_m"], LEAST_OUTSIDE_M)
    return limits


def rows_of(found: Sequence[DoubtedFuture], limits: Mapping[str, float]) -> list[GateRow]:
    """One row a case; a number that is NaN says nothing."""
    allowed = np.array([limits[name] for name in NUMBERS])
    rows = []
    for case in dict.fromkeys(one.case for one in found):
        numbers = np.array([one.numbers for one in found if one.case == case])
        beyond = numbers > allowed
        refused = int(beyond.any(axis=1).sum())
        low, high = wilson(refused, len(numbers))
        by = tuple(int(count) for count in beyond.sum(axis=0))
        medians = tuple(median_interval(column.tolist()) for column in numbers.T)
        rows.append(GateRow(case, len(numbers), refused, low, high, by, medians))
    return rows


def doubt_scene(asked: DoubtScene) -> list[DoubtedFuture]:
    """One scene's right future and the wrong ones, and the right ones of the other tasks."""
    cell, planner, arm = planner_and_cell(asked.checkpoint)
    own = cell.reset(TASK, asked.seed)
    observation, expert = _observe(cell, planner, own), cell.expert()
    seen = observation.frame(planner.config.cameras[0])

    right = _imagine(planner, observation, asked.seed)
    plan = planner.infer_actions(right.rollout_id, INITIALISATIONS[0], 0, quiet).refined
    told_other = planner.retold(right.rollout_id, other_words(own, asked.seed))
    words = {RIGHT: planner.read_hidden(right.rollout_id), WORDS: planner.read_hidden(told_other)}

    def doubted(case: str, by: PlannerProbe, held: str) -> DoubtedFuture:
        shown = by.infer_actions(held, INITIALISATIONS[0], 0, quiet).refined
        told = words.get(case, words[RIGHT])
        # As a planner judges it: what was imagined, not what retouching made of that.
        imagined = by.as_decoded(held)
        found = doubts_of(imagined, seen, shown, told, arm, planner.config.window)
        return DoubtedFuture(asked.seed, case, tuple(asdict(found).values()))

    shows = RIGHT if _ends_right(expert, plan, arm) else ASTRAY
    rows = [
        replace(doubted(RIGHT, planner, right.rollout_id), case=shows),
        doubted(WORDS, planner, told_other),
    ]
    viewpoint = OUT_OF_RANGE[asked.seed % len(OUT_OF_RANGE)]
    rig = moved_to(cell.rig, planner.config.cameras[1], viewpoint)
    elsewhere = PlannerProbe(loaded(asked.checkpoint, AS_CHECKPOINT), rig, arm, SimClock(cell))
    moved = replace(observation, rig_hash=rig.content_hash)
    asked_there = _imagine(elsewhere, moved, asked.seed)
    rows.append(doubted(CAMERA, elsewhere, asked_there.rollout_id))
    cell.reset(TASK, asked.seed + FARTHER, own)
    swapped = _imagine(planner, _observe(cell, planner, own), asked.seed)
    rows.append(doubted(SWAPPED, planner, swapped.rollout_id))
    cell.reset(TASK, asked.seed, own)
    rows += after_carrying_out(plan, own, asked.seed, cell, planner)
    for task in TEMPLATES:
        if task != TASK:
            words_there = cell.reset(task, asked.seed)
            wanted = cell.expert()
            found, there = _as_it_stands(RIGHT, words_there, asked.seed, cell, planner)
            right_there = _ends_right(wanted, there, arm)
            rows.append(replace(found, case=f"{RIGHT}, {task}" if right_there else ASTRAY))
    return rows


def after_carrying_out(
    plan: ActionTrajectory, words: str, seed: int, cell: SimCell, planner: PlannerProbe
) -> list[DoubtedFuture]:
    """The future of the same words from where their task ended, as an operator's second one begins:
    right or not; none where the executor refused the plan."""
    try:
        execute_in_process(cell, plan, cell.arm, SimClock(cell))
    except MvistaError:
        return []
    found, _ = _as_it_stands(AGAIN, words, seed, cell, planner)
    return [found]


def _as_it_stands(
    case: str, words: str, seed: int, cell: SimCell, planner: PlannerProbe
) -> tuple[DoubtedFuture, ActionTrajectory]:
    """A future of the cell as it stands, judged as a planner does, and the plan read from it."""
    rollout = _imagine(planner, _observe(cell, planner, words), seed)
    plan = planner.infer_actions(rollout.rollout_id, INITIALISATIONS[0], 0, quiet)
    judged = planner.judge(rollout.rollout_id, plan, quiet)
    return DoubtedFuture(seed, case, tuple(doubt.value for doubt in judged)), plan.refined


def _ends_right(expert: ActionTrajectory, plan: ActionTrajectory, arm: ArmModel) -> bool:
    """Whether a plan's tip ends where the expert's does, or at another thing."""
    return goal_gap_m(expert, plan, arm) < ASTRAY_M


def _observe(cell: SimCell, planner: PlannerProbe, words: str) -> Observation:
    frames: tuple[CameraFrame, ...] = tuple(cell.latest(name) for name in planner.config.cameras)
    return Observation(frames, cell.state(), cell.rig.content_hash, words)


def _imagine(planner: PlannerProbe, observation: Observation, seed: int) -> Rollout:
    source, *targets = planner.config.cameras
    return planner.imagine(observation, source, targets, seed, quiet, ANYWHERE)
