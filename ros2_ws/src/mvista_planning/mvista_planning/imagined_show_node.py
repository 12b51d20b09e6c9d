"""Shows the newest rollout, over and over: its cloud, its images, and the frames of its cameras."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from mvista_interfaces.msg import ImaginedRollout
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from mvista_core.records import RigCalibration, Rollout
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.convert import (
    cloud_to_msg,
    color_to_msg,
    optical_frame,
    transform_to_msg,
)
from mvista_ros.convert.rollouts import rollout_to_msg
from mvista_world.fusion import FusionConfig, PointCloud, fuse


class ImaginedShow:
    """Publishers of a planning node; cameras that are not the rig's have theirs while shown.

    A rollout is decoded and published once somebody is there to see it: at once, or as soon as a
    subscriber comes.
    """

    def __init__(self, node: HouseNode, rig: RigCalibration, voxel_m: float) -> None:
        self._node = node
        self._rig = rig
        self._fusion = FusionConfig(voxel_m=voxel_m)
        self._rollouts = node.create_publisher(ImaginedRollout, "imagined/rollout", qos.STATIC)
        self._clouds = node.create_publisher(PointCloud2, "imagined/points", qos.STATIC)
        # /tf is absolute by convention, as /tf_static is, where the rig publisher tells the rig's.
        self._frames = node.create_publisher(TFMessage, "/tf", qos.FRAMES)
        self._images = {name: self._image_publisher(name) for name in rig.names}
        # Shown by whoever imagines, and by the timer that plays.
        self._showing = threading.Lock()
        self._waiting: Rollout | None = None
        self._shown: Rollout | None = None
        self._moments: Iterator[tuple[int, PointCloud]] = iter(())

    def show(self, rollout: Rollout) -> None:
        """From now on this one, if anybody looks."""
        with self._showing:
            self._shown, self._waiting = None, rollout
            # At once: somebody may wait for the images of a camera that the rig has not.
            for name in set(self._images) - set(self._rig.names) - set(rollout.cameras):
                self._node.destroy_publisher(self._images.pop(name))
            for name in set(rollout.cameras) - set(self._images):
                self._images[name] = self._image_publisher(name)
            self._begin_if_watched()

    def _begin_if_watched(self) -> None:
        rollout = self._waiting
        if rollout is not None and self._watched:
            self._waiting = None
            self._begin(rollout)

    def _begin(self, rollout: Rollout) -> None:
        self._rollouts.publish(rollout_to_msg(rollout, self._rig.base_frame))
        moments = itertools.cycle(enumerate(fuse(rollout, self._fusion)))
        self._shown, self._moments = rollout, moments

    @property
    def _watched(self) -> bool:
        publishers = (self._rollouts, self._clouds, *self._images.values())
        return any(publisher.get_subscription_count() for publisher in publishers)

    def _image_publisher(self, name: str) -> Publisher[Image]:
        topic = f"imagined/{name}/color/image_raw"
        return self._node.create_publisher(Image, topic, qos.SENSOR_OUT)

    def play(self) -> None:
        """Publish the next moment, again and again from its beginning."""
        with self._showing:
            self._begin_if_watched()
            moment = next(self._moments, None)
            if moment is not None and self._shown is not None:
                self._play(self._shown, *moment)

    def _play(self, rollout: Rollout, index: int, cloud: PointCloud) -> None:
        stamp_ns = rollout.stamp_ns + seconds_to_ns(float(rollout.times_s[index]))
        points = cloud_to_msg(cloud.points_m, cloud.color, stamp_ns, self._rig.base_frame)
        self._clouds.publish(points)
        for view, name in enumerate(rollout.cameras):
            image = color_to_msg(rollout.color[view, index], stamp_ns, optical_frame(name))
            self._images[name].publish(image)
        self._tell_frames(rollout)

    def _tell_frames(self, rollout: Rollout) -> None:
        """Where the cameras stand that the rig has not, as of now: old frames are forgotten."""
        now_ns = self._node.system_clock.now_ns()
        transforms = [
            transform_to_msg(pose, self._rig.base_frame, optical_frame(name), now_ns)
            for name, pose in zip(rollout.cameras, rollout.base_from_camera, strict=True)
            if name not in self._rig.names
        ]
        if transforms:
            self._frames.publish(TFMessage(transforms=transforms))
