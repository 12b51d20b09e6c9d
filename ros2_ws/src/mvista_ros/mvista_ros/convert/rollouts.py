"""Imagined rollouts."""

from __future__ import annotations

import numpy as np
from mvista_interfaces.msg import ImaginedRollout

from mvista_core.errors import ObservationError
from mvista_core.records import Rollout
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.geometry import pose_from_msg, pose_to_msg
from mvista_ros.convert.images import (
    camera_info_to_msg,
    color_from_msg,
    color_to_msg,
    depth_from_msg,
    depth_to_msg,
    intrinsics_from_msg,
)
from mvista_ros.convert.joints import doubles
from mvista_ros.convert.stamps import header, optical_frame, stamp_to_ns


def rollout_to_msg(rollout: Rollout, base_frame: str) -> ImaginedRollout:
    """An imagined rollout: V*T images, view-major, stamped with the time they foretell."""
    message = ImaginedRollout(
        header=header(rollout.stamp_ns, base_frame),
        rollout_id=rollout.rollout_id,
        instruction=rollout.instruction,
        cameras=list(rollout.cameras),
        base_from_camera=[pose_to_msg(pose) for pose in rollout.base_from_camera],
        times_s=doubles(rollout.times_s),
    )
    stamps = [rollout.stamp_ns + seconds_to_ns(float(t)) for t in rollout.times_s]
    for view, camera in enumerate(rollout.cameras):
        frame = optical_frame(camera)
        info = camera_info_to_msg(rollout.intrinsics[view], rollout.stamp_ns, frame)
        message.camera_infos.append(info)
        for index, stamp_ns in enumerate(stamps):
            message.color.append(color_to_msg(rollout.color[view, index], stamp_ns, frame))
            message.depth.append(depth_to_msg(rollout.depth_m[view, index], stamp_ns, frame))
    return message


def rollout_from_msg(message: ImaginedRollout, seed: int = 0) -> Rollout:
    """A rollout; depth to the millimetre. The message carries no seed: the asker knows it.

    Raises:
        ObservationError: not V*T images of one size.
    """
    views, times = len(message.cameras), len(message.times_s)
    if len(message.color) != views * times or len(message.depth) != views * times:
        raise ObservationError(
            f"rollout {message.rollout_id}: {len(message.color)} colour and {len(message.depth)} "
            f"depth images, {views} views by {times} times need {views * times} each"
        )
    color = np.stack([color_from_msg(image) for image in message.color])
    depth_m = np.stack([depth_from_msg(image) for image in message.depth])
    return Rollout(
        message.rollout_id,
        message.instruction,
        tuple(message.cameras),
        tuple(intrinsics_from_msg(info) for info in message.camera_infos),
        np.stack([pose_from_msg(pose) for pose in message.base_from_camera]),
        color.reshape(views, times, *color.shape[1:]),
        depth_m.reshape(views, times, *depth_m.shape[1:]),
        np.array(message.times_s, dtype=np.float64),
        seed,
        stamp_to_ns(message.header.stamp),
    )
