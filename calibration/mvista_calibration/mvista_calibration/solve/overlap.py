"""Where the clouds of two cameras show the same surface, and how far apart they have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mvista_calibration.records import RigEstimate
from mvista_calibration.solve.clouds import SceneCloud
from mvista_core.geometry import transform_points
from mvista_core.records import Float64

GATES_M = (0.03, 0.015, 0.008)
"""Farther apart two points are not of one surface: ever nearer as the fit closes."""
LEAST_ALIGNED = 0.7
"""Normals of a pair must agree by this cosine: front and back of a thin thing never match."""
PATCH_M = 0.07
"""Depth errors are alike within such a patch (bias, wiggle, normals): it counts once."""
HELD_OUT_GATE_M = 0.03
LEAST_OVERLAP = 0.3
"""Of the points of the pair that overlaps most: a pair with fewer has a median of chance."""
POINTS_PER_PAIR = 1500


@dataclass(frozen=True)
class Match:
    """Points of camera `a` [N] against planes of camera `b`, in the reference frame."""

    a: int
    b: int
    point: Float64
    plane_point: Float64
    normal: Float64
    ray_a: Float64
    ray_b: Float64
    held_out: np.ndarray[tuple[int], np.dtype[np.bool_]]
    patch: np.ndarray[tuple[int], np.dtype[np.int64]]

    @property
    def distance(self) -> Float64:
        """Signed point-to-plane distance [N], m."""
        return np.asarray(((self.point - self.plane_point) * self.normal).sum(axis=1))


def matches(clouds: Sequence[SceneCloud], rig: RigEstimate, gate_m: float) -> list[Match]:
    """Nearest neighbours within `gate_m` of every ordered pair, with compatible normals."""
    places = [transform_points(rig.pose(c.camera), c.points) for c in clouds]
    turned = [c.normals @ rig.pose(c.camera)[:3, :3].T for c in clouds]
    rays = [c.rays @ rig.pose(c.camera)[:3, :3].T for c in clouds]
    trees = [cKDTree(place) for place in places]
    found = []
    for a in range(len(clouds)):
        # Every n-th point, the same ones at every step: else the cost would jump from step to step.
        stride = max(len(places[a]) // POINTS_PER_PAIR, 1)
        chosen = np.arange(0, len(places[a]), stride)
        for b in range(len(clouds)):
            if a == b:
                continue
            found_gap, found_near = trees[b].query(places[a][chosen], distance_upper_bound=gate_m)
            gap, near = np.asarray(found_gap), np.asarray(found_near)
            hit = np.isfinite(gap)
            i, j = chosen[hit], near[hit]
            # Nearest by place alone would tie a table's top to its underside.
            aligned = (turned[a][i] * turned[b][j]).sum(axis=1) > LEAST_ALIGNED
            i, j = i[aligned], j[aligned]
            if len(i) == 0:
                continue
            cells = np.floor(places[a][i] / PATCH_M).astype(np.int64)
            patch = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
            found.append(
                Match(
                    a, b, places[a][i], places[b][j], turned[b][j], rays[a][i], rays[b][j],
                    # A third is never fitted to: what it says of the fit is honest.
                    (i // stride) % 3 == 0, patch,
                )
            )  # fmt: skip
    return found


def pair_medians(
    clouds: Sequence[SceneCloud], rig: RigEstimate, held_out: bool = False
) -> dict[tuple[int, int], float]:
    """Median absolute point-to-plane distance, m, of every pair that overlaps enough to say."""
    gathered: dict[tuple[int, int], list[Float64]] = {}
    for match in matches(clouds, rig, HELD_OUT_GATE_M):
        distance = np.abs(match.distance[match.held_out] if held_out else match.distance)
        gathered.setdefault((min(match.a, match.b), max(match.a, match.b)), []).append(distance)
    joined = {pair: np.concatenate(parts) for pair, parts in gathered.items()}
    most = max((len(distances) for distances in joined.values()), default=0)
    return {
        pair: float(np.median(distances))
        for pair, distances in joined.items()
        if len(distances) >= LEAST_OVERLAP * most
    }


def fused_disagreement(rig: RigEstimate, clouds: Sequence[SceneCloud]) -> float:
    """Systematic distance, m, between the same surface as different cameras see it.

    RMS over patches of `PATCH_M` of the median signed point-to-plane distance: noise of single
    points averages out. Small is necessary, not sufficient: ICP makes it small on wrong depth too.
    """
    squares: list[float] = []
    for match in matches(clouds, rig, HELD_OUT_GATE_M):
        for patch in np.unique(match.patch):
            chosen = match.patch == patch
            if chosen.sum() >= 5:
                squares.append(float(np.median(match.distance[chosen])) ** 2)
    return float(np.sqrt(np.mean(squares))) if squares else np.nan
