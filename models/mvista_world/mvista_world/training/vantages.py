"""Which views of recorded episodes are what others were brought to (`mvista_core.vantage`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvista_core.camera_range import TRAINED
from mvista_core.records import Float64
from mvista_core.vantage import Vantage
from mvista_world.cameras import look_at_point

SAME_M = 1e-3
"""Told poses of a camera and its vantage have one error: only rounding tells them apart."""


def vantages(base_from_camera: Float64, vantage: Vantage | None) -> NDArray[np.int64]:
    """Of cameras [B, V, 4, 4], which camera of its sample each is the vantage of: [B, V], -1 where
    of none."""
    found = np.full(base_from_camera.shape[:2], -1, np.int64)
    if vantage is None:
        return found
    views = base_from_camera.shape[1]
    for sample, poses in enumerate(base_from_camera):
        for camera in range(views):
            place = vantage.pose(poses[camera], TRAINED)
            away = np.abs(poses - place).max(axis=(1, 2))
            away[camera] = np.inf
            nearest = int(away.argmin())
            if away[nearest] < SAME_M:
                found[sample, nearest] = camera
    return found


def sources_of(stands_for: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The view [B] that the first of each sample's `order` [B, count] is drawn from: the camera
    that it stands for, or itself."""
    first = order[:, 0]
    camera = stands_for[np.arange(len(order)), first]
    return np.where(camera < 0, first, camera)


def look_at_points(base_from_camera: Float64, stands_for: NDArray[np.int64]) -> Float64:
    """Eq. 6 [B, 3] over the cameras [B, V, 4, 4] that stand for no other: a planner's rig has no
    vantage. Where that leaves one of several, the workspace's centre, as a planner takes it."""
    points = []
    for poses, camera in zip(base_from_camera, stands_for, strict=True):
        own = poses[camera < 0]
        alone = len(own) == 1 < len(poses)
        points.append(np.array(TRAINED.centre_m) if alone else look_at_point(own))
    return np.stack(points)
