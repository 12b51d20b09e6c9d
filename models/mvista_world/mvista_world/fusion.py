"""Fusion: an RGB-D rollout of several views becomes a point-cloud sequence in the base frame.

Back-projection with the calibrated cameras (Sec. 4.4), union over views, crop to the workspace,
optional voxel down-sampling. Plain NumPy: at the sizes of a rollout it is a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ConfigError, ObservationError
from mvista_core.geometry import is_pose
from mvista_core.records import Float32, Intrinsics, Rollout, UInt8


@dataclass(frozen=True)
class FusionConfig:
    """Workspace box in the base frame (metres) and voxel edge (0 keeps every point).

    The default box holds the table top in front of the arm and everything 0.6 m above it.
    """

    lower_m: tuple[float, float, float] = (0.0, -0.5, -0.05)
    upper_m: tuple[float, float, float] = (0.8, 0.5, 0.6)
    voxel_m: float = 0.0

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.lower_m, self.upper_m, strict=True)):
            raise ConfigError(f"workspace box is empty: lower {self.lower_m}, upper {self.upper_m}")
        if not self.voxel_m >= 0.0:
            raise ConfigError(f"voxel_m is {self.voxel_m}; allowed: 0 (off) or a positive edge")


@dataclass(frozen=True)
class PointCloud:
    """points_m float32 [N, 3] in the base frame, color uint8 [N, 3] RGB."""

    points_m: Float32
    color: UInt8

    def __len__(self) -> int:
        return len(self.points_m)


def fuse(rollout: Rollout, config: FusionConfig) -> tuple[PointCloud, ...]:
    """One cloud per frame time, all views together, cropped to the box, in view-major order.

    Raises:
        ObservationError: colour, depth, cameras and poses of the rollout do not fit together.
    """
    _check(rollout)
    points_m = back_project_views(rollout.depth_m, rollout.intrinsics, rollout.base_from_camera)
    inside = (rollout.depth_m > 0) & in_box(points_m, config)
    clouds = []
    for t in range(points_m.shape[1]):
        chosen = inside[:, t]
        cloud = PointCloud(points_m[:, t][chosen], rollout.color[:, t][chosen])
        clouds.append(voxel_down_sample(cloud, config.voxel_m) if config.voxel_m > 0 else cloud)
    return tuple(clouds)


def back_project_views(
    depth_m: NDArray[np.floating],
    intrinsics: tuple[Intrinsics, ...],
    base_from_camera: NDArray[np.floating],
) -> Float32:
    """Points float32 [V, T, H, W, 3] in the base frame of depth [V, T, H, W] (z, metres).

    Same convention as `mvista_core.geometry.back_project`. Where depth is 0 (invalid) the point
    is the camera centre and means nothing: mask with `depth_m > 0`.
    """
    views, _, height, width = depth_m.shape
    points = np.empty((*depth_m.shape, 3), dtype=np.float32)
    for v in range(views):
        rays = _base_rays(intrinsics[v], base_from_camera[v], height, width)
        np.multiply(depth_m[v][..., None], rays, out=points[v], casting="same_kind")
        points[v] += base_from_camera[v, :3, 3].astype(np.float32)
    return points


def in_box(points_m: NDArray[np.floating], config: FusionConfig) -> NDArray[np.bool_]:
    """Mask [...] of points [..., 3] inside the workspace box (bounds included)."""
    inside = np.ones(points_m.shape[:-1], dtype=bool)
    for axis in range(3):
        coordinate = points_m[..., axis]
        inside &= coordinate >= np.float32(config.lower_m[axis])
        inside &= coordinate <= np.float32(config.upper_m[axis])
    return inside


def voxel_down_sample(cloud: PointCloud, voxel_m: float) -> PointCloud:
    """Mean point and mean colour of every occupied voxel (grid through the base origin)."""
    if len(cloud) == 0:
        return cloud
    # One integer per occupied cell, so that a single sort groups the points.
    cells = np.floor(cloud.points_m / np.float32(voxel_m)).astype(np.int64)
    cells -= cells.min(axis=0)
    spans = cells.max(axis=0) + 1
    keys = (cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2]
    _, voxel, counts = np.unique(keys, return_inverse=True, return_counts=True)

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        sums = [np.bincount(voxel, weights=values[:, axis]) for axis in range(3)]
        return np.stack(sums, axis=1) / counts[:, None]

    points_m = mean(cloud.points_m).astype(np.float32)
    color = np.rint(mean(cloud.color.astype(np.float64))).astype(np.uint8)
    return PointCloud(points_m, color)


def _base_rays(
    intrinsics: Intrinsics, base_from_camera: NDArray[np.floating], height: int, width: int
) -> Float32:
    """Displacement in the base frame per metre of depth, [H, W, 3]."""
    # Pinhole rays at z = 1 (Sec. 4.4 back-projects with the calibrated cameras), turned once per
    # view: a frame then costs one product and one sum.
    u = (np.arange(width) - intrinsics.cx_px) / intrinsics.fx_px
    v = (np.arange(height) - intrinsics.cy_px) / intrinsics.fy_px
    right, down, forward = base_from_camera[:3, :3].T
    rays = u[None, :, None] * right + v[:, None, None] * down + forward
    return np.asarray(rays, dtype=np.float32)


def _check(rollout: Rollout) -> None:
    shape = rollout.depth_m.shape
    if len(shape) != 4 or rollout.color.shape != (*shape, 3):
        raise ObservationError(
            f"rollout '{rollout.rollout_id}': depth {shape} and colour {rollout.color.shape}; "
            "wanted [V, T, H, W] and [V, T, H, W, 3]"
        )
    views, _, height, width = shape
    if not (len(rollout.intrinsics) == len(rollout.base_from_camera) == views):
        raise ObservationError(
            f"rollout '{rollout.rollout_id}': {views} views, {len(rollout.intrinsics)} intrinsics, "
            f"{len(rollout.base_from_camera)} poses; one of each per view is wanted"
        )
    for camera, intrinsics in zip(rollout.cameras, rollout.intrinsics, strict=False):
        if (intrinsics.height_px, intrinsics.width_px) != (height, width):
            raise ObservationError(
                f"rollout '{rollout.rollout_id}', {camera}: images are {width}x{height}, "
                f"its intrinsics say {intrinsics.width_px}x{intrinsics.height_px}"
            )
    if not all(is_pose(pose) for pose in rollout.base_from_camera):
        raise ObservationError(f"rollout '{rollout.rollout_id}': a camera pose is not rigid")
