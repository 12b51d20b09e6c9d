"""What a request for imagination brings beside names, and what an answer is doubted by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mvista_interfaces.msg import Doubt as DoubtMessage
from mvista_interfaces.msg import PosedCamera

from mvista_core.errors import ObservationError, RigError
from mvista_core.records import CameraCalibration, Doubt, ImagineOptions
from mvista_ros.convert.geometry import pose_from_msg, pose_to_msg
from mvista_ros.convert.images import camera_info_to_msg, intrinsics_from_msg
from mvista_ros.convert.stamps import optical_frame

UNIT_TOLERANCE = 1e-3
"""Of a quaternion's length: a float32 one is well within."""


def posed_camera_to_msg(camera: CameraCalibration) -> PosedCamera:
    """A camera by its name, whole-image lens and pose."""
    return PosedCamera(
        name=camera.name,
        camera_info=camera_info_to_msg(camera.intrinsics, 0, optical_frame(camera.name)),
        base_from_camera=pose_to_msg(camera.base_from_camera),
    )


def posed_camera_from_msg(message: PosedCamera) -> CameraCalibration:
    """The camera of a message.

    Raises:
        RigError: an orientation that is no unit quaternion, a place that is no number, or a lens
            that no camera has (a negative focal length mirrors).
    """
    p, q = message.base_from_camera.position, message.base_from_camera.orientation
    length = float(np.linalg.norm([q.x, q.y, q.z, q.w]))
    if not abs(length - 1.0) <= UNIT_TOLERANCE:
        raise RigError(
            f"camera '{message.name}': base_from_camera is not rigid: its orientation's quaternion "
            f"has length {length:.4g}, 1 within {UNIT_TOLERANCE:g} is needed"
        )
    if not np.isfinite([p.x, p.y, p.z]).all():
        raise RigError(f"camera '{message.name}': stands at {[p.x, p.y, p.z]} m, no finite place")
    try:
        lens = intrinsics_from_msg(message.camera_info)
    except ObservationError as error:
        raise RigError(f"camera '{message.name}': {error}") from None
    return CameraCalibration(message.name, pose_from_msg(message.base_from_camera), lens)


def options_from_goal(goal: Any) -> ImagineOptions:
    """The options of an `Imagine` or `RunTask` goal.

    Raises:
        RigError: see `posed_camera_from_msg`. ConfigError: more rollouts than are imagined.
    """
    return ImagineOptions(
        tuple(posed_camera_from_msg(camera) for camera in goal.posed_cameras),
        bool(goal.allow_out_of_range),
        int(goal.view_mode) or None,
        int(goal.best_of),
    )


def options_to_goal(options: ImagineOptions) -> dict[str, Any]:
    """The same as fields of such a goal."""
    return {
        "posed_cameras": [posed_camera_to_msg(camera) for camera in options.cameras],
        "allow_out_of_range": options.allow_out_of_range,
        "view_mode": options.view_mode or 0,
        "best_of": options.best_of,
    }


def doubts_to_msg(doubts: Sequence[Doubt]) -> list[DoubtMessage]:
    """Doubts, in their order."""
    return [DoubtMessage(name=d.name, value=d.value, limit=d.limit) for d in doubts]


def doubts_from_msg(messages: Sequence[DoubtMessage]) -> tuple[Doubt, ...]:
    """The same back."""
    return tuple(Doubt(m.name, float(m.value), float(m.limit)) for m in messages)
