"""Publishes a calibrated rig on /tf_static: base frame -> each camera's optical frame."""

from __future__ import annotations

from dataclasses import dataclass

from tf2_msgs.msg import TFMessage

from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import optical_frame, transform_to_msg
from mvista_ros.parameters import declare, parameter


@dataclass(frozen=True)
class RigPublisherParameters:
    """The one parameter."""

    rig_file: str = parameter("config/rigs/sim_cell.yaml", "The rig file: where the cameras are")


class RigPublisherNode(HouseNode):
    """Speaks once; late joiners get it from the transient-local history."""

    def __init__(self) -> None:
        super().__init__("rig_publisher")
        self._rig = load_rig(declare(self, RigPublisherParameters).rig_file)
        # /tf_static is absolute by convention (REP-105 tools look for it there).
        self._publisher = self.create_publisher(TFMessage, "/tf_static", qos.STATIC)
        stamp_ns = self.system_clock.now_ns()
        transforms = [
            transform_to_msg(
                camera.base_from_camera, self._rig.base_frame, optical_frame(camera.name), stamp_ns
            )
            for camera in self._rig.cameras
        ]
        self._publisher.publish(TFMessage(transforms=transforms))

    def health(self) -> Health:
        """The rig's name and the day it was calibrated."""
        message = f"rig {self._rig.name} of {self._rig.date}: {', '.join(self._rig.names)}"
        return Health(message=message)


def main() -> None:
    """Entry point of the `rig_publisher_node` executable."""
    run_node(RigPublisherNode)
