"""What a graph is made of: rows of processes, written once for the supervisor and `ros2 launch`.

A graph is a tuple of `NodeSpec`, `ProcessSpec` and `RigRows`. What differs from run to run is a
`RunOption`; a parameter refers to one as `Template("{seed}", int)`, and to the shared files as
`Template("{share}/config/...")`. A row with `when` is there only if the options say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mvista_bringup.options import NAMESPACE, TRUE
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.rig import load_rig

Literal = bool | int | float | str | tuple[str, ...]
DDS_PROFILE = "config/dds/fastdds.xml"
_REFERENCE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A parameter value with references to run options and to `{share}`."""

    text: str
    kind: type[str] | type[int] | type[float] | type[bool] | type[tuple[str, ...]] = str

    def parts(self) -> tuple[tuple[bool, str], ...]:
        """(is a reference, text or name) in order."""
        split = _REFERENCE.split(self.text)
        return tuple((bool(i % 2), part) for i, part in enumerate(split) if part)

    def resolve(self, values: Mapping[str, str]) -> Literal:
        """The value once the options are known; of kind tuple its words.

        Raises:
            ConfigError: a reference without a value, or a value of another kind.
        """
        try:
            text = "".join(values[p] if ref else p for ref, p in self.parts())
            if self.kind is tuple:
                return tuple(text.split())
            return text == TRUE if self.kind is bool else self.kind(text)
        except KeyError as error:
            raise ConfigError(
                f"'{self.text}': no option {error}; there are {sorted(values)}"
            ) from None
        except ValueError:
            kind = "a whole number" if self.kind is int else "a number"
            raise ConfigError(
                f"'{self.text}' must be {kind}; the options are {dict(values)}"
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


@dataclass(frozen=True)
class RigRows:
    """Rows that only a rig file can tell: how many cameras there are, and what they are called.

    `rows` gets their names in the file's order, and none where it cannot be read: that the file is
    wrong the pre-flight says of the file itself.
    """

    rig_file: Template
    rows: Callable[[tuple[str, ...]], tuple[NodeSpec, ...]]
    when: tuple[When, ...] = ()

    def told(self, values: Mapping[str, str]) -> tuple[NodeSpec, ...]:
        """The rows of the rig that these options name."""
        try:
            names = load_rig(str(self.rig_file.resolve(values))).names
        except MvistaError:
            names = ()
        return self.rows(names)


Entry = Spec | RigRows


def absolute(*parts: str) -> str:
    """The name that lies below these namespaces, each of which may be empty: "/cell_a/piper"."""
    return "/" + "/".join(part.strip("/") for part in parts if part.strip("/"))


def every_row(graph: Sequence[Entry], values: Mapping[str, str]) -> Iterator[Spec]:
    """All rows with those of the rig that `values` name, whether or not they are asked for."""
    for entry in graph:
        yield from entry.told(values) if isinstance(entry, RigRows) else (entry,)


def active_rows(graph: Sequence[Entry], values: Mapping[str, str]) -> tuple[Spec, ...]:
    """The rows that these options ask for, in their final namespaces, with where TF is heard.

    Frames have names without a namespace: where a run has one, so have its /tf and /tf_static.
    """
    asked = [entry for entry in graph if all(condition.holds(values) for condition in entry.when)]
    return tuple(_placed(row, values) for row in every_row(asked, values))


def _placed(row: Spec, values: Mapping[str, str]) -> Spec:
    if not isinstance(row, NodeSpec):
        return row
    own = values.get(NAMESPACE, "")
    frames = tuple((f"/{tf}", absolute(own, tf)) for tf in ("tf", "tf_static")) if own else ()
    return replace(
        row,
        namespace=absolute(own, str(Template(row.namespace).resolve(values))),
        remappings=(*((absolute(own, a), absolute(own, b)) for a, b in row.remappings), *frames),
    )


def with_parameters(graph: Sequence[Entry], name: str, **parameters: Literal) -> list[Entry]:
    """The same graph, the node of that name told these parameters too."""
    return [
        replace(row, parameters=(*row.parameters, *parameters.items()))
        if isinstance(row, NodeSpec) and row.name == name
        else row
        for row in graph
    ]


def started_rows(graph: Sequence[Entry], values: Mapping[str, str]) -> tuple[Spec, ...]:
    """The active rows that the supervisor starts: those that need no apt ROS."""
    rows = active_rows(graph, values)
    return tuple(row for row in rows if not (isinstance(row, NodeSpec) and row.apt))
