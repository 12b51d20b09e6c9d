"""The paper's refinement: point-to-plane ICP in sequence, by Open3D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import open3d

from mvista_calibration.records import RigEstimate
from mvista_calibration.solve.clouds import SceneCloud
from mvista_calibration.solve.overlap import GATES_M
from mvista_core.records import Float64


def in_sequence(clouds: Sequence[SceneCloud], rig: RigEstimate) -> Float64:
    """The paper: the reference fixed, each other camera onto what is already in place."""
    poses = rig.reference_from_camera.copy()
    merged = _cloud(clouds[0].points, clouds[0].normals)
    for k in range(1, len(clouds)):
        source = _cloud(clouds[k].points, clouds[k].normals)
        poses[k] = _rigid(_icp(source, merged, poses[k]))
        # What is in place is not moved again: an error of the first is handed on to the rest.
        merged += _cloud(clouds[k].points, clouds[k].normals).transform(poses[k])
    return np.asarray(poses)


def _cloud(points: Float64, normals: Float64) -> open3d.geometry.PointCloud:
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.normals = open3d.utility.Vector3dVector(normals)
    return cloud


def _icp(
    source: open3d.geometry.PointCloud, target: open3d.geometry.PointCloud, start: Float64
) -> Float64:
    """Point-to-plane ICP from coarse to fine."""
    registration = open3d.pipelines.registration
    pose = start
    for gate_m in GATES_M:
        estimation = registration.TransformationEstimationPointToPlane(
            registration.TukeyLoss(k=gate_m)
        )
        pose = registration.registration_icp(
            source, target, gate_m, pose, estimation
        ).transformation
    return np.asarray(pose)


def _rigid(pose: Float64) -> Float64:
    """The nearest pose: ICP's products drift off SE(3) in the last digits."""
    u, _, vt = np.linalg.svd(pose[:3, :3])
    fixed = np.eye(4)
    fixed[:3, :3], fixed[:3, 3] = u @ vt, pose[:3, 3]
    return fixed
