"""One trial of `mvista eval generation`: a scene, the cameras it is asked from, and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_core.arm import load_arm
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_eval.cell import arm_file, drawn_rig, loaded, rig_file, rig_name
from mvista_eval.generation.answers import (
    IMAGINED,
    NEAREST,
    AnsweredScene,
    AskedScene,
    answer,
)
from mvista_eval.generation.scores import (
    ALL_VIEWS,
    FIRST,
    WHOLE,
    Values,
    compare,
    compare_parts,
    of_the_film,
)
from mvista_eval.generation.viewpoints import Viewpoint, beside_trained, moved_to
from mvista_sim.cell import SimCell, SimClock
from mvista_world.choices import AS_CHECKPOINT, MethodChoices
from mvista_world.config import ModelConfig
from mvista_world.fvd import video_features
from mvista_world.probe import PlannerProbe

FILM = "film"
AS_NEAREST = "imagined, against nearest trained camera"
"""Not an answer: how near the model's picture is to what another camera saw. Where it is nearer to
that than to the truth, the pose was not heard."""


@dataclass(frozen=True)
class FilmedScene:
    """One trial: what the checkpoint imagines of this scene, told its motion or not, of the views
    of a rig; with `viewpoint`, the first view beside the source is asked from there instead; with
    `drawn`, one of `cell.DRAWN`, all views are of a rig drawn by the scene's seed."""

    task: str
    seed: int
    checkpoint: Path
    told: bool
    rig: Path
    viewpoint: Viewpoint | None = None
    i3d: Path | None = None
    drawn: str = ""
    choices: MethodChoices = AS_CHECKPOINT


@dataclass(frozen=True)
class ViewScore:
    """A part of a view of one scene, answered one way: a value for each of `scores.FIGURES`;
    `features` of whole views where an I3D was given."""

    camera: str
    answer: str
    view: str
    part: str
    values: Values
    features: Values = ()


def scene_scores(scene: FilmedScene) -> list[ViewScore]:
    """One scene filmed, answered and compared."""
    found, asked_from = answered(scene), camera_label(scene)
    rows = []
    for name, rollout in found.answers.items():
        scores = compare(rollout, found.film, found.seen)
        features = _features(scene, name, found)
        rows += [
            ViewScore(asked_from, name, view, part, values, features.get((view, part), ()))
            for (view, part), values in scores.items()
        ]
    others = compare_parts(found.answers[IMAGINED], found.answers[NEAREST], found.seen)
    rows += [
        ViewScore(asked_from, AS_NEAREST, view, FIRST, others[view, FIRST])
        for view in found.film.cameras
    ]
    rows.append(ViewScore(asked_from, FILM, ALL_VIEWS, WHOLE, of_the_film(found.film)))
    features = _features(scene, FILM, found)
    blank = (np.nan,) * len(rows[0].values)
    return rows + [ViewScore(asked_from, FILM, *key, blank, own) for key, own in features.items()]


def camera_label(scene: FilmedScene) -> str:
    """Where views are asked from."""
    if scene.viewpoint is not None:
        return str(scene.viewpoint)
    return rig_name(scene.drawn, scene.rig)


def answered(scene: FilmedScene) -> AnsweredScene:
    """One scene's film and all answers to it."""
    checkpoint = loaded(scene.checkpoint, scene.choices)
    asked, trained = asked_rig(scene, checkpoint.config), load_rig(rig_file())
    wide, films = beside_trained(asked, trained, checkpoint.config.cameras)
    cell = _cell(scene, wide)
    planner = PlannerProbe(checkpoint, asked, cell.arm, SimClock(cell))
    return answer(
        cell, planner, AskedScene(scene.task, scene.seed, scene.told, asked, trained, films)
    )


def asked_rig(scene: FilmedScene, config: ModelConfig) -> RigCalibration:
    """The cameras that a scene's views are asked from.

    Raises:
        RigError: no such file, or none was found in the draw. ConfigError: see `moved_to`.
    """
    if scene.drawn:
        return drawn_rig(scene.drawn, scene.seed, config)
    rig = load_rig(scene.rig)
    return rig if scene.viewpoint is None else moved_to(rig, config.cameras[1], scene.viewpoint)


_CELLS: dict[tuple[object, ...], SimCell] = {}


def _cell(scene: FilmedScene, rig: RigCalibration) -> SimCell:
    """This process's cell of these cameras, made at their first trial; only one is kept."""
    key = (scene.rig, scene.viewpoint, scene.drawn, scene.drawn and scene.seed)
    if key not in _CELLS:
        for cell in _CELLS.values():
            cell.close()
        _CELLS.clear()
        _CELLS[key] = SimCell(load_arm(arm_file()), rig)
    return _CELLS[key]


def _features(scene: FilmedScene, name: str, found: AnsweredScene) -> dict[tuple[str, str], Values]:
    """Of each whole view, where an I3D was given."""
    if scene.i3d is None:
        return {}
    rollout = found.film if name == FILM else found.answers[name]
    rows = video_features(scene.i3d, rollout.color)
    return {
        (view, WHOLE): tuple(row.tolist()) for view, row in zip(rollout.cameras, rows, strict=True)
    }
