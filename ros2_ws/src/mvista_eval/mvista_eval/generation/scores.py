"""How near an answer comes to the film: figures of whole views and of parts of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mvista_core.records import Rollout
from mvista_world import metrics
from mvista_world.fusion import FusionConfig, PointCloud, fuse
from mvista_world.latent_optimisation import moved_pixels
from mvista_world.reprojection import cross_view_error

Mask = NDArray[np.bool_]
Values = tuple[float, ...]

FIGURES = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "abs_rel": "AbsRel",
    "rmse_m": "RMSE",
    "delta1": "delta1",
    "valid_iou": "valid IoU",
    "chamfer_m": "CD",
    "emd_m": "EMD",
    "cross_view_m": "cross-view",
    "cross_view_agreeing": "agreeing",
}
OF_PARTS = ("psnr_db", "abs_rel", "rmse_m", "delta1")
"""Figures that a part of a picture has; the others are of whole pictures and clouds."""
ALL_VIEWS = "all views"
"""The views fused: their points together, how they agree with each other, means of the rest."""
WHOLE, FIRST = "whole", "first frame"
PARTS = (
    WHOLE, "seen", "not seen", "moving", "still", FIRST, "first frame, seen",
    "first frame, not seen",
)  # fmt: skip
"""All but the last three over the frames after the first. What the source's first frame shows of a
view is seen; what differs in the film from the view's first frame is moving."""


def compare(answer: Rollout, film: Rollout, seen: Mask) -> dict[tuple[str, str], Values]:
    """A value for each of `FIGURES` by (view, part); NaN where nothing can be compared.

    Colour and depth are averaged frame by frame; a cloud is what a view sees of the workspace.
    """
    found = compare_parts(answer, film, seen)
    later = range(1, len(film.times_s))
    for view, name in enumerate(film.cameras):
        pictures = _means([_pictures(answer, film, view, t) for t in later])
        found[name, WHOLE] = (*pictures, *_points(answer, film, (view,)), np.nan, np.nan)
    wholes = np.array([found[name, WHOLE] for name in film.cameras])
    pictures = _means(wholes[:, : len(FIGURES) - 4])
    fused = _points(answer, film, range(len(film.cameras)))
    found[ALL_VIEWS, WHOLE] = (*pictures, *fused, *_agreement(answer))
    return found


def compare_parts(answer: Rollout, film: Rollout, seen: Mask) -> dict[tuple[str, str], Values]:
    """`OF_PARTS` by (view, part), of all parts but the whole; the other figures are NaN."""
    moved = moved_pixels(film.color, film.depth_m)
    later = range(1, len(film.times_s))
    return {
        (name, part): _means([_of_part(answer, film, view, t, mask[t]) for t in times])
        for view, name in enumerate(film.cameras)
        for part, times, mask in _parts(seen[view], moved[view], later)
    }


def of_the_film(film: Rollout) -> Values:
    """What the truth itself scores in `ALL_VIEWS`: the floors of EMD and of the cross-view error.

    The first comes of sampling, the second of pixels.
    """
    clouds = _clouds(film, range(len(film.cameras)))
    floor = _means([(metrics.emd_floor_m(c.points_m),) for c in clouds if len(c)] or [(np.nan,)])
    return (np.inf, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, *floor, *_agreement(film))


def _parts(seen: Mask, moved: Mask, later: Sequence[int]) -> list[tuple[str, Sequence[int], Mask]]:
    """(part, its times, its pixels [T, H, W]) of one view, all but the whole."""
    everywhere = np.ones_like(moved)
    return [
        ("seen", later, everywhere & seen),
        ("not seen", later, everywhere & ~seen),
        ("moving", later, moved),
        ("still", later, ~moved),
        (FIRST, (0,), everywhere),
        ("first frame, seen", (0,), everywhere & seen),
        ("first frame, not seen", (0,), everywhere & ~seen),
    ]


def _pictures(answer: Rollout, film: Rollout, view: int, t: int) -> Values:
    color, true_color = answer.color[view, t], film.color[view, t]
    depth_m, true_m = answer.depth_m[view, t], film.depth_m[view, t]
    return (
        metrics.psnr(color, true_color),
        metrics.ssim(color, true_color),
        metrics.abs_rel(depth_m, true_m),
        metrics.rmse_m(depth_m, true_m),
        metrics.delta1(depth_m, true_m),
        metrics.valid_agreement(depth_m, true_m),
    )


def _of_part(answer: Rollout, film: Rollout, view: int, t: int, mask: Mask) -> Values:
    """Of the pixels in a mask [H, W]."""
    if not mask.any():
        return (np.nan,) * len(FIGURES)
    depth_m, true_m = answer.depth_m[view, t][mask], film.depth_m[view, t][mask]
    values = {
        "psnr_db": metrics.psnr(answer.color[view, t][mask], film.color[view, t][mask]),
        "abs_rel": metrics.abs_rel(depth_m, true_m),
        "rmse_m": metrics.rmse_m(depth_m, true_m),
        "delta1": metrics.delta1(depth_m, true_m),
    }
    return tuple(values.get(figure, np.nan) for figure in FIGURES)


def _agreement(rollout: Rollout) -> Values:
    """Cross-view error (median, m) and the share that agrees, over the frames after the first."""
    later = replace(rollout, color=rollout.color[:, 1:], depth_m=rollout.depth_m[:, 1:])
    found = cross_view_error(later)
    return found.median_m, found.agreeing


def _points(answer: Rollout, film: Rollout, views: Sequence[int]) -> Values:
    """Chamfer and earth mover's distance (m), means over the frames after the first."""
    pairs = [
        (ours.points_m, theirs.points_m)
        for ours, theirs in zip(_clouds(answer, views), _clouds(film, views), strict=True)
        if len(ours) and len(theirs)
    ]
    found = [(metrics.chamfer_m(*pair), metrics.emd_m(*pair)) for pair in pairs]
    return _means(found or [(np.nan, np.nan)])


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


def _means(rows: Sequence[Sequence[float]] | NDArray[np.float64]) -> Values:
    """Column means of what there is, NaN where there is nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN is NaN
        return tuple(float(value) for value in np.nanmean(np.array(rows), axis=0))
