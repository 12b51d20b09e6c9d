"""The list of nodes and parameters, written once: the supervisor and the launch files read it.

A graph is a tuple of `NodeSpec` and `ProcessSpec`. What differs from run to run is a `RunOption`; a
parameter refers to one as `Template("{seed}", int)`, and to the shared files as
`Template("{share}/config/...")`. A row with `when` is there only if the options say so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mvista_bringup.options import (
    FALSE,
    NAMESPACE,
    NAMESPACE_OPTION,
    PORTS,
    SHARE,
    TRUE,
    Kind,
    RunOption,
    option_values,
)
from mvista_core.errors import ConfigError

__all__ = ["FALSE", "SHARE", "TRUE", "RunOption", "option_values"]  # also found here

Literal = bool | int | float | str
DDS_PROFILE = "config/dds/fastdds.xml"
_REFERENCE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A parameter value with references to run options and to `{share}`."""

    text: str
    kind: type[str] | type[int] | type[bool] = str

    def parts(self) -> tuple[tuple[bool, str], ...]:
        """(is a reference, text or name) in order."""
        split = _REFERENCE.split(self.text)
        return tuple((bool(i % 2), part) for i, part in enumerate(split) if part)

    def resolve(self, values: Mapping[str, str]) -> str | int | bool:
        """The value once the options are known.

        Raises:
            ConfigError: a reference without a value, or a value of another kind.
        """
        try:
            text = "".join(values[p] if ref else p for ref, p in self.parts())
            return text == TRUE if self.kind is bool else self.kind(text)
        except KeyError as error:
            raise ConfigError(
                f"'{self.text}': no option {error}; there are {sorted(values)}"
            ) from None
        except ValueError:
            raise ConfigError(
                f"'{self.text}' must be a whole number; the options are {dict(values)}"
            ) from None


@dataclass(frozen=True)
class CellUrdf:
    """A parameter that holds the cell's URDF: mvista_description's xacro with these arguments."""

    arguments: tuple[tuple[str, Template], ...]


@dataclass(frozen=True)
class RvizConfig:
    """An argument: the place of RViz's configuration, written for this arm, rig and namespace."""

    shipped: Template
    arm: Template
    rig: Template


Value = Literal | Template | CellUrdf


@dataclass(frozen=True)
class When:
    """A condition on a run option: it has this value, or (`equal` False) any other."""

    option: str
    value: str
    equal: bool = True

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether the options say so."""
        return (values[self.option] == self.value) is self.equal


@dataclass(frozen=True)
class NodeSpec:
    """One process. `executable` is also the module `<package>.<executable>` with a `main()`.

    `namespace` lies below the run's own and may refer to options as templates do. An `apt` row is
    a program that only an apt ROS brings (robot_state_publisher, RViz): `ros2 launch` starts it,
    the supervisor does not.
    """

    package: str
    executable: str
    name: str
    namespace: str = ""
    parameter_file: str = ""
    parameters: tuple[tuple[str, Value], ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    required: bool = True
    arguments: tuple[str | Template | RvizConfig, ...] = ()
    when: tuple[When, ...] = ()
    apt: bool = False

    @property
    def full_name(self) -> str:
        """The node's fully qualified name: how its diagnostics are signed."""
        return absolute(self.namespace, self.name)


@dataclass(frozen=True)
class ProcessSpec:
    """One process that is no ROS node, with its command line. Named and found like a node."""

    package: str
    executable: str
    module: str
    name: str
    arguments: tuple[str | Template, ...] = ()
    required: bool = True
    when: tuple[When, ...] = ()

    @property
    def full_name(self) -> str:
        """What it is called in logs and messages."""
        return f"/{self.name}"


Spec = NodeSpec | ProcessSpec


def absolute(*parts: str) -> str:
    """The name that lies below these namespaces, each of which may be empty: "/cell_a/piper"."""
    return "/" + "/".join(part.strip("/") for part in parts if part.strip("/"))


def active_rows(graph: Sequence[Spec], values: Mapping[str, str]) -> tuple[Spec, ...]:
    """The rows that these options ask for, in their final namespaces, with where TF is heard.

    Frames have names without a namespace: where a run has one, so have its /tf and /tf_static.
    """
    own = values.get(NAMESPACE, "")
    frames = tuple((f"/{tf}", absolute(own, tf)) for tf in ("tf", "tf_static")) if own else ()
    return tuple(
        replace(
            row,
            namespace=absolute(own, str(Template(row.namespace).resolve(values))),
            remappings=(
                *((absolute(own, a), absolute(own, b)) for a, b in row.remappings),
                *frames,
            ),
        )
        if isinstance(row, NodeSpec)
        else row
        for row in graph
        if all(condition.holds(values) for condition in row.when)
    )


def started_rows(graph: Sequence[Spec], values: Mapping[str, str]) -> tuple[Spec, ...]:
    """The active rows that the supervisor starts: those that need no apt ROS."""
    rows = active_rows(graph, values)
    return tuple(row for row in rows if not (isinstance(row, NodeSpec) and row.apt))


SCENES = ("touch_cube", "open_drawer", "put_orange")

SIM_DEMO_OPTIONS = (
    RunOption("task", SCENES[0], "scene to lay out", SCENES),
    RunOption("seed", "0", "object poses and distractors", kind=Kind.WHOLE),
    RunOption("rig", "sim_cell", "a file of config/rigs/, without .yaml", kind=Kind.FILE),
    RunOption("checkpoint", "tiny", "a folder of models/checkpoints/", kind=Kind.FILE),
    RunOption("drift", FALSE, "also watch for moved cameras (monitor does)", (TRUE, FALSE)),
    NAMESPACE_OPTION,
)

EMULATED_DEMO_OPTIONS = (
    *SIM_DEMO_OPTIONS,
    RunOption(
        "can_port",
        "43113",
        "UDP port of the emulated CAN bus, on this machine only",
        kind=Kind.WHOLE,
        bounds=PORTS,
    ),
)

_ARM_FILE = ("arm_file", Template("{share}/config/arms/piper.yaml"))
_RIG_FILE = ("rig_file", Template("{share}/config/rigs/{rig}.yaml"))

SIM_DEMO: tuple[NodeSpec, ...] = (
    NodeSpec(
        "mvista_sim",
        "sim_node",
        "sim",
        parameter_file="config/sim.yaml",
        parameters=(
            _ARM_FILE,
            _RIG_FILE,
            ("task", Template("{task}")),
            ("seed", Template("{seed}", int)),
        ),
    ),
    NodeSpec("mvista_bringup", "rig_publisher_node", "rig_publisher", parameters=(_RIG_FILE,)),
    NodeSpec(
        "mvista_executor",
        "executor_node",
        "executor",
        namespace="piper",
        parameter_file="config/executor.yaml",
        parameters=(_ARM_FILE,),
    ),
    NodeSpec(
        "mvista_planning",
        "planning_node",
        "planning",
        parameter_file="config/planning.yaml",
        parameters=(
            _ARM_FILE,
            _RIG_FILE,
            ("checkpoint", Template("{share}/models/checkpoints/{checkpoint}")),
        ),
    ),
    NodeSpec("mvista_planning", "task_node", "task", parameter_file="config/task.yaml"),
    NodeSpec(
        "mvista_calibration_ros",
        "drift_node",
        "drift",
        parameter_file="config/drift.yaml",
        parameters=(_ARM_FILE, _RIG_FILE),
        required=False,
        when=(When("drift", TRUE),),
    ),
)


EMULATED_CAN_GROUP = "239.74.163.2"

EMULATED_ARM = (
    ProcessSpec(
        "mvista_piper",
        "piper_emulator",
        "emulator_main",
        "emulator",
        arguments=(
            "--channel",
            EMULATED_CAN_GROUP,
            "--port",
            Template("{can_port}"),
            "--home",
            Template("{share}/config/arms/piper.yaml"),
            "--enabled",
        ),
    ),
    NodeSpec(
        "mvista_piper",
        "piper_node",
        "driver",
        namespace="piper",
        parameter_file="config/piper.yaml",
        parameters=(
            _ARM_FILE,
            ("interface", "udp_multicast"),
            # The emulated arm is a process among many that start at once: it is silent for longer.
            ("stale_after_s", 0.3),
            ("channel", EMULATED_CAN_GROUP),
            ("udp_port", Template("{can_port}", int)),
            ("enable_at_start", True),
        ),
    ),
)
"""An arm that speaks CAN, and its driver, where there is none."""

_SIM, *_AROUND_THE_SIM = SIM_DEMO
EMULATED_DEMO: tuple[Spec, ...] = (
    *EMULATED_ARM,
    replace(_SIM, parameters=(*_SIM.parameters, ("follow_arm", True))),
    *_AROUND_THE_SIM,
)
"""The demo with the arm behind driver and CAN: the emulated joints drive the simulated arm."""
