"""Where the pixels of one calibrated view lie in another.

`reproject` draws a view from another one's pixels: what needs no world model to be known.
`cross_view_error` asks whether the views of a rollout show one scene (Sec. 5.1 judges that by eye,
"objects shift across views and depth boundaries no longer agree"; here it has a number). Plain
NumPy, pinhole cameras, depth along z in metres with 0 for none; pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mvista_core.geometry import back_project, invert, project, transform_points
from mvista_core.records import Float32, Float64, Intrinsics, Rollout, UInt8

Mask = NDArray[np.bool_]

LARGEST_STEP = 0.05
"""Neighbouring depths that differ by more, relative to the nearer one, are of two surfaces."""
HIDDEN_BEYOND_M = 0.05
"""A point that lies deeper than another view's surface by more is hidden from that view by it."""
AGREEING_WITHIN_M = 0.01
"""Two views that differ by no more about a surface agree."""
NEAREST_M = 0.02


@dataclass(frozen=True)
class PosedLens:
    """One view's pinhole and where it is: base_from_camera [4, 4]."""

    intrinsics: Intrinsics
    base_from_camera: Float64

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of its images."""
        return self.intrinsics.height_px, self.intrinsics.width_px


@dataclass(frozen=True)
class Reprojection:
    """A view drawn from another: color uint8 [H, W, 3], depth_m float32 [H, W], and `covered`
    bool [H, W]; both are 0 where nothing of the other view lies."""

    color: UInt8
    depth_m: Float32
    covered: Mask

    def filled(self) -> Reprojection:
        """Every pixel that is not covered takes after the nearest one that is; `covered` stays."""
        if not self.covered.any():
            return self
        rows, columns = distance_transform_edt(
            ~self.covered, return_distances=False, return_indices=True
        )
        return Reprojection(self.color[rows, columns], self.depth_m[rows, columns], self.covered)


def lenses_of(rollout: Rollout) -> tuple[PosedLens, ...]:
    """The views of a rollout, in its order."""
    pairs = zip(rollout.intrinsics, rollout.base_from_camera, strict=True)
    return tuple(PosedLens(intrinsics, pose) for intrinsics, pose in pairs)


def reproject(
    color: UInt8, depth_m: NDArray[np.floating], source: PosedLens, target: PosedLens
) -> Reprojection:
    """One RGB-D image [H, W, 3], [H, W] seen from `target`, with a depth buffer.

    Neighbouring pixels of one surface (`LARGEST_STEP`) span triangles, drawn perspectively right:
    a plane stays exactly that plane at any resolution, and no holes open between its pixels.
    Triangles that the target would see from behind are not drawn.

    Raises:
        ValueError: the images do not have the source's size.
    """
    if depth_m.shape != source.shape or color.shape != (*source.shape, 3):
        raise ValueError(f"images {color.shape}, {depth_m.shape}; the source is {source.shape}")
    points = _seen_from(depth_m, source, target).reshape(-1, 3)
    pixels = project(points, target.intrinsics.matrix)
    corners = _triangles(depth_m)
    corners = corners[(points[corners, 2] > NEAREST_M).all(axis=1)]
    corners = corners[_signed_area(pixels[corners]) > 1e-12]
    height, width = target.shape
    nearness = np.zeros(height * width)
    found = np.zeros((height * width, 3))
    # Over a plane 1 / z is affine in the image, depth and colour are not: shares of a corner are
    # weighted by it, and the depth buffer holds it, where 0 is nothing and the larger the nearer.
    inverse_z = 1.0 / points[:, 2]
    paint = color.reshape(-1, 3).astype(np.float64)
    for cells, chosen, shares in _fragments(pixels[corners], height, width):
        weights = shares * inverse_z[corners[chosen]]
        near = weights.sum(axis=1)
        # Ascending, so that of several at one pixel the nearest is written last and stays.
        order = np.argsort(near)
        order = order[near[order] > nearness[cells[order]]]
        cells, near = cells[order], near[order]
        mixed = np.einsum("nk,nkc->nc", weights[order], paint[corners[chosen[order]]])
        nearness[cells], found[cells] = near, mixed / near[:, None]
    covered = nearness > 0
    depth = np.divide(1.0, nearness, out=np.zeros_like(nearness), where=covered)
    return Reprojection(
        np.rint(found).astype(np.uint8).reshape(height, width, 3),
        depth.astype(np.float32).reshape(height, width),
        covered.reshape(height, width),
    )


def depth_errors_m(
    depth_m: NDArray[np.floating],
    source: PosedLens,
    other_m: NDArray[np.floating],
    other: PosedLens,
) -> Float64:
    """For each pixel [H, W] of `source`: its depth in the other view, less what that has there.

    Above zero the point lies behind the other's surface (hidden, or wrong), below it the other view
    sees through it. The other's depth is interpolated on one surface only; NaN where it has none,
    where the two disagree about being one surface, or where a point falls outside of its image.
    """
    points = _seen_from(depth_m, source, other)
    u, v = np.moveaxis(project(points, other.intrinsics.matrix), -1, 0)
    height, width = other.shape
    inside = (depth_m > 0) & (points[..., 2] > NEAREST_M)
    # NaN (behind the camera) is in no interval.
    inside &= (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    errors = np.full(depth_m.shape, np.nan)
    there = _interpolated(other_m, u[inside], v[inside])
    errors[inside] = points[inside][:, 2] - there
    return errors


@dataclass(frozen=True)
class CrossViewError:
    """How far the views of a rollout disagree about its surfaces, over all ordered pairs and times.

    `median_m` of the absolute error and `agreeing`, the share within `AGREEING_WITHIN_M`, of the
    points compared: those that the other view does not hide (`HIDDEN_BEYOND_M`). `seen_through` is
    the share of them that lie before the other view's surface by more than that, which no
    occlusion explains. `compared` counts points; all others are NaN where it is 0.
    """

    median_m: float
    agreeing: float
    seen_through: float
    compared: int


def cross_view_error(rollout: Rollout) -> CrossViewError:
    """Of an imagined or filmed rollout; asks for no truth.

    Pixelation alone gives a real scene an error too: compare with a film at the same size.
    """
    lenses = lenses_of(rollout)
    errors = [
        depth_errors_m(rollout.depth_m[i, t], lenses[i], rollout.depth_m[j, t], lenses[j])
        for i, j in permutations(range(len(lenses)), 2)
        for t in range(rollout.depth_m.shape[1])
    ]
    found = np.concatenate([error.ravel() for error in errors]) if errors else np.empty(0)
    found = found[np.isfinite(found)]
    # One side only: no occlusion explains a point before the other view's surface.
    found = found[found <= HIDDEN_BEYOND_M]
    if not len(found):
        return CrossViewError(np.nan, np.nan, np.nan, 0)
    return CrossViewError(
        float(np.median(np.abs(found))),
        float(np.mean(np.abs(found) <= AGREEING_WITHIN_M)),
        float(np.mean(found < -HIDDEN_BEYOND_M)),
        len(found),
    )


def _seen_from(depth_m: NDArray[np.floating], source: PosedLens, target: PosedLens) -> Float64:
    """Points [H, W, 3] of a depth image, in the target's frame."""
    target_from_source = invert(target.base_from_camera) @ source.base_from_camera
    points = back_project(depth_m, source.intrinsics.matrix)
    return transform_points(target_from_source, points)


def _triangles(depth_m: NDArray[np.floating]) -> NDArray[np.int64]:
    """Corners [N, 3] as flat pixel indices, clockwise in the image, each of one valid surface."""
    index = np.arange(depth_m.size).reshape(depth_m.shape)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    corners = np.concatenate([np.stack([a, b, c], axis=1), np.stack([b, d, c], axis=1)])
    depths = np.asarray(depth_m, np.float64).ravel()[corners]
    near, far = depths.min(axis=1), depths.max(axis=1)
    return corners[(near > 0) & (far <= near * (1 + LARGEST_STEP))]


def _signed_area(pixels: Float64) -> Float64:
    """Twice the area [N] of triangles [N, 3, 2], above 0 where clockwise in the image."""
    first, second = pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _fragments(
    pixels: Float64, height: int, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Float64]]:
    """(flat pixel [M], triangle [M], barycentric shares [M, 3]) of triangles [N, 3, 2], in batches.

    Batches go over the places in a triangle's bounding box: most triangles are a pixel or two
    wide, so that a few passes over all of them draw everything.
    """
    # Some slack here and below: a pixel on the edge of two triangles must not fall between them.
    low = np.maximum(np.ceil(pixels.min(axis=1) - 1e-6), 0).astype(np.int64)
    last = np.array([width - 1, height - 1])
    high = np.minimum(np.floor(pixels.max(axis=1) + 1e-6), last).astype(np.int64)
    spans = high - low + 1
    area = _signed_area(pixels)
    left = np.flatnonzero((spans > 0).all(axis=1))
    for down in range(int(spans[left, 1].max(initial=0))):
        for across in range(int(spans[left, 0].max(initial=0))):
            chosen = left[(spans[left, 0] > across) & (spans[left, 1] > down)]
            at = low[chosen] + (across, down)
            shares = _shares(pixels[chosen], at.astype(np.float64), area[chosen])
            inside = (shares >= -1e-6).all(axis=1)
            cells = at[inside, 1] * width + at[inside, 0]
            yield cells, chosen[inside], shares[inside]


def _shares(corners: Float64, at: Float64, area: Float64) -> Float64:
    """Barycentric coordinates [N, 3] of points [N, 2] in triangles [N, 3, 2]."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    parts = [np.stack(corner, axis=1) for corner in ((at, b, c), (a, at, c), (a, b, at))]
    return np.stack([_signed_area(part) / area for part in parts], axis=1)


def _interpolated(depth_m: NDArray[np.floating], u: Float64, v: Float64) -> Float64:
    """Depth [N] at pixels within the image; NaN beside a step or a pixel without depth.

    Bilinear in 1 / z, which is linear in the image over a plane.
    """
    height, width = depth_m.shape
    left = np.clip(np.floor(u).astype(np.int64), 0, max(width - 2, 0))
    top = np.clip(np.floor(v).astype(np.int64), 0, max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    rows, columns = np.stack([top, top, bottom, bottom]), np.stack([left, right, left, right])
    around = np.asarray(depth_m, np.float64)[rows, columns]
    near, far = around.min(axis=0), around.max(axis=0)
    whole = (near > 0) & (far <= near * (1 + LARGEST_STEP))
    du, dv = u - left, v - top
    shares = np.stack([(1 - du) * (1 - dv), du * (1 - dv), (1 - du) * dv, du * dv])
    inverse = np.divide(shares, around, out=np.zeros_like(around), where=whole).sum(axis=0)
    return np.divide(1.0, inverse, out=np.full_like(inverse, np.nan), where=whole)
