"""Success rates of the whole pipeline in process, and what limits them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.machine import describe
from mvista_core.records import AS_NEEDED
from mvista_core.rig import load_rig
from mvista_eval.cell import DRAWN, rig_file, rig_name
from mvista_eval.statistics import wilson
from mvista_eval.success import trials
from mvista_eval.success.trials import WAYS, PlanJob, PlanTrial, pair_jobs
from mvista_eval.trials import ALONE, Repeating, run_study
from mvista_sim.tasks import check_instruction
from mvista_world.choices import AS_CHECKPOINT, MethodChoices
from mvista_world.view_passes import MOST_VIEWS


@dataclass(frozen=True)
class Row:
    """One line of the table; `low` and `high` are Wilson's 95 % interval of the success rate,
    `median_plan_cpu_s` is None for what is no whole plan; the rest as in `PlanTrial`."""

    name: str
    episodes: int
    successes: int
    low: float
    high: float
    right_object: int | None
    refused: int
    median_tip_error_mm: float
    median_plan_cpu_s: float | None
    aborted: int

    def __str__(self) -> str:
        right = "" if self.right_object is None else f"  right object {self.right_object:3d}"
        cpu_s = self.median_plan_cpu_s
        cost = "" if cpu_s is None else f"  plan {cpu_s:.1f} CPU s"
        return (
            f"{self.name:36s} {self.successes:3d}/{self.episodes} "
            f"= {self.successes / self.episodes:4.0%} [{self.low:.0%}, {self.high:.0%}]{right}"
            f"  refused {self.refused}  aborted {self.aborted}"
            f"  tip error {self.median_tip_error_mm:.0f} mm{cost}"
        )


@dataclass(frozen=True)
class SuccessRequest:
    """Which scenes, which ways of planning ("all", "full", or names with ; between), which words.

    `pairs`: each scene of touch_cube is asked for two colours. `choices` is the method, `best_of`
    that of `ImagineOptions`. `instruction`: for every scene; None is the scene's own. `drawn`: one
    of `cell.DRAWN`, a rig for each scene instead of the shipped one. `views`: how many are filmed
    and imagined, the source included; 0 are the checkpoint's (Table 11).
    """

    task: str
    episodes: int
    first_seed: int
    checkpoint: Path
    rows: str = "all"
    pairs: bool = False
    choices: MethodChoices = AS_CHECKPOINT
    best_of: int = AS_NEEDED
    instruction: str | None = None
    drawn: str = ""
    views: int = 0


def measure(asked: SuccessRequest, how: Repeating = ALONE) -> tuple[list[Row], dict[str, Any]]:
    """The table's rows, and the same as a document.

    Raises:
        WeightsError, ConfigError: no such checkpoint, row or pair.
    """
    study = trials.study(asked.checkpoint)
    found = run_study(study, jobs(asked), how)
    rows = pair_rows(found) if asked.pairs else rows_of(found, asked.task)
    return rows, {
        "task": asked.task,
        "pairs": asked.pairs,
        "instruction": asked.instruction,
        "first_seed": asked.first_seed,
        "episodes": asked.episodes,
        "best_of": asked.best_of,
        "views": asked.views or None,
        "rig": rig_name(asked.drawn, rig_file()),
        **asdict(asked.choices),
        "weights_sha256": study.settings["weights"],
        "machine": describe(),
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
    }


def jobs(asked: SuccessRequest) -> list[PlanJob]:
    """A job for each scene.

    Raises:
        ConfigError: no such row or draw, more views than there are cameras, pairs of a task without
            colours, or of one instruction.
        InstructionError: not one of the task's.
    """
    if asked.pairs and asked.instruction:
        raise ConfigError("--pairs chooses two instructions a scene; --instruction is one for all")
    if asked.instruction:
        check_instruction(asked.task, asked.instruction)
    if asked.drawn and asked.drawn not in DRAWN:
        raise ConfigError(f"rigs drawn '{asked.drawn}': there are {list(DRAWN)}")
    _check_views(asked)
    one = PlanJob(
        asked.task,
        asked.first_seed,
        asked.checkpoint,
        _ways(asked.rows),
        (asked.instruction,),
        asked.choices,
        asked.best_of,
        asked.drawn,
        asked.views,
    )
    if asked.pairs:
        if asked.task != "touch_cube":
            raise ConfigError(
                f"--pairs is for touch_cube, whose scenes name four; not {asked.task}"
            )
        return pair_jobs(asked.first_seed, asked.episodes, one)
    seeds = range(asked.first_seed, asked.first_seed + asked.episodes)
    return [replace(one, seed=seed) for seed in seeds]


def _check_views(asked: SuccessRequest) -> None:
    cameras = MOST_VIEWS if asked.drawn else len(load_rig(rig_file()).cameras)
    if not 0 <= asked.views <= cameras:
        raise ConfigError(
            f"{asked.views} views: 1 to {cameras} of {rig_name(asked.drawn, rig_file())}, or 0 for "
            f"the checkpoint's; a drawn rig has up to {MOST_VIEWS} (--drawn)"
        )


def _ways(rows: str) -> tuple[str, ...]:
    """Ways of planning by what a request calls them."""
    named = {"all": tuple(WAYS), "full": tuple(WAYS)[:1]}
    ways = named.get(rows, tuple(rows.split(";")))
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise ConfigError(f"no rows {unknown}; there are {list(WAYS)}")
    return ways


def rows_of(found: Sequence[PlanTrial], task: str) -> list[Row]:
    """A row for each way, in the order they come."""
    ways = dict.fromkeys(trial.way for trial in found)
    named = task == "touch_cube"
    return [_row(way, [t for t in found if t.way == way], named) for way in ways]


def pair_rows(found: Sequence[PlanTrial]) -> list[Row]:
    """Per word, and per pair: a pair counts when both words were followed."""
    pairs = list(zip(found[::2], found[1::2], strict=True))
    joined = [
        PlanTrial(
            a.way,
            a.seed,
            f"{a.instruction} / {b.instruction}",
            a.success and b.success,
            a.right_object and b.right_object,
            a.refused or b.refused,
            max(a.tip_error_mm, b.tip_error_mm),
            aborted=a.aborted or b.aborted,
        )
        for a, b in pairs
    ]
    return [_row("each word", found, True), _row("both words of a pair", joined, True)]


def _row(name: str, found: Sequence[PlanTrial], named: bool) -> Row:
    successes = sum(t.success for t in found)
    low, high = wilson(successes, len(found))
    cost = float(np.median([t.plan_cpu_s for t in found]))
    return Row(
        name,
        len(found),
        successes,
        low,
        high,
        sum(t.right_object for t in found) if named else None,
        sum(t.refused for t in found),
        float(np.median([t.tip_error_mm for t in found])),
        None if np.isnan(cost) else cost,
        sum(t.aborted for t in found),
    )
