"""Publishes a calibrated rig on /tf_static: base frame -> each camera's optical frame.

This node alone says where cameras are. Another rig is shown by setting the parameter `rig_file`, as
calibration does when one has passed: a second publisher of the same frames would leave late joiners
with the transforms of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage

from mvista_core.errors import ConfigError, MvistaError, RigError
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import optical_frame, transform_to_msg
from mvista_ros.parameters import declare, parameter


@dataclass(frozen=True)
class RigPublisherParameters:
    """The one parameter."""

    rig_file: str = parameter(
        "",
        "The rig file: where the cameras are; empty: nothing is shown until one is set",
        live=True,
    )


class RigPublisherNode(HouseNode):
    """Speaks once for each rig; late joiners get the newest from the transient-local history."""

    def __init__(self) -> None:
        super().__init__("rig_publisher")
        # /tf_static is absolute by convention (REP-105 tools look for it there).
        self._publisher = self.create_publisher(TFMessage, "/tf_static", qos.STATIC)
        # Not by `changed`: a file that is set again holds another rig, and is not another value.
        file = declare(self, RigPublisherParameters, lambda record: None).rig_file
        self._shown = self._asked = load_rig(file) if file else None
        self._show()
        self.add_on_set_parameters_callback(self._check)
        self.add_post_set_parameters_callback(self._follow)

    def health(self) -> Health:
        """The rig's name and the day it was calibrated."""
        rig = self._shown
        if rig is None:
            return Health(message="no rig yet: rig_file is empty")
        return Health(message=f"rig {rig.name} of {rig.date}: {', '.join(rig.names)}")

    def _check(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        for item in parameters:
            if item.name == "rig_file":
                try:
                    self._asked = self._usable(str(item.value))
                except MvistaError as error:
                    reason = f"[{error.code}] {error}; the rig shown stays"
                    return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _usable(self, file: str) -> RigCalibration:
        if not file:
            raise ConfigError("rig_file is empty; name a rig file, such as config/rigs/<rig>.yaml")
        rig = load_rig(file)
        if self._shown is not None and rig.base_frame != self._shown.base_frame:
            raise RigError(
                f"rig '{rig.name}' is measured from {rig.base_frame}, the one shown from "
                f"{self._shown.base_frame}: its cameras would be a tree of frames of their own; "
                f"calibrate with base_frame {self._shown.base_frame}"
            )
        return rig

    def _follow(self, parameters: list[Parameter[Any]]) -> None:
        if any(item.name == "rig_file" for item in parameters):
            self._shown = self._asked
            self._show()

    def _show(self) -> None:
        if self._shown is None:
            return
        rig, stamp_ns = self._shown, self.system_clock.now_ns()
        transforms = [
            transform_to_msg(
                camera.base_from_camera, rig.base_frame, optical_frame(camera.name), stamp_ns
            )
            for camera in rig.cameras
        ]
        self._publisher.publish(TFMessage(transforms=transforms))


def main() -> None:
    """Entry point of the `rig_publisher_node` executable."""
    run_node(RigPublisherNode)
