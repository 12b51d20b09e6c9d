"""Imagined rollouts, compressed."""

from __future__ import annotations

import array

import numpy as np
from mvista_interfaces.msg import ImaginedRollout
from sensor_msgs.msg import CompressedImage

from mvista_core.errors import EpisodeError, ObservationError
from mvista_core.records import MM_PER_M, Rollout
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.depth_png import depth_from_png, depth_to_png
from mvista_ros.convert.geometry import pose_from_msg, pose_to_msg
from mvista_ros.convert.images import camera_info_to_msg, depth_to_mm, intrinsics_from_msg
from mvista_ros.convert.joints import doubles
from mvista_ros.convert.jpeg import decode_jpeg, encode_jpeg
from mvista_ros.convert.stamps import header, optical_frame, stamp_to_ns

QUALITY = 95
"""Of a rollout's colour as libjpeg means it: a tenth of the bytes, 40 dB and more."""


def rollout_to_msg(rollout: Rollout, base_frame: str) -> ImaginedRollout:
    """An imagined rollout: V*T images, view-major, stamped with the time they foretell.

    It may go to another machine: colour as JPEG, depth without loss, to the millimetre.
    """
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
            color = encode_jpeg(rollout.color[view, index], QUALITY)
            depth = depth_to_png(depth_to_mm(rollout.depth_m[view, index]))
            message.color.append(_compressed(color, "jpeg", stamp_ns, frame))
            message.depth.append(_compressed(depth, "png", stamp_ns, frame))
    return message


def rollout_from_msg(message: ImaginedRollout, seed: int = 0) -> Rollout:
    """A rollout; depth to the millimetre. The message carries no seed: the asker knows it.

    Raises:
        ObservationError: not V*T images of one size, or one that is damaged.
    """
    views, times = len(message.cameras), len(message.times_s)
    if len(message.color) != views * times or len(message.depth) != views * times:
        raise ObservationError(
            f"rollout {message.rollout_id}: {len(message.color)} colour and {len(message.depth)} "
            f"depth images, {views} views by {times} times need {views * times} each"
        )
    try:
        color = np.stack([decode_jpeg(bytes(image.data)) for image in message.color])
        depth_mm = np.stack([depth_from_png(bytes(image.data)) for image in message.depth])
    except (EpisodeError, ValueError) as error:
        raise ObservationError(f"rollout {message.rollout_id}: {error}") from None
    depth_m = depth_mm.astype(np.float32) / np.float32(MM_PER_M)
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


def _compressed(data: bytes, encoding: str, stamp_ns: int, frame_id: str) -> CompressedImage:
    return CompressedImage(
        header=header(stamp_ns, frame_id), format=encoding, data=array.array("B", data)
    )
