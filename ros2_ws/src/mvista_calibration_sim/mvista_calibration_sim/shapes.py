"""Table and objects as analytic surfaces, and the exact depth that a camera sees of them.

For simulated calibration sessions: no engine, no images, and fast because a shape is only
intersected with the pixels of the box its outline projects to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mvista_core.geometry import exp_so3, invert, pose_from, transform_points
from mvista_core.records import Float64

FAR_M = 1e6


class Solid(Protocol):
    """A convex surface: where it lies, how far it reaches, and where rays first meet it."""

    @property
    def base_from_shape(self) -> Float64:
        """Its pose [4, 4]."""
        ...

    @property
    def half_m(self) -> Float64:
        """Half the sides [3] of its bounding box, in its own frame."""
        ...

    def entry(self, origins: Float64, directions: Float64) -> Float64:
        """Ray parameter of the first hit [N] of rays [3], [N, 3] in its frame; FAR_M: none."""
        ...


@dataclass(frozen=True)
class Box:
    """A cuboid; a flat one is a table or a board."""

    base_from_shape: Float64
    half_m: Float64

    def entry(self, origins: Float64, directions: Float64) -> Float64:
        with np.errstate(divide="ignore", invalid="ignore"):
            a = (-self.half_m - origins) / directions
            b = (self.half_m - origins) / directions
        near = np.minimum(a, b).max(axis=1)
        far = np.maximum(a, b).min(axis=1)
        return np.where((near <= far) & (near > 0), near, FAR_M)


@dataclass(frozen=True)
class Cylinder:
    """Upright (z its axis), closed on both ends; half_m is (radius, radius, half its height)."""

    base_from_shape: Float64
    half_m: Float64

    def entry(self, origins: Float64, directions: Float64) -> Float64:
        radius, half = float(self.half_m[0]), float(self.half_m[2])
        a = (directions[:, :2] ** 2).sum(axis=1)
        b = directions[:, :2] @ origins[:2]
        c = float(origins[:2] @ origins[:2]) - radius**2
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            side_in, side_out = (-b - root) / a, (-b + root) / a
            cap_a = (-half - origins[2]) / directions[:, 2]
            cap_b = (half - origins[2]) / directions[:, 2]
        near = np.maximum(side_in, np.minimum(cap_a, cap_b))
        far = np.minimum(side_out, np.maximum(cap_a, cap_b))
        hit = (b * b - a * c > 0) & (near <= far) & (near > 0)
        return np.where(hit, near, FAR_M)


@dataclass(frozen=True)
class PixelRays:
    """A camera that casts: `base_from_camera` [4, 4] and its pixels' rays [H, W, 3] with z = 1."""

    base_from_camera: Float64
    rays: Float64
    k: Float64
    """Pinhole matrix of the rays' grid, to find a shape's window (distortion is padded for)."""


def cast(view: PixelRays, shapes: tuple[Solid, ...]) -> Float64:
    """Exact depth along the optical axis [H, W], m; FAR_M where nothing is hit."""
    depth = np.full(view.rays.shape[:2], FAR_M)
    for shape in shapes:
        cast_onto(depth, view, shape)
    return depth


def cast_onto(depth: Float64, view: PixelRays, shape: Solid) -> tuple[slice, slice] | None:
    """Put one shape in front of `depth` (changed in place); the window touched, or None."""
    window = _window(view, shape)
    if window is None:
        return None
    shape_from_camera = invert(shape.base_from_shape) @ view.base_from_camera
    rays = view.rays[window]
    directions = rays.reshape(-1, 3) @ shape_from_camera[:3, :3].T
    hits = shape.entry(shape_from_camera[:3, 3], directions).reshape(rays.shape[:2])
    np.minimum(depth[window], hits, out=depth[window])
    return window


def _window(view: PixelRays, shape: Solid) -> tuple[slice, slice] | None:
    """Pixels that a shape's bounding box can cover, with room for lens distortion."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = transform_points(
        invert(view.base_from_camera) @ shape.base_from_shape, signs * shape.half_m
    )
    height, width = view.rays.shape[:2]
    if corners[:, 2].max() <= 0.05:
        return None
    if corners[:, 2].min() <= 0.05:
        return slice(0, height), slice(0, width)
    pixels = corners[:, :2] / corners[:, 2:] * view.k[[0, 1], [0, 1]] + view.k[:2, 2]
    centre = np.array([width, height]) / 2
    pad = 2.0 + 0.04 * np.abs(pixels - centre).max(axis=0)
    low = np.floor(pixels.min(axis=0) - pad).astype(int).clip(0, [width, height])
    high = np.ceil(pixels.max(axis=0) + pad).astype(int).clip(0, [width, height])
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def table_and_objects(rng: np.random.Generator, centre_m: Float64) -> tuple[Solid, ...]:
    """A table of 1.6 m x 1.6 m (its top at z = 0) with five to eight boxes and cylinders on it.

    They stand in a workspace of 0.6 m x 0.6 m round `centre_m` (x, y), 4 to 20 cm tall.
    """
    table_half = np.array([0.8, 0.8, 0.02])
    table_at = np.array([centre_m[0], centre_m[1], -table_half[2]])
    shapes: list[Solid] = [Box(pose_from(np.eye(3), table_at), table_half)]
    for _ in range(int(rng.integers(5, 9))):
        half = np.array([rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.1)])
        where = np.array([*(centre_m[:2] + rng.uniform(-0.25, 0.25, 2)), half[2]])
        pose = pose_from(exp_so3(np.array([0.0, 0.0, rng.uniform(-np.pi, np.pi)])), where)
        if rng.random() < 0.5:
            shapes.append(Box(pose, half))
        else:
            shapes.append(Cylinder(pose, np.array([half[0], half[0], half[2]])))
    return tuple(shapes)
