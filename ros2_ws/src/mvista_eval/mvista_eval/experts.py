"""How often the scripted experts succeed, in process, on held-out seeds.

The experts make the training data and are the ceiling of every success rate of the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.rig import load_rig
from mvista_eval.cell import arm_file, cell_settings, rig_file
from mvista_eval.statistics import wilson
from mvista_eval.trials import ALONE, Repeating, Study, run_study
from mvista_sim.cell import SimCell


@dataclass(frozen=True)
class ExpertScene:
    """One trial: the expert acts in this scene."""

    task: str
    seed: int


@dataclass(frozen=True)
class Attempt:
    """What came of it: "" a success, else what the cell or the expert said."""

    task: str
    seed: int
    failure: str


@dataclass(frozen=True)
class Failure:
    """A scene the expert did not solve, and what the cell or the expert said."""

    seed: int
    detail: str


@dataclass(frozen=True)
class ExpertRate:
    """One task's result; `low` and `high` bound the rate at 95 % (Wilson)."""

    task: str
    episodes: int
    successes: int
    low: float
    high: float
    failures: tuple[Failure, ...]

    def __str__(self) -> str:
        text = (
            f"{self.task:12s} {self.successes:4d}/{self.episodes} = "
            f"{self.successes / self.episodes:6.1%} [{self.low:.1%}, {self.high:.1%}]"
        )
        return text + "".join(f"\n  seed {f.seed}: {f.detail}" for f in self.failures)


def measure(
    tasks: Sequence[str], episodes: int, first_seed: int, how: Repeating = ALONE
) -> tuple[list[ExpertRate], dict[str, Any]]:
    """A rate for each task over the same seeds, and the same as a document.

    Raises:
        ConfigError: no episode, or a negative seed.
    """
    if episodes < 1 or first_seed < 0:
        raise ConfigError(
            f"--episodes {episodes} --seed {first_seed}: at least 1 episode, seeds from 0"
        )
    seeds = range(first_seed, first_seed + episodes)
    study = Study("experts", attempt, Attempt, cell_settings())
    found = run_study(study, [ExpertScene(task, seed) for task in tasks for seed in seeds], how)
    rates = [rate_of(task, [one for one in found if one.task == task]) for task in tasks]
    return rates, {
        "first_seed": first_seed,
        "rig_hash": load_rig(rig_file()).content_hash,
        "tasks": [asdict(rate) for rate in rates],
    }


def rate_of(task: str, attempts: Sequence[Attempt]) -> ExpertRate:
    """How often, and in which scenes not; a plan that cannot be made is a failure too."""
    failures = tuple(Failure(one.seed, one.failure) for one in attempts if one.failure)
    successes = len(attempts) - len(failures)
    low, high = wilson(successes, len(attempts))
    return ExpertRate(task, len(attempts), successes, low, high, failures)


@cache
def _cell() -> SimCell:
    """This process's cell, made at the first trial."""
    return SimCell(load_arm(arm_file()), load_rig(rig_file()))


def attempt(scene: ExpertScene) -> list[Attempt]:
    """Let the expert act in one scene."""
    cell = _cell()
    cell.reset(scene.task, scene.seed)
    try:
        cell.run_actions(cell.expert())
        result = cell.evaluate()
        failure = "" if result.success else result.detail
    except MvistaError as error:
        failure = str(error)
    return [Attempt(scene.task, scene.seed, failure)]
