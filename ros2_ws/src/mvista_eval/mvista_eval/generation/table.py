"""The table of `mvista eval generation` (Tables 1, 2, 7 and 10 of the paper), with naive answers.

Figures are printed in the paper's scales (all but PSNR times 100, so that lengths are in cm), and
kept in SI units and shares in the document.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.machine import describe
from mvista_eval.cell import DRAWN, cell_settings, rig_name
from mvista_eval.generation.answers import ANSWERS
from mvista_eval.generation.beside import SCENES
from mvista_eval.generation.scores import ALL_VIEWS, FIGURES, FIRST, OF_PARTS, PARTS, WHOLE
from mvista_eval.generation.trials import (
    AS_NEAREST,
    FILM,
    FilmedScene,
    ViewScore,
    scene_scores,
)
from mvista_eval.generation.viewpoints import Viewpoint
from mvista_eval.statistics import Interval, mean_interval
from mvista_eval.trials import ALONE, Repeating, Study, run_study, sum_of_bytes, sum_of_files
from mvista_world.choices import AS_CHECKPOINT, MethodChoices
from mvista_world.fvd import frechet_distance

NO_LPIPS = "not computed: no library here brings its weights"
NO_FVD = "not computed: weights missing (--i3d FILE: the TorchScript I3D of the FVD tools)"
SHOWN = ("psnr_db", "abs_rel")
APART = ("not seen", "moving")
"""Parts whose values are kept scene by scene."""


@dataclass(frozen=True)
class GenerationRequest:
    """Which scenes, of which cameras: a rig, and where its first imagined view is asked from
    (nowhere else, where `viewpoints` is empty); or, with `drawn`, a rig for each scene."""

    task: str
    episodes: int
    first_seed: int
    checkpoint: Path
    rig: Path
    viewpoints: tuple[Viewpoint, ...] = ()
    told: bool = False
    i3d: Path | None = None
    drawn: str = ""
    choices: MethodChoices = AS_CHECKPOINT


@dataclass(frozen=True)
class GenerationRow:
    """One part of one view answered one way, over all scenes: an interval for each figure, in the
    order of `FIGURES`."""

    camera: str
    answer: str
    view: str
    part: str
    figures: tuple[Interval, ...]

    def figure(self, name: str) -> Interval:
        """One of `FIGURES`."""
        return self.figures[list(FIGURES).index(name)]


def measure(
    asked: GenerationRequest, how: Repeating = ALONE
) -> tuple[list[GenerationRow], dict[str, Any]]:
    """The rows, and the same as a document.

    Raises:
        ConfigError: fewer than two scenes, which have no spread, a negative seed, or cameras that
            cannot be asked for.
        RigError: no such rig. WeightsError: the checkpoint is not whole, or no I3D.
    """
    if asked.episodes < 2 or asked.first_seed < 0:
        raise ConfigError(
            f"--episodes {asked.episodes} --seed {asked.first_seed}: at least 2 episodes, seeds "
            "from 0"
        )
    if asked.drawn and (asked.drawn not in DRAWN or asked.viewpoints):
        raise ConfigError(
            f"rigs drawn '{asked.drawn}': one of {list(DRAWN)}, and no --camera beside"
        )
    settings = {**cell_settings(asked.checkpoint), "asked rig": sum_of_files(asked.rig)}
    if asked.i3d is not None:
        settings["i3d"] = sum_of_bytes(asked.i3d)
    found = run_study(Study("generation", scene_scores, ViewScore, settings), scenes(asked), how)
    rows = rows_of(found)
    return rows, {
        "task": asked.task,
        "told_the_motion": asked.told,
        "first_seed": asked.first_seed,
        "episodes": asked.episodes,
        "view_mode": asked.choices.view_mode,
        "rig": rig_name(asked.drawn, asked.rig),
        "weights_sha256": settings["weights"],
        "machine": describe(),
        "python": platform.python_version(),
        "units": "dB, m and shares; [mean, low, high, n] with Student's 95 % interval",
        "lpips": NO_LPIPS,
        "fvd": fvd_of(found) if asked.i3d is not None else NO_FVD,
        "rows": [_as_document(row) for row in rows],
        SCENES: scenes_of(found),
    }


def scenes(asked: GenerationRequest) -> list[FilmedScene]:
    """A trial for each scene from each viewpoint, those of one viewpoint together."""
    seeds = range(asked.first_seed, asked.first_seed + asked.episodes)
    return [
        FilmedScene(
            asked.task,
            seed,
            asked.checkpoint,
            asked.told,
            asked.rig,
            viewpoint,
            asked.i3d,
            asked.drawn,
            asked.choices,
        )
        for viewpoint in (asked.viewpoints or (None,))
        for seed in seeds
    ]


def rows_of(scores: Sequence[ViewScore]) -> list[GenerationRow]:
    """One row for each camera, answer, view and part, in their order."""
    grouped: dict[tuple[str, str, str, str], list[tuple[float, ...]]] = {}
    for score in scores:
        key = (score.camera, score.answer, score.view, score.part)
        grouped.setdefault(key, []).append(score.values)
    return [
        GenerationRow(*key, tuple(mean_interval(column.tolist()) for column in np.array(values).T))
        for key, values in grouped.items()
        if not np.isnan(values).all()
    ]


def scenes_of(scores: Sequence[ViewScore]) -> dict[str, Any]:
    """Values scene by scene, as `beside.SCENES` says: of all views together, and of each what the
    source does not see and what moves."""
    found: dict[str, Any] = {}
    for score in scores:
        whole = (score.view, score.part) == (ALL_VIEWS, WHOLE)
        if not whole and score.part not in APART:
            continue
        of_answer = found.setdefault(score.camera, {}).setdefault(score.answer, {})
        figures = of_answer.setdefault(f"{score.view}, {score.part}", {})
        for name, value in zip(FIGURES, score.values, strict=True):
            if whole or name in SHOWN:
                figures.setdefault(name, []).append(_number(value))
    return found


def fvd_of(scores: Sequence[ViewScore]) -> dict[str, dict[str, float]]:
    """FVD of each answer to the films, by camera, over all clips of all views (as many as scenes
    times views: far fewer than features, so compare only values of equal numbers)."""
    clips: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for score in scores:
        if score.features:
            clips.setdefault(score.camera, {}).setdefault(score.answer, []).append(score.features)
    return {
        camera: {
            name: frechet_distance(np.array(found), np.array(answers[FILM]))
            for name, found in answers.items()
            if name != FILM
        }
        for camera, answers in clips.items()
    }


def in_words(asked: GenerationRequest, rows: Sequence[GenerationRow], document: Any) -> str:
    """What `measure` found, as a person reads it."""
    lines = pose_lines(rows) if asked.viewpoints else lines_of(rows)
    return "\n".join([*lines, f"LPIPS {document['lpips']}", f"FVD {document['fvd']}"])


def lines_of(rows: Sequence[GenerationRow]) -> list[str]:
    """All figures of whole views, then two of every part, with how many scenes counted."""
    lines = []
    for camera in dict.fromkeys(row.camera for row in rows):
        here = [row for row in rows if row.camera == camera]
        lines += [f"== {camera}: frames after the first, mean ± half of the 95 % interval"]
        lines += [*_wholes(here), "", *_parts(here), ""]
    return lines


def pose_lines(rows: Sequence[GenerationRow]) -> list[str]:
    """A line for each camera and answer about the view asked for there (the second)."""
    titles = (FIRST, "first frame, seen", "first frame, not seen", WHOLE)
    lines = [f"{'camera':34s}{'answer':40s}" + "".join(f"{title:>26s}" for title in titles)]
    lines += [f"{'':74s}" + f"{'PSNR dB, AbsRel %':>26s}" * len(titles)]
    for camera in dict.fromkeys(row.camera for row in rows):
        here = [row for row in rows if row.camera == camera]
        asked = list(dict.fromkeys(row.view for row in here))[1]
        given = {row.answer for row in here}
        for name in (n for n in (*ANSWERS, AS_NEAREST) if n in given):
            found = {r.part: r for r in here if r.answer == name and r.view == asked}
            cells = "".join(f"{_pair(found.get(title)):>26s}" for title in titles)
            lines.append(f"{camera:34s}{name:40s}{cells}")
    return lines


def _wholes(rows: Sequence[GenerationRow]) -> list[str]:
    titles = "".join(f"{title:>15s}" for title in FIGURES.values())
    lines = [f"{'answer':40s}{'view':10s}{titles}     n"]
    for row in rows:
        if row.part == WHOLE:
            cells = "".join(f"{_scaled(name, row.figure(name)):>15s}" for name in FIGURES)
            lines.append(f"{row.answer:40s}{row.view:10s}{cells}  {row.figures[0].count:4d}")
    return lines


def _parts(rows: Sequence[GenerationRow]) -> list[str]:
    """PSNR and AbsRel by part of each view that is imagined."""
    views = list(dict.fromkeys(row.view for row in rows if row.view != ALL_VIEWS))[1:]
    lines = [f"{'PSNR dB, AbsRel %':40s}{'view':10s}" + "".join(f"{p:>24s}" for p in PARTS)]
    given = {row.answer for row in rows}
    for view in views:
        for name in (n for n in ANSWERS if n in given):
            found = {r.part: r for r in rows if (r.view, r.answer) == (view, name)}
            lines.append(
                f"{name:40s}{view:10s}" + "".join(f"{_pair(found.get(p)):>24s}" for p in PARTS)
            )
    return lines


def _pair(row: GenerationRow | None) -> str:
    """PSNR and AbsRel of a row, in one cell."""
    if row is None:
        return "-"
    return "  ".join(_scaled(name, row.figure(name)) for name in SHOWN)


def _scaled(name: str, found: Interval) -> str:
    """A figure in the paper's scale."""
    if math.isnan(found.value):
        return "-"
    factor = 1.0 if name == "psnr_db" else 100.0
    half = factor * (found.high - found.value)
    text = f"{factor * found.value:.2f}"
    return text if math.isnan(half) else f"{text} ±{half:.2f}"


def _as_document(row: GenerationRow) -> dict[str, Any]:
    """Figures by name; what could not be compared is left out, what is no number is null."""
    named = {
        name: [_number(f.value), _number(f.low), _number(f.high), f.count]
        for name, f in zip(FIGURES, row.figures, strict=True)
        if f.count and (row.part == WHOLE or name in OF_PARTS)
    }
    return {
        "camera": row.camera, "answer": row.answer, "view": row.view, "part": row.part, **named
    }  # fmt: skip


def _number(value: float) -> float | str | None:
    """JSON has no infinity: two pictures that are equal have a PSNR of "inf"."""
    if math.isinf(value):
        return "inf"
    return None if math.isnan(value) else round(value, 6)
