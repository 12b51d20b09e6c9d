"""What Eq. 11 has to work with.

The frozen generator's velocity error (Eq. 2) on filmed futures of held-out scenes, told the motion
that was filmed, another instruction's motion in the same scene, or nothing. A latent optimisation
can find the motion only as far as the first is smaller than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core import instructions
from mvista_core.errors import ConfigError
from mvista_core.records import ActionTrajectory
from mvista_eval.cell import cell_settings
from mvista_eval.success.trials import filmed, planner_and_cell
from mvista_eval.trials import ALONE, Repeating, Study, run_study
from mvista_sim.tasks import TEMPLATES

NOISE_LEVELS = (0.2, 0.4, 0.6, 0.8, 0.95)


@dataclass(frozen=True)
class LatentScene:
    """One trial: the checkpoint's generator on this touch_cube scene."""

    seed: int
    checkpoint: Path


@dataclass(frozen=True)
class SceneErrors:
    """Errors per noise level of one scene when the generator is told one thing."""

    seed: int
    told: str
    errors: tuple[float, ...]


@dataclass(frozen=True)
class ErrorRow:
    """Mean error over scenes when told one thing, per noise level, and its standard error."""

    told: str
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.told:10s} " + "".join(f"  {m:7.4f}" for m in self.mean)


def measure(
    checkpoint: Path, episodes: int, first_seed: int, how: Repeating = ALONE
) -> tuple[list[ErrorRow], dict[str, Any]]:
    """A row for each thing the generator is told, and the same as a document.

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
    scenes = [LatentScene(seed, checkpoint) for seed in range(first_seed, first_seed + episodes)]
    rows = rows_of(run_study(study, scenes, how))
    return rows, {
        "episodes": episodes,
        "first_seed": first_seed,
        "weights_sha256": settings["weights"],
        "noise_levels": NOISE_LEVELS,
        "rows": [asdict(row) for row in rows],
    }


def scene_errors(scene: LatentScene) -> list[SceneErrors]:
    """Errors of one scene for each thing the generator is told."""
    cell, planner, _ = planner_and_cell(scene.checkpoint)
    own_words = cell.reset("touch_cube", scene.seed)
    joints, expert = cell.state(), cell.expert()
    others = [w for w in instructions.expand(TEMPLATES["touch_cube"]) if w != own_words]
    other = cell.expert(str(np.random.default_rng(scene.seed).choice(others)))
    rollout = filmed(cell, planner, expert, joints, own_words).rollout_id
    told: dict[str, ActionTrajectory | None] = {"true": expert, "other": other, "nothing": None}
    return [
        SceneErrors(scene.seed, name, tuple(planner.explained(rollout, a, NOISE_LEVELS).tolist()))
        for name, a in told.items()
    ]


def rows_of(found: Sequence[SceneErrors]) -> list[ErrorRow]:
    """Means and standard errors over scenes."""
    rows = []
    for told in dict.fromkeys(one.told for one in found):
        errors = np.array([one.errors for one in found if one.told == told])
        spread = errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
        rows.append(ErrorRow(told, tuple(errors.mean(axis=0)), tuple(spread)))
    return rows
