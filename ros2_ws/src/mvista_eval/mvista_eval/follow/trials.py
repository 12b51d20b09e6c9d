"""One scene of `mvista eval follow`: plans of one future under its own words and under others.

In a scene of touch_cube the future of one cube (A, the scene's own) is imagined from its words, and
filmed in a drawn motion style. Both are explained twice: told A's words, and told another cube's
(B). Where plan and words part, the end of the plan says which of the two was heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.records import ActionTrajectory, Float64, Observation
from mvista_eval.cell import quiet
from mvista_eval.success.trials import HEAD_STEPS, filmed, planner_and_cell
from mvista_sim.cell import SimCell
from mvista_sim.experts import MotionStyle
from mvista_sim.tasks import CUBE_HALF_M, TEMPLATES
from mvista_world.choices import AS_CHECKPOINT, MethodChoices
from mvista_world.config import INITIALISATIONS
from mvista_world.probe import PlannerProbe

TASK = "touch_cube"
IMAGINED, FILMED, HIDDEN, ENCODED = "imagined", "filmed", "hidden", "encoded"
"""Which future is read: text-only imagination; the film of a motion in a drawn style; none (the
rollout is all noise); and, as a ceiling, the filmed motion itself through the trajectory latent."""
HEAD, OPTIMISED = "head", "+ActionInit"
A, B, OTHER = "A", "B", "other"
STYLE_STREAM, WORDS_STREAM = 13, 11
"""Of a scene's random numbers: which style is filmed, which other cube is told."""


@dataclass(frozen=True)
class FollowScene:
    """One trial; with `optimised` also by +ActionInit, ten times the time of the head alone."""

    seed: int
    checkpoint: Path
    optimised: bool
    choices: MethodChoices = AS_CHECKPOINT


@dataclass(frozen=True)
class FollowedPlan:
    """One plan: whose future it was shown (A, or none), whose words it was told, where it went.

    Distances in mm: from the plan's last tip to where the expert's ends for A and for B, and the
    mean over the plan from the tip of the filmed motion, of the plain expert's for A, and between
    those two.
    """

    seed: int
    future: str
    way: str
    told: str
    went: str
    to_a_mm: float
    to_b_mm: float
    from_filmed_mm: float
    from_plain_mm: float
    styles_apart_mm: float


@dataclass(frozen=True)
class _Scene:
    """What the plans of one scene are held against."""

    seed: int
    cell: SimCell
    arm: ArmModel
    words: dict[str, str]
    plain: ActionTrajectory
    styled: ActionTrajectory
    goal_b_m: Float64

    def judged(self, future: str, way: str, told: str, plan: ActionTrajectory) -> FollowedPlan:
        """One plan, measured."""
        path, plain, styled = (
            self.arm.tip_positions(motion.positions) for motion in (plan, self.plain, self.styled)
        )
        return FollowedPlan(
            self.seed,
            future,
            way,
            told,
            self._went(path[-1]),
            _mm(path[-1] - plain[-1]),
            _mm(path[-1] - self.goal_b_m),
            _mm(path - styled),
            _mm(path - plain),
            _mm(styled - plain),
        )

    def _went(self, tip_m: Float64) -> str:
        """Whose cube is nearest."""
        cubes = {
            item.name: np.array([item.x_m, item.y_m, CUBE_HALF_M])
            for item in self.cell.layout.objects
            if item.kind == "cube"
        }
        nearest = min(cubes, key=lambda name: float(np.linalg.norm(cubes[name] - tip_m)))
        named = {f"{words.split()[2]}_cube": told for told, words in self.words.items()}
        return named.get(nearest, OTHER)


def follow_scene(asked: FollowScene) -> list[FollowedPlan]:
    """Every plan of one scene."""
    cell, planner, arm = planner_and_cell(asked.checkpoint, asked.choices)
    own = cell.reset(TASK, asked.seed)
    other = other_words(own, asked.seed)
    style = MotionStyle.drawn(np.random.default_rng((asked.seed, STYLE_STREAM)))
    end_b = cell.expert(other).positions[-1]
    scene = _Scene(
        asked.seed,
        cell,
        arm,
        {A: own, B: other},
        cell.expert(),
        cell.expert(style=style),
        arm.base_from_tip(end_b)[:3, 3],
    )
    return [scene.judged(*planned) for planned in _plans(planner, scene, asked.optimised)]


def other_words(own: str, seed: int) -> str:
    """Another cube's words than a scene's own."""
    others = [words for words in instructions.expand(TEMPLATES[TASK]) if words != own]
    return str(np.random.default_rng((seed, WORDS_STREAM)).choice(others))


def _plans(
    planner: PlannerProbe, scene: _Scene, optimised: bool
) -> Iterator[tuple[str, str, str, ActionTrajectory]]:
    """(future, way, told, plan), all from where the arm was before the film."""
    cell, (own, other) = scene.cell, (scene.words[A], scene.words[B])
    joints = cell.state()
    source, *targets = planner.config.cameras
    frames = tuple(cell.latest(name) for name in planner.config.cameras)
    observation = Observation(frames, joints, cell.rig.content_hash, own)
    imagined = planner.imagine(observation, source, targets, scene.seed, quiet).rollout_id
    film = filmed(cell, planner, scene.styled, joints, own).rollout_id
    told_b = {IMAGINED: planner.retold(imagined, other), FILMED: planner.retold(film, other)}
    told_a = {IMAGINED: imagined, FILMED: film}
    for future in (IMAGINED, FILMED):
        for told, held in ((A, told_a[future]), (B, told_b[future])):
            yield future, HEAD, told, _planned(planner, held, 0)
            # Ten times the time: where the words contradict, and where the future is the truth.
            if optimised and (future, told) in ((IMAGINED, A), (IMAGINED, B), (FILMED, A)):
                yield future, OPTIMISED, told, _planned(planner, held, HEAD_STEPS)
    yield HIDDEN, HEAD, A, planner.read_hidden(imagined)
    yield HIDDEN, HEAD, B, planner.read_hidden(told_b[IMAGINED])
    yield ENCODED, HEAD, A, planner.reconstruct(scene.styled, joints)


def _planned(planner: PlannerProbe, rollout_id: str, steps: int) -> ActionTrajectory:
    """Before refinement: what the future says, not what the refiner makes of it."""
    return planner.infer_actions(rollout_id, INITIALISATIONS[0], steps, quiet).prior


def _mm(difference_m: Float64) -> float:
    """Mean length of vectors [..., 3]."""
    return float(np.linalg.norm(difference_m, axis=-1).mean() * 1000)
