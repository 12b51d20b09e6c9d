"""Whether the plan follows what was imagined, in three tables: goal, motion, and what it is worth.

*Goal*: shown A and told B, where does the plan go? *Motion*: is it nearer to the style that was
filmed than to the plain expert's? *Worth*: is the tip nearer to its goal with the future in sight
than with the future hidden?
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvista_core.errors import ConfigError
from mvista_core.machine import describe
from mvista_eval.cell import cell_settings
from mvista_eval.follow.trials import (
    ENCODED,
    FILMED,
    HEAD,
    HIDDEN,
    IMAGINED,
    OPTIMISED,
    OTHER,
    A,
    B,
    FollowedPlan,
    FollowScene,
    follow_scene,
)
from mvista_eval.statistics import Interval, median_interval, wilson
from mvista_eval.trials import ALONE, Repeating, Study, run_study
from mvista_world.choices import AS_CHECKPOINT, MethodChoices


@dataclass(frozen=True)
class GoalRow:
    """Where the plans of one kind went; `low` and `high` bound the share to A (Wilson, 95 %)."""

    future: str
    told: str
    way: str
    count: int
    to_a: int
    to_b: int
    to_other: int
    low: float
    high: float
    to_a_mm: Interval

    def __str__(self) -> str:
        return (
            f"{self.future:9s} told {self.told}, {self.way:12s} A/B/other "
            f"{self.to_a:2d}/{self.to_b:2d}/{self.to_other:2d} of {self.count}, to A "
            f"{self.to_a / self.count:4.0%} [{self.low:.0%}, {self.high:.0%}]; last tip "
            f"{_range(self.to_a_mm)} mm from A's"
        )


@dataclass(frozen=True)
class StyleRow:
    """How often a plan lay nearer to the filmed motion than to the plain one (Wilson, 95 %)."""

    future: str
    way: str
    count: int
    nearer_to_filmed: int
    low: float
    high: float
    from_filmed_mm: Interval
    from_plain_mm: Interval
    styles_apart_mm: Interval

    def __str__(self) -> str:
        return (
            f"{self.future:9s} {self.way:12s} nearer to the filmed style in "
            f"{self.nearer_to_filmed:2d}/{self.count} = {self.nearer_to_filmed / self.count:4.0%} "
            f"[{self.low:.0%}, {self.high:.0%}]; {_range(self.from_filmed_mm)} mm from it, "
            f"{_range(self.from_plain_mm)} from the plain one, which lie "
            f"{_range(self.styles_apart_mm)} apart"
        )


@dataclass(frozen=True)
class WorthRow:
    """Tip error at the end, told the words of what is shown; `beyond_hidden_mm` is the scene's own
    difference to the same words without a future: below zero, seeing it helped."""

    future: str
    way: str
    tip_error_mm: Interval
    beyond_hidden_mm: Interval

    def __str__(self) -> str:
        return (
            f"{self.future:9s} {self.way:12s} tip error {_range(self.tip_error_mm)} mm, beyond "
            f"hidden {_range(self.beyond_hidden_mm)} mm"
        )


@dataclass(frozen=True)
class FollowTables:
    """All three."""

    goal: tuple[GoalRow, ...]
    style: tuple[StyleRow, ...]
    worth: tuple[WorthRow, ...]

    def lines(self) -> list[str]:
        """In words."""
        named = (("goal", self.goal), ("motion style", self.style), ("worth", self.worth))
        return [
            line
            for title, rows in named
            for line in (f"== {title}: medians with 95 % intervals", *map(str, rows))
        ]


def measure(
    checkpoint: Path,
    episodes: int,
    first_seed: int,
    optimised: bool = True,
    how: Repeating = ALONE,
    choices: MethodChoices = AS_CHECKPOINT,
) -> tuple[FollowTables, dict[str, Any]]:
    """The tables, and the same as a document.

    Raises:
        ConfigError: no scene, or a negative seed. WeightsError: the checkpoint is not whole.
    """
    if episodes < 1 or first_seed < 0:
        raise ConfigError(
            f"--episodes {episodes} --seed {first_seed}: at least 1 episode, seeds from 0"
        )
    settings = cell_settings(checkpoint)
    seeds = range(first_seed, first_seed + episodes)
    scenes = [FollowScene(seed, checkpoint, optimised, choices) for seed in seeds]
    study = Study("follow", follow_scene, FollowedPlan, settings)
    tables = tables_of(run_study(study, scenes, how))
    return tables, {
        "task": "touch_cube",
        "first_seed": first_seed,
        "episodes": episodes,
        **asdict(choices),
        "weights_sha256": settings["weights"],
        "machine": describe(),
        "python": platform.python_version(),
        **asdict(tables),
    }


def tables_of(plans: Sequence[FollowedPlan]) -> FollowTables:
    """What is in the plans; kinds that nobody made have no row."""
    kinds = list(dict.fromkeys((plan.future, plan.told, plan.way) for plan in plans))
    found = {kind: [p for p in plans if (p.future, p.told, p.way) == kind] for kind in kinds}
    goals = [_goal(*kind, found[kind]) for kind in kinds if kind[0] != ENCODED]
    styles = [
        _style(future, way, found[future, told, way])
        for future, told, way in kinds
        if told == A and future in (FILMED, HIDDEN, ENCODED)
    ]
    hidden = found.get((HIDDEN, A, HEAD), [])
    worth = [
        _worth(future, way, found[future, told, way], hidden)
        for future, told, way in kinds
        if told == A and future in (IMAGINED, FILMED, HIDDEN) and way in (HEAD, OPTIMISED)
    ]
    return FollowTables(tuple(goals), tuple(styles), tuple(worth))


def _goal(future: str, told: str, way: str, plans: Sequence[FollowedPlan]) -> GoalRow:
    went = [plan.went for plan in plans]
    to_a, to_b, other = (went.count(end) for end in (A, B, OTHER))
    low, high = wilson(to_a, len(went))
    away = median_interval([plan.to_a_mm for plan in plans])
    return GoalRow(future, told, way, len(went), to_a, to_b, other, low, high, away)


def _style(future: str, way: str, plans: Sequence[FollowedPlan]) -> StyleRow:
    nearer = sum(plan.from_filmed_mm < plan.from_plain_mm for plan in plans)
    low, high = wilson(nearer, len(plans))
    return StyleRow(
        future,
        way,
        len(plans),
        nearer,
        low,
        high,
        median_interval([plan.from_filmed_mm for plan in plans]),
        median_interval([plan.from_plain_mm for plan in plans]),
        median_interval([plan.styles_apart_mm for plan in plans]),
    )


def _worth(
    future: str, way: str, plans: Sequence[FollowedPlan], hidden: Sequence[FollowedPlan]
) -> WorthRow:
    """Paired by scene."""
    without = {plan.seed: plan.to_a_mm for plan in hidden}
    beyond = [plan.to_a_mm - without[plan.seed] for plan in plans if plan.seed in without]
    errors = median_interval([plan.to_a_mm for plan in plans])
    return WorthRow(future, way, errors, median_interval(beyond))


def _range(found: Interval) -> str:
    return f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"
