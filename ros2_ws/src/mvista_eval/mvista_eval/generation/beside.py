"""Two answers scene by scene: what differs between them, without what differs between scenes.

Most of the spread of a table of `mvista eval generation` is the scenes', which two checkpoints
share; their difference has a far narrower interval than either's mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_eval.generation.scores import FIGURES
from mvista_eval.statistics import Interval, mean_interval

SCENES = "scenes"
"""In a document: {camera: {answer: {"view, part": {figure: [a value of each scene]}}}}."""
ALIKE = ("task", "told_the_motion", "first_seed", "episodes", "rig")
"""What two documents have to agree about."""


@dataclass(frozen=True)
class Difference:
    """Of one figure (SI units and shares): the first answer's value less the second's."""

    camera: str
    place: str
    figure: str
    beyond: Interval


def load(path: Path) -> dict[str, Any]:
    """A document of `mvista eval generation --json`.

    Raises:
        ConfigError: it cannot be read, or was written before scenes were.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict) or SCENES not in document:
        raise ConfigError(
            f"{path} has no '{SCENES}': it is no document of `mvista eval generation --json`, or "
            "one of before that wrote them; measure again"
        )
    return document


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], answer: str, than: str
) -> list[Difference]:
    """Every figure of `answer` in the first document less that of `than` in the second.

    Raises:
        ConfigError: the documents are of other scenes, or have no such answer.
    """
    for name in ALIKE:
        if ours.get(name) != theirs.get(name):
            raise ConfigError(
                f"{name} is {ours.get(name)!r} in one and {theirs.get(name)!r} in the other: only "
                "the same scenes, asked alike, can be set beside each other"
            )
    found = []
    for camera, answers in ours[SCENES].items():
        others = theirs[SCENES].get(camera, {})
        for name, there in ((answer, answers), (than, others)):
            if name not in there:
                raise ConfigError(f"no answer '{name}' of {camera}; there are {sorted(there)}")
        for place, figures in answers[answer].items():
            for figure, values in figures.items():
                against = others[than].get(place, {}).get(figure)
                if against is not None:
                    # What could not be compared in one of them is no difference.
                    gap = np.array(values, np.float64) - np.array(against, np.float64)
                    gap[~np.isfinite(gap)] = np.nan
                    found.append(Difference(camera, place, figure, mean_interval(gap.tolist())))
    return [one for one in found if one.beyond.count]


def in_words(found: list[Difference]) -> str:
    """A line for each, in the paper's scale (all but PSNR times 100); `*` where 0 is outside."""
    lines = [f"{'camera':26s}{'view, part':24s}{'figure':14s}{'difference':>18s}     n"]
    for one in found:
        scale = 1.0 if one.figure == "psnr_db" else 100.0
        value, half = scale * one.beyond.value, scale * (one.beyond.high - one.beyond.value)
        sure = "*" if not math.isnan(half) and abs(value) > half else " "
        cell = f"{value:+.3f} ± {half:.3f}{sure}"
        lines.append(
            f"{one.camera:26s}{one.place:24s}{FIGURES[one.figure]:14s}{cell:>18s}"
            f"  {one.beyond.count:4d}"
        )
    return "\n".join(lines)
