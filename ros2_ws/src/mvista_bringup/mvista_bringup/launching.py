"""A graph of the node table as a launch description, for `ros2 launch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from mvista_bringup.nodes import DDS_PROFILE, SHARE, NodeSpec, RunOption, Template
from mvista_bringup.paths import share_root


def launch_description(
    graph: Sequence[NodeSpec], options: Sequence[RunOption]
) -> LaunchDescription:
    """Arguments from the options, one node per row; the end of a required node ends the launch."""
    share = share_root()
    arguments = [
        DeclareLaunchArgument(option.name, default_value=option.default, description=option.text)
        for option in options
    ]
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / DDS_PROFILE))
    return LaunchDescription([*arguments, profile, *(_node(spec, share) for spec in graph)])


def _node(spec: NodeSpec, share: Path) -> Node:
    overrides = {name: _value(value, share) for name, value in spec.parameters}
    parameters: list[Any] = [str(share / spec.parameter_file)] if spec.parameter_file else []
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[*parameters, overrides],
        remappings=list(spec.remappings),
        output="screen",
        on_exit=Shutdown(reason=f"{spec.full_name} ended") if spec.required else None,
    )


def _value(value: Any, share: Path) -> Any:
    if not isinstance(value, Template):
        return value
    parts: list[Any] = []
    for is_reference, text in value.parts():
        if not is_reference:
            parts.append(text)
        else:
            parts.append(str(share) if text == SHARE else LaunchConfiguration(text))
    return ParameterValue(parts, value_type=value.kind)
