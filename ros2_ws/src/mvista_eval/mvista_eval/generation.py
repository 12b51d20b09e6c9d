"""Imagined views against filmed ones on held-out scenes (Sec. 5.1).

In every scene the expert's own motion is filmed by the views that are imagined, and what was
imagined of the first frame is compared to the film: colour, depth and points, view by view, over
all frames but the first, which the source view was given.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.machine import describe
from mvista_core.records import Observation, Rollout
from mvista_eval.cell import cell_settings
from mvista_eval.success.trials import filmed, planner_and_cell
from mvista_eval.trials import Study, run_study
from mvista_sim.cell import SimCell
from mvista_world import metrics
from mvista_world.fusion import FusionConfig, PointCloud, fuse
from mvista_world.probe import PlannerProbe

FIGURES = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "abs_rel": "AbsRel",
    "rmse_m": "RMSE m",
    "delta1": "delta1",
    "valid_iou": "valid IoU",
    "chamfer_m": "CD m",
    "emd_m": "EMD m",
}
ALL_VIEWS = "all views"
"""The row of the views fused: their points together, means of the rest."""


@dataclass(frozen=True)
class FilmedScene:
    """One trial: what the checkpoint imagines of this scene, told its motion or not."""

    task: str
    seed: int
    checkpoint: Path
    told: bool


@dataclass(frozen=True)
class ViewScore:
    """One view of one scene: a value for each of `FIGURES`; NaN where nothing can be compared."""

    view: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class GenerationRow:
    """One view over all scenes: `count` is how many had a value, figure by figure."""

    view: str
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]
    count: tuple[int, ...]


def measure(
    checkpoint: Path, task: str, episodes: int, first_seed: int, told: bool, fresh: bool = False
) -> tuple[list[GenerationRow], dict[str, Any]]:
    """A row for each view and one for all of them, and the same as a document.

    Raises:
        ConfigError: fewer than two scenes, which have no spread, or a negative seed.
        WeightsError: the checkpoint is not whole.
    """
    if episodes < 2 or first_seed < 0:
        raise ConfigError(
            f"--episodes {episodes} --seed {first_seed}: at least 2 episodes, seeds from 0"
        )
    settings = cell_settings(checkpoint)
    study = Study("generation", scene_scores, ViewScore, settings)
    seeds = range(first_seed, first_seed + episodes)
    scenes = [FilmedScene(task, seed, checkpoint, told) for seed in seeds]
    rows = rows_of(run_study(study, scenes, fresh=fresh))
    return rows, {
        "task": task,
        "told_the_motion": told,
        "first_seed": first_seed,
        "episodes": episodes,
        "weights_sha256": settings["weights"],
        "machine": describe(),
        "python": platform.python_version(),
        "figures": list(FIGURES),
        "rows": [asdict(row) for row in rows],
    }


def scene_scores(scene: FilmedScene) -> list[ViewScore]:
    """One scene imagined, filmed and compared."""
    cell, planner, _ = planner_and_cell(scene.checkpoint)
    return compare(*imagine_and_film(cell, planner, scene.task, scene.seed, scene.told))


def imagine_and_film(
    cell: SimCell, planner: PlannerProbe, task: str, seed: int, told: bool
) -> tuple[Rollout, Rollout]:
    """(imagined, filmed) of one scene, of the same views and times; the seed is also the noise's.

    Raises:
        ConfigError, MvistaError: see `SimCell.reset` and `SimCell.expert`.
    """
    words = cell.reset(task, seed)
    joints, expert, config = cell.state(), cell.expert(), planner.config
    source, *targets = config.cameras
    frames = tuple(cell.latest(name) for name in cell.cameras())
    observation = Observation(frames, joints, cell.rig.content_hash, words)
    if told:
        window = config.window.frame(observation.frame(source))
        actions = expert.positions.astype(np.float32)
        imagined = planner.imagine_told(window, targets, joints, words, actions, seed)
    else:
        imagined = planner.imagine(observation, source, targets, seed, lambda *_: True)
    return imagined, filmed(cell, planner, expert, joints, words)


def compare(imagined: Rollout, film: Rollout) -> list[ViewScore]:
    """Every view, and all of them fused, over the frames after the first.

    Colour and depth are averaged frame by frame; a cloud is what a view sees of the workspace.
    """
    times = range(1, len(film.times_s))
    scores = []
    for view, name in enumerate(film.cameras):
        pictures = [_pictures(imagined, film, view, t) for t in times]
        points = _points(imagined, film, (view,))
        scores.append(ViewScore(name, (*_means(pictures), *points)))
    fused = _points(imagined, film, tuple(range(len(film.cameras))))
    of_pictures = _means([score.values[: -len(fused)] for score in scores])
    return [*scores, ViewScore(ALL_VIEWS, (*of_pictures, *fused))]


def _pictures(imagined: Rollout, filmed: Rollout, view: int, t: int) -> tuple[float, ...]:
    color, true_color = imagined.color[view, t], filmed.color[view, t]
    depth_m, true_m = imagined.depth_m[view, t], filmed.depth_m[view, t]
    return (
        metrics.psnr(color, true_color),
        metrics.ssim(color, true_color),
        metrics.abs_rel(depth_m, true_m),
        metrics.rmse_m(depth_m, true_m),
        metrics.delta1(depth_m, true_m),
        metrics.valid_agreement(depth_m, true_m),
    )


def _points(imagined: Rollout, filmed: Rollout, views: Sequence[int]) -> tuple[float, ...]:
    """Chamfer and earth mover's distance (m), means over the frames after the first."""
    pairs = [
        (ours.points_m, theirs.points_m)
        for ours, theirs in zip(_clouds(imagined, views), _clouds(filmed, views), strict=True)
        if len(ours) and len(theirs)
    ]
    found = [(metrics.chamfer_m(*pair), metrics.emd_m(*pair)) for pair in pairs]
    return _means(found or [(float("nan"), float("nan"))])


def _clouds(rollout: Rollout, views: Sequence[int]) -> tuple[PointCloud, ...]:
    """What these views see of the workspace at every frame but the first."""
    chosen = list(views)
    seen = replace(
        rollout,
        cameras=tuple(rollout.cameras[view] for view in chosen),
        intrinsics=tuple(rollout.intrinsics[view] for view in chosen),
        base_from_camera=rollout.base_from_camera[chosen],
        color=rollout.color[chosen],
        depth_m=rollout.depth_m[chosen],
    )
    return fuse(seen, FusionConfig())[1:]


def _means(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Column means of what there is, NaN where there is nothing."""
    columns = np.array(rows).T
    return tuple(float("nan") if np.isnan(c).all() else float(np.nanmean(c)) for c in columns)


def rows_of(scores: Sequence[ViewScore]) -> list[GenerationRow]:
    """One row a view, in the order of the views."""
    named = dict.fromkeys(score.view for score in scores)
    return [_row(view, [s.values for s in scores if s.view == view]) for view in named]


def _row(view: str, values: Sequence[tuple[float, ...]]) -> GenerationRow:
    """Mean and standard error over scenes, figure by figure, of what could be compared."""
    errors, counts = [], []
    for column in np.array(values).T:
        there = column[np.isfinite(column)]
        spread = np.std(there, ddof=1) if len(there) > 1 else np.nan
        errors.append(float(spread / np.sqrt(max(len(there), 1))))
        counts.append(len(there))
    return GenerationRow(view, _means(values), tuple(errors), tuple(counts))


def lines_of(rows: Sequence[GenerationRow]) -> list[str]:
    """The table in words, with how many scenes counted."""
    titles = "".join(f"{title:>18s}" for title in FIGURES.values())
    lines = [f"{'view':10s}{titles}     n"]
    for row in rows:
        pairs = zip(row.mean, row.standard_error, strict=True)
        cells = "".join(f"{mean:10.4f} ±{error:6.4f}" for mean, error in pairs)
        lines.append(f"{row.view:10s}{cells}  {min(row.count):4d}")
    return lines
