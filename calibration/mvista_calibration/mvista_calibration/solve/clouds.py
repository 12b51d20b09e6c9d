"""The static scene's depth as clouds: bias corrected, flying pixels gone, cropped, with normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import open3d
from numpy.typing import NDArray

from mvista_calibration.records import DepthBias, DepthImage, RigEstimate, Session
from mvista_core.errors import CalibrationError
from mvista_core.geometry import transform_points
from mvista_core.records import Float32, Float64, Intrinsics

VOXEL_M = 0.006
NORMAL_RADIUS_M = 0.025
JUMP_M = 0.03
"""Neighbours that differ by more in depth hide an edge: a ToF pixel there lies on neither side."""
CROP_RADIUS_M = 0.6
"""Around the middle of the boards: what every camera may see."""
LEAST_POINTS = 200
LEAST_DEPTH_M, LARGEST_DEPTH_M = 0.15, 5.0


@dataclass(frozen=True)
class SceneCloud:
    """Points and unit normals [N, 3] of one camera in its own optical frame, m.

    Normals look at the camera; `rays` [N, 3] is how a point moves per metre of depth offset.
    """

    camera: str
    points: Float64
    normals: Float64

    @property
    def rays(self) -> Float64:
        """Derivative of the points by a depth offset, [N, 3]."""
        return np.asarray(self.points / self.points[:, 2:])


def scene_clouds(
    session: Session,
    rig: RigEstimate,
    bias: Sequence[DepthBias],
    centre_m: NDArray[np.floating] | None = None,
    radius_m: float = CROP_RADIUS_M,
) -> tuple[SceneCloud, ...]:
    """One cloud per camera, in session order.

    Cropped to `radius_m` around `centre_m` (reference frame; None: all). `bias` corrects the
    cameras that it names.

    Raises:
        CalibrationError: a camera without a scene image, one in the wrong unit, or too few points.
    """
    known = {entry.camera: entry for entry in bias}
    clouds = []
    for camera in session.cameras:
        image = _scene_image(session.scene, camera.name)
        depth_m = np.where(image.depth_m < LARGEST_DEPTH_M, image.depth_m, 0.0).astype(np.float32)
        if camera.name in known:
            depth_m = known[camera.name].correct(depth_m)
        points = without_flying(points_of(depth_m, camera.depth_intrinsics))
        if centre_m is not None:
            away = transform_points(rig.pose(camera.name), points) - centre_m
            points = points[(away**2).sum(axis=1) < radius_m**2]
        clouds.append(_evened(camera.name, points))
    return tuple(clouds)


def points_of(depth_m: Float32, intrinsics: Intrinsics) -> Float64:
    """Points [H, W, 3] m in the optical frame, lens distortion removed; NaN where invalid."""
    height, width = depth_m.shape
    if (height, width) != (intrinsics.height_px, intrinsics.width_px):
        raise CalibrationError(
            f"depth is {width}x{height}, its intrinsics say "
            f"{intrinsics.width_px}x{intrinsics.height_px}; give those of depth's resolution"
        )
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
    lens = np.array(intrinsics.distortion) if intrinsics.distortion else None
    flat = cv2.undistortPoints(pixels, intrinsics.matrix, lens).reshape(height, width, 2)
    z = np.where(depth_m > LEAST_DEPTH_M, depth_m, np.nan)[..., None]
    return np.concatenate([flat * z, z], axis=-1)


def without_flying(points: Float64) -> Float64:
    """Valid points [N, 3] whose eight neighbours lie within `JUMP_M` in depth."""
    z = np.nan_to_num(points[..., 2], nan=0.0).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    # NaN is 0 here: the rim of a hole is a jump too, and goes.
    step = cv2.dilate(z, kernel) - cv2.erode(z, kernel)
    return np.asarray(points[(z > 0) & (step < JUMP_M)])


def middle_of(reference_from_board: Float64) -> Float64:
    """Middle [3] of the boards' origins, reference frame: where the cameras look."""
    return np.asarray(np.median(reference_from_board[:, :3, 3], axis=0))


def _scene_image(scene: Sequence[DepthImage], camera: str) -> DepthImage:
    for image in scene:
        if image.camera == camera:
            valid = image.depth_m[image.depth_m > 0]
            if len(valid) < LEAST_POINTS:
                raise CalibrationError(
                    f"{camera}: the scene's depth has {len(valid)} valid pixels, at least "
                    f"{LEAST_POINTS}; is the depth stream on?"
                )
            if not LEAST_DEPTH_M < float(np.median(valid)) < 2 * LARGEST_DEPTH_M:
                raise CalibrationError(
                    f"{camera}: the scene's median depth is {np.median(valid):.4g} m, allowed "
                    f"{LEAST_DEPTH_M} to {2 * LARGEST_DEPTH_M}; is it in millimetres?"
                )
            return image
    raise CalibrationError(
        f"{camera}: no depth image of the scene; take one per camera with the board gone"
    )


def _evened(camera: str, points: Float64) -> SceneCloud:
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud = cloud.voxel_down_sample(VOXEL_M)
    if len(cloud.points) < LEAST_POINTS:
        raise CalibrationError(
            f"{camera}: {len(cloud.points)} points are left in the crop, at least {LEAST_POINTS}; "
            "does it look at the place where the board was?"
        )
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(NORMAL_RADIUS_M, 40))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return SceneCloud(camera, np.asarray(cloud.points).copy(), np.asarray(cloud.normals).copy())
