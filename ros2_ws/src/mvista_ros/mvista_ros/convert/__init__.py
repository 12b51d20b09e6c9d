"""Messages to records and back: the only place that knows both."""

from __future__ import annotations

from mvista_ros.convert.clouds import (
    cloud_from_msg,
    cloud_to_msg,
)
from mvista_ros.convert.geometry import (
    pose_from_msg,
    pose_to_msg,
    transform_from_msg,
    transform_to_msg,
)
from mvista_ros.convert.images import (
    camera_info_to_msg,
    check_color_msg,
    check_depth_msg,
    color_from_msg,
    color_to_msg,
    depth_from_msg,
    depth_to_mm,
    depth_to_msg,
    frame_from_msgs,
    intrinsics_from_msg,
)
from mvista_ros.convert.joints import (
    joint_command_from_msg,
    joint_command_to_msg,
    joint_state_from_msg,
    joint_state_to_msg,
    trajectory_from_msg,
    trajectory_to_msg,
)
from mvista_ros.convert.outcomes import (
    error_from_outcome,
    error_to_values,
    outcome_from_error,
    outcome_from_status,
    outcome_ok,
    raise_outcome,
)
from mvista_ros.convert.requests import (
    doubts_from_msg,
    doubts_to_msg,
    options_from_goal,
    options_to_goal,
    posed_camera_from_msg,
    posed_camera_to_msg,
)
from mvista_ros.convert.stamps import (
    depth_optical_frame,
    header,
    ns_to_duration,
    ns_to_stamp,
    optical_frame,
    stamp_to_ns,
)

__all__ = [
    "camera_info_to_msg",
    "check_color_msg",
    "check_depth_msg",
    "cloud_from_msg",
    "cloud_to_msg",
    "color_from_msg",
    "color_to_msg",
    "depth_from_msg",
    "depth_optical_frame",
    "depth_to_mm",
    "depth_to_msg",
    "doubts_from_msg",
    "doubts_to_msg",
    "error_from_outcome",
    "error_to_values",
    "frame_from_msgs",
    "header",
    "intrinsics_from_msg",
    "joint_command_from_msg",
    "joint_command_to_msg",
    "joint_state_from_msg",
    "joint_state_to_msg",
    "ns_to_duration",
    "ns_to_stamp",
    "optical_frame",
    "options_from_goal",
    "options_to_goal",
    "outcome_from_error",
    "outcome_from_status",
    "outcome_ok",
    "pose_from_msg",
    "pose_to_msg",
    "posed_camera_from_msg",
    "posed_camera_to_msg",
    "raise_outcome",
    "stamp_to_ns",
    "trajectory_from_msg",
    "trajectory_to_msg",
    "transform_from_msg",
    "transform_to_msg",
]
