"""Poses and transforms."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3

from mvista_core.geometry import Array, pose_from, quaternion_xyzw, rotation_from_quaternion
from mvista_ros.convert.stamps import header


def pose_to_msg(base_from_frame: Array) -> Pose:
    """A 4x4 pose."""
    x, y, z = (float(v) for v in base_from_frame[:3, 3])
    return Pose(position=Point(x=x, y=y, z=z), orientation=_quaternion(base_from_frame))


def pose_from_msg(message: Pose) -> Array:
    """4x4 `base_from_frame` of a pose."""
    p, q = message.position, message.orientation
    rotation = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w]))
    return pose_from(rotation, np.array([p.x, p.y, p.z]))


def transform_to_msg(
    parent_from_child: Array, parent: str, child: str, stamp_ns: int
) -> TransformStamped:
    """`parent_from_child` as tf writes it: maps the child's points into the parent."""
    x, y, z = (float(v) for v in parent_from_child[:3, 3])
    return TransformStamped(
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=_quaternion(parent_from_child)
        ),
    )


def transform_from_msg(message: TransformStamped) -> Array:
    """4x4 `parent_from_child` of a transform."""
    t, q = message.transform.translation, message.transform.rotation
    rotation = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w]))
    return pose_from(rotation, np.array([t.x, t.y, t.z]))


def _quaternion(pose: Array) -> Quaternion:
    x, y, z, w = (float(v) for v in quaternion_xyzw(pose[:3, :3]))
    return Quaternion(x=x, y=y, z=z, w=w)
