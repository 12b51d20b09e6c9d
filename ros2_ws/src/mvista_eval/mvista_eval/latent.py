"""What Eq. 11 has to work with.

The frozen generator's velocity error (Eq. 2) on futures of held-out scenes, filmed and imagined,
told the expert's motion, another instruction's in the same scene, what the action head reads there,
or nothing. A latent optimisation can find the motion only as far as the first is smaller than the
others; where what is read is explained better than the motion itself, it leads away from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core import instructions
from mvista_core.errors import ConfigError
from mvista_core.records import ActionTrajectory, Float64
from mvista_eval.cell import cell_settings
from mvista_eval.success.trials import PlanJob, PlannedScene, planner_and_cell
from mvista_eval.trials import ALONE, Repeating, Study, run_study
from mvista_sim.tasks import TEMPLATES
from mvista_world.config import INITIALISATIONS

NOISE_LEVELS = (0.2, 0.4, 0.6, 0.8, 0.95)
FILMED, IMAGINED = "filmed", "imagined"
"""Which future is explained: the film of the expert's motion, or what the words bring."""
TRUE = "true"


@dataclass(frozen=True)
class LatentScene:
    """One trial: the checkpoint's generator on this scene."""

    seed: int
    checkpoint: Path
    task: str = "touch_cube"


@dataclass(frozen=True)
class SceneErrors:
    """Errors per noise level of one scene's future when the generator is told one thing."""

    seed: int
    future: str
    told: str
    errors: tuple[float, ...]


@dataclass(frozen=True)
class ErrorRow:
    """Mean error over scenes when told one thing, per noise level, and its standard error; then the
    same of the scene's own difference to being told the expert's motion."""

    future: str
    told: str
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]
    beyond_true: tuple[float, ...]
    beyond_true_error: tuple[float, ...]

    def __str__(self) -> str:
        means = "".join(f"  {m:7.4f}" for m in self.mean)
        pairs = zip(self.beyond_true, self.beyond_true_error, strict=True)
        beyond = "".join(f"  {m:+.4f} ± {error:.4f}" for m, error in pairs)
        return f"{self.future:9s} {self.told:9s}{means}   beyond true{beyond}"


def measure(
    checkpoint: Path,
    episodes: int,
    first_seed: int,
    how: Repeating = ALONE,
    task: str = "touch_cube",
) -> tuple[list[ErrorRow], dict[str, Any]]:
    """A row for each future and thing that the generator is told, and the same as a document.

    Raises:
        ConfigError: fewer than two scenes, which have no spread, or a negative seed.
        WeightsError: the checkpoint is not whole.
    """
    if episodes < 2 or first_seed < 0:
        raise ConfigError(
            f"--episodes {episodes} --seed {first_seed}: at least 2 episodes, seeds from 0"
        )
    settings = cell_settings(checkpoint)
    study = Study("latent", scene_errors, SceneErrors, settings)
    seeds = range(first_seed, first_seed + episodes)
    scenes = [LatentScene(seed, checkpoint, task) for seed in seeds]
    rows = rows_of(run_study(study, scenes, how))
    return rows, {
        "task": task,
        "episodes": episodes,
        "first_seed": first_seed,
        "weights_sha256": settings["weights"],
        "noise_levels": NOISE_LEVELS,
        "rows": [asdict(row) for row in rows],
    }


def scene_errors(asked: LatentScene) -> list[SceneErrors]:
    """Errors of one scene for each future and thing the generator is told."""
    cell, planner, _ = planner_and_cell(asked.checkpoint)
    # The likeliest of several futures is no question here: the first is explained.
    scene = PlannedScene(
        cell, planner, PlanJob(asked.task, asked.seed, asked.checkpoint, (), best_of=1), None
    )
    told: dict[str, ActionTrajectory | None] = {TRUE: scene.expert}
    scene.reset()
    others = [w for w in instructions.expand(TEMPLATES[asked.task]) if w != cell.instruction]
    if others:
        told["other"] = cell.expert(str(np.random.default_rng(asked.seed).choice(others)))
    found = []
    for future, rollout in ((FILMED, scene.true), (IMAGINED, scene.imagined)):
        read = scene.plan("true" if future == FILMED else future, INITIALISATIONS[0], 0).prior
        for name, actions in {**told, "read": read, "nothing": None}.items():
            errors = planner.explained(rollout.rollout_id, actions, NOISE_LEVELS)
            found.append(SceneErrors(asked.seed, future, name, tuple(errors.tolist())))
    return found


def rows_of(found: Sequence[SceneErrors]) -> list[ErrorRow]:
    """Means and standard errors over scenes."""
    rows = []
    for future, told in dict.fromkeys((one.future, one.told) for one in found):
        errors, true = (
            np.array([one.errors for one in found if (one.future, one.told) == (future, name)])
            for name in (told, TRUE)
        )
        statistics = (*_mean_and_error(errors), *_mean_and_error(errors - true))
        rows.append(ErrorRow(future, told, *statistics))
    return rows


def _mean_and_error(values: Float64) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Over the first axis."""
    spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return tuple(values.mean(axis=0).tolist()), tuple(spread.tolist())
