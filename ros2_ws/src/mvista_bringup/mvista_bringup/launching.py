"""A graph of the node table as a launch description, for `ros2 launch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from mvista_bringup.nodes import (
    DDS_PROFILE,
    SHARE,
    NodeSpec,
    RunOption,
    Spec,
    Template,
)
from mvista_bringup.paths import share_root


def launch_description(graph: Sequence[Spec], options: Sequence[RunOption]) -> LaunchDescription:
    """Arguments from the options, one process per row; a required one that ends ends the launch."""
    share = share_root()
    arguments = [
        DeclareLaunchArgument(option.name, default_value=option.default, description=option.text)
        for option in options
    ]
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / DDS_PROFILE))
    return LaunchDescription([*arguments, profile, *(_process(spec, share) for spec in graph)])


def _process(spec: Spec, share: Path) -> Node | ExecuteProcess:
    if isinstance(spec, NodeSpec):
        return _node(spec, share)
    command: list[Any] = ["ros2", "run", spec.package, spec.executable]
    for argument in spec.arguments:
        command.append(_parts(argument, share) if isinstance(argument, Template) else argument)
    return ExecuteProcess(cmd=command, name=spec.name, output="screen", on_exit=_end(spec))


def _end(spec: Spec) -> Shutdown | None:
    return Shutdown(reason=f"{spec.full_name} ended") if spec.required else None


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
        on_exit=_end(spec),
    )


def _value(value: Any, share: Path) -> Any:
    if not isinstance(value, Template):
        return value
    return ParameterValue(_parts(value, share), value_type=value.kind)


def _parts(value: Template, share: Path) -> list[Any]:
    parts: list[Any] = []
    for is_reference, text in value.parts():
        if not is_reference:
            parts.append(text)
        else:
            parts.append(str(share) if text == SHARE else LaunchConfiguration(text))
    return parts
