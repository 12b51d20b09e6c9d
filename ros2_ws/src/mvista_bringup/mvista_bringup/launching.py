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
from launch.conditions import IfCondition
from launch.substitutions import (
    AllSubstitution,
    Command,
    EqualsSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from mvista_bringup.nodes import (
    DDS_PROFILE,
    SHARE,
    CellUrdf,
    NodeSpec,
    RunOption,
    Spec,
    Template,
    When,
)
from mvista_bringup.paths import share_root

DESCRIPTION_PACKAGE, CELL_XACRO = "mvista_description", "urdf/cell.urdf.xacro"


def launch_description(graph: Sequence[Spec], options: Sequence[RunOption]) -> LaunchDescription:
    """Arguments from the options, one process per row; a required one that ends ends the launch."""
    share = share_root()
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / DDS_PROFILE))
    return LaunchDescription(
        [*map(_argument, options), profile, *(_process(spec, share) for spec in graph)]
    )


def _argument(option: RunOption) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        option.name,
        default_value=option.default,
        description=option.text,
        choices=list(option.choices) or None,
    )


def _process(spec: Spec, share: Path) -> Node | ExecuteProcess:
    if isinstance(spec, NodeSpec):
        return _node(spec, share)
    return ExecuteProcess(
        cmd=["ros2", "run", spec.package, spec.executable, *_arguments(spec, share)],
        name=spec.name,
        output="screen",
        on_exit=_end(spec),
        condition=_condition(spec.when),
    )


def _node(spec: NodeSpec, share: Path) -> Node:
    overrides = {name: _value(value, share) for name, value in spec.parameters}
    parameters: list[Any] = [str(share / spec.parameter_file)] if spec.parameter_file else []
    namespace = Template(spec.namespace)
    fixed = not any(is_reference for is_reference, _ in namespace.parts())
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace if fixed else _parts(namespace, share),
        parameters=[*parameters, overrides] if overrides else parameters,
        remappings=list(spec.remappings),
        arguments=_arguments(spec, share),
        output="screen",
        on_exit=_end(spec),
        condition=_condition(spec.when),
    )


def _end(spec: Spec) -> Shutdown | None:
    return Shutdown(reason=f"{spec.full_name} ended") if spec.required else None


def _condition(when: Sequence[When]) -> IfCondition | None:
    """Every one must hold."""
    tests = [
        (EqualsSubstitution if one.equal else NotEqualsSubstitution)(
            LaunchConfiguration(one.option), one.value
        )
        for one in when
    ]
    return IfCondition(AllSubstitution(*tests)) if tests else None


def _arguments(spec: Spec, share: Path) -> list[Any]:
    return [_parts(a, share) if isinstance(a, Template) else a for a in spec.arguments]


def _value(value: Any, share: Path) -> Any:
    if isinstance(value, CellUrdf):
        return ParameterValue(_xacro(value, share), value_type=str)
    if not isinstance(value, Template):
        return value
    parts = _parts(value, share)
    # To launch_ros a list of plain texts is a list; only one with a substitution is joined.
    if all(isinstance(part, str) for part in parts):
        return value.kind("".join(parts))
    return ParameterValue(parts, value_type=value.kind)


def _xacro(urdf: CellUrdf, share: Path) -> Command:
    """The command line is split as a shell would: quoted, because places hold spaces."""
    words: list[Any] = ["xacro '", FindPackageShare(DESCRIPTION_PACKAGE), f"/{CELL_XACRO}'"]
    for name, value in urdf.arguments:
        words += [f" '{name}:=", *_parts(value, share), "'"]
    return Command(words)


def _parts(value: Template, share: Path) -> list[Any]:
    parts: list[Any] = []
    for is_reference, text in value.parts():
        if not is_reference:
            parts.append(text)
        else:
            parts.append(str(share) if text == SHARE else LaunchConfiguration(text))
    return parts
