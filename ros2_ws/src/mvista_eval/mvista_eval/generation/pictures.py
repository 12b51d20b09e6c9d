"""Film strips to look at: truth, model, reprojection and their errors, a sheet for each view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mvista_core.records import Float32, UInt8
from mvista_eval.generation.answers import (
    IMAGINED,
    NEAREST,
    RECODED,
    REPROJECTED,
    AnsweredScene,
)
from mvista_eval.generation.trials import FilmedScene, answered, camera_label

NEAR_M, FAR_M = 0.3, 1.5
WORST_M = 0.1
"""Depth errors from here on have the brightest colour."""
ENLARGE, GAP_PX, LABEL_PX = 2, 3, 150
INK, PAPER, NOTHING = (20, 20, 24), (255, 255, 255), (90, 94, 104)


def write_sheets(scenes: Sequence[FilmedScene], folder: Path) -> list[Path]:
    """A JPEG for each view of each scene; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for scene in scenes:
        found = answered(scene)
        for view, name in enumerate(found.film.cameras):
            words = f"{scene.task} {scene.seed}, {camera_label(scene)}, {name}"
            path = folder / f"{words.replace(', ', '_').replace(' ', '-')}.jpg"
            Image.fromarray(sheet(found, view)).save(path, quality=88)
            written.append(path)
    return written


def sheet(found: AnsweredScene, view: int) -> UInt8:
    """All times of one view [H', W', 3]: a row each for truth, answers, depths and errors."""
    film, answers = found.film, found.answers
    not_seen = ~found.seen[view]
    reprojection = answers[REPROJECTED].color[view].copy()
    reprojection[:, not_seen] = NOTHING
    nearest = f"film of {found.nearest[view]}"
    rows = {
        "film": film.color[view],
        "imagined": answers[IMAGINED].color[view],
        "reprojected": reprojection,
        nearest: answers[NEAREST].color[view],
        "autoencoder": answers[RECODED].color[view],
        "film, depth": _depth(film.depth_m[view]),
        "imagined, depth": _depth(answers[IMAGINED].depth_m[view]),
        "its error": _error(answers[IMAGINED].depth_m[view], film.depth_m[view]),
        "reprojection's": _error(
            np.where(not_seen, 0, answers[REPROJECTED].depth_m[view]), film.depth_m[view]
        ),
    }
    return np.concatenate([_row(name, images) for name, images in rows.items()])


def _depth(depth_m: Float32) -> UInt8:
    """Depth [..., H, W] in colours; what is invalid is grey."""
    level = np.clip((depth_m - NEAR_M) / (FAR_M - NEAR_M), 0.0, 1.0)
    painted = colormaps["turbo_r"](level, bytes=True)[..., :3]
    return np.where((depth_m > 0)[..., None], painted, np.array(NOTHING)).astype(np.uint8)


def _error(ours_m: Float32, truth_m: Float32) -> UInt8:
    """|ours - truth| [..., H, W] from black to bright at `WORST_M`; grey where one has none."""
    level = np.clip(np.abs(ours_m - truth_m) / WORST_M, 0.0, 1.0)
    painted = colormaps["inferno"](level, bytes=True)[..., :3]
    both = (ours_m > 0) & (truth_m > 0)
    return np.where(both[..., None], painted, np.array(NOTHING)).astype(np.uint8)


def _row(label: str, images: UInt8) -> UInt8:
    """Images [T, H, W, 3] side by side, enlarged, after their name."""
    large = images.repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)
    height = large.shape[1] + GAP_PX
    card = Image.new("RGB", (LABEL_PX, height), PAPER)
    ImageDraw.Draw(card).text((4, height // 2 - 6), label, fill=INK)
    padded = np.pad(large, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
    return np.concatenate([np.asarray(card), *padded], axis=1)
