"""A graph of the node table as a launch description, for `ros2 launch`."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessIO
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchDescription
from mvista_bringup import rviz_config
from mvista_bringup.graph.spec import (
    DDS_PROFILE,
    CellUrdf,
    Entry,
    NodeSpec,
    RvizConfig,
    Spec,
    Template,
    absolute,
    active_rows,
)
from mvista_bringup.options import NAMESPACE, RunOption, option_values
from mvista_bringup.paths import output_dir, share_root
from mvista_bringup.preflight import Call, build_urdf, in_words, look
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.process import BAD_INPUT_EXIT_CODE, LAUNCHER
from mvista_core.rig import load_rig

OUTER_NAMESPACE = "ros_namespace"
"""Where `PushRosNamespace` of a launch file that includes ours keeps its namespace."""


def launch_description(
    graph: Sequence[Entry], options: Sequence[RunOption], file: str
) -> LaunchDescription:
    """Arguments from the options; once they are known, a look at all, then one process per row.

    `file` is the launch file's own `__file__`. A required process that ends, ends the launch with 1
    and its last words; a call that cannot work starts nothing and ends with 2.
    """

    def start(context: Any) -> list[Any]:
        return _start(context.launch_configurations, graph, options, file)

    return LaunchDescription([*map(_argument, options), OpaqueFunction(function=start)])


def _argument(option: RunOption) -> DeclareLaunchArgument:
    """Without launch's own choices, which would tell of one wrong argument and end with 1."""
    allowed = f" ({', '.join(option.choices)})" if option.choices else ""
    return DeclareLaunchArgument(
        option.name, default_value=option.default, description=option.text + allowed
    )


def _start(
    configurations: Mapping[str, str],
    graph: Sequence[Entry],
    options: Sequence[RunOption],
    file: str,
) -> list[Any]:
    share = share_root()
    asked, typed = _asked(configurations, options, file)
    call = Call(graph, options, asked, share, by_ros=True)
    if found := look(call):
        _refuse(in_words(f"this call of {Path(file).name}", found), typed)
    values = option_values(tuple(options), asked, str(share))
    values[NAMESPACE] = absolute(configurations.get(OUTER_NAMESPACE, ""), values[NAMESPACE]).strip(
        "/"
    )
    ending = Ending()
    return [
        SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / DDS_PROFILE)),
        SetEnvironmentVariable(LAUNCHER, str(os.getpid())),
        RegisterEventHandler(OnProcessIO(on_stderr=ending.hear)),
        *(_process(spec, values, ending) for spec in active_rows(graph, values)),
    ]


def _asked(
    configurations: Mapping[str, str], options: Sequence[RunOption], file: str
) -> tuple[dict[str, str], bool]:
    """(what was asked of this file, whether somebody typed it after the file's name).

    launch keeps every argument of a command line, also those that nobody declares, among the
    configurations of all files: only what was typed for this file can be held against it.
    """
    asked = {o.name: configurations[o.name] for o in options if o.name in configurations}
    at = _typed_at(sys.argv, file)
    if at is None:
        return asked, False
    typed = (word.partition(":=") for word in sys.argv[at + 1 :] if ":=" in word)
    return {**{name: value for name, _, value in typed}, **asked}, True


def _typed_at(words: Sequence[str], file: str) -> int | None:
    """Where this very file was named: `ros2 launch mvista_bringup NAME`, or by its path.

    Somebody's own launch file may have the same name, and include ours.
    """
    for at, word in enumerate(words):
        in_package = at > 0 and words[at - 1] == "mvista_bringup" and word == Path(file).name
        if in_package or (Path(word).is_file() and Path(word).resolve() == Path(file).resolve()):
            return at
    return None


def _refuse(text: str, typed: bool) -> None:
    """Say it and end with 2, or, in the middle of another launch, let that one end in order."""
    if not typed:
        raise ConfigError(text)
    sys.stdout.flush()
    print(f"mvista: {text}", file=sys.stderr, flush=True)
    # The very first action: nothing runs yet that would have to be ended, and launch knows only 1.
    os._exit(BAD_INPUT_EXIT_CODE)


class Ending:
    """The last words of each process, and the end of the launch when a required one is gone."""

    def __init__(self) -> None:
        self._last_words: dict[str, str] = {}

    def hear(self, event: Any) -> None:
        """Keep the last line of what a process writes to stderr."""
        lines = event.text.decode(errors="replace").split("\n")
        for line in filter(str.strip, lines):
            self._last_words[event.process_name] = line.strip()

    def of(self, spec: Spec) -> Callable[[Any, Any], None] | None:
        """What is called when the process of a required row has ended."""

        def ended(event: Any, context: Any) -> None:
            if context.is_shutdown:
                return
            words = self._last_words.get(event.process_name, "it said nothing on stderr")
            reason = f"{spec.full_name} ended (exit {event.returncode}): {words}"
            # After launch's own lines, and those of the processes that it ends now.
            atexit.register(print, f"mvista: {reason}", file=sys.stderr, flush=True)
            raise UnavailableError(reason)  # launch ends the others, and itself with 1

        return ended if spec.required else None


def _process(spec: Spec, values: Mapping[str, str], ending: Ending) -> Node | ExecuteProcess:
    arguments = [_word(argument, values) for argument in spec.arguments]
    if not isinstance(spec, NodeSpec):
        program = ExecutableInPackage(package=spec.package, executable=spec.executable)
        return ExecuteProcess(
            cmd=[program, *arguments], name=spec.name, output="screen", on_exit=ending.of(spec)
        )
    parameters: list[Any] = []
    if spec.parameter_file:
        parameters.append(str(share_root() / spec.parameter_file))
    if spec.parameters:
        parameters.append({name: _value(value, values) for name, value in spec.parameters})
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=parameters,
        remappings=list(spec.remappings),
        arguments=arguments,
        output="screen",
        on_exit=ending.of(spec),
        exec_name=spec.executable,
        prefix=_dying_with_us() if spec.apt else None,
    )


def _word(argument: str | Template | RvizConfig, values: Mapping[str, str]) -> str:
    if isinstance(argument, str):
        return argument
    if isinstance(argument, Template):
        return str(argument.resolve(values))
    shipped, arm, rig = (
        str(template.resolve(values)) for template in (argument.shipped, argument.arm, argument.rig)
    )
    target = output_dir("rviz") / f"{values[NAMESPACE].replace('/', '_') or 'cell'}.rviz"
    names = load_rig(rig).names
    return str(rviz_config.written(Path(shipped), target, arm, names, values[NAMESPACE]))


def _dying_with_us() -> str | None:
    """For programs that are not ours: ours ask for it themselves (mvista_core/process.py)."""
    program = shutil.which("setpriv")
    return f"{program} --pdeathsig TERM --" if program else None


def _value(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, CellUrdf):
        # launch_ros would read a text that looks like YAML as such.
        return ParameterValue(build_urdf(value, values), value_type=str)
    resolved = value.resolve(values) if isinstance(value, Template) else value
    return ParameterValue(resolved, value_type=str) if isinstance(resolved, str) else resolved
