"""Parameters are declared once: a frozen dataclass whose fields carry range and text.

The same dataclass reads a ROS parameter file without ROS (`read_file`), declares itself on a node
(`declare`), and is what the rest of the process sees. Cross-field checks go to `__post_init__`.

    @dataclass(frozen=True)
    class SimParameters:
        frame_rate_hz: float = parameter(15.0, "Images per second and camera", 1.0, 60.0)

A parameter is read once, at the start, unless it is `live`: then `ros2 param set` changes it, by
the same rules. Setting any other is refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from mvista_core.documents import read_document
from mvista_core.errors import ConfigError, MvistaError

P = TypeVar("P")
Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]

_TEXT, _MINIMUM, _MAXIMUM, _LIVE = "text", "minimum", "maximum", "live"
FIXED = "the node was built with it"
"""Why a parameter does not change, where nothing better is known."""


def parameter(
    default: Value,
    text: str,
    minimum: float | None = None,
    maximum: float | None = None,
    live: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter: its default, what it means, its closed range.

    `live`: it may change while the node runs.
    """
    metadata = {_TEXT: text, _MINIMUM: minimum, _MAXIMUM: maximum, _LIVE: live}
    return field(default=default, metadata=metadata)


def declare(
    node: Node,
    parameters: type[P],
    changed: Callable[[P], None] | None = None,
    fixed: str = FIXED,
) -> P:
    """Declare every field on `node` and return the values it was started with.

    `changed` gets the whole record anew when live ones were set, on an executor thread; `fixed`
    says why the others are not.

    Raises:
        ConfigError: a value of the wrong type or out of range, or a parameter the node lacks.
    """
    declared = _parameter_fields(parameters)
    values: dict[str, Any] = {}
    for item in declared:
        try:
            found = node.declare_parameter(
                item.name, _to_ros(item.default), _descriptor(item, fixed)
            )
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            where = node.get_fully_qualified_name()
            raise ConfigError(f"{where}: {error}; {_allowed(item)}") from None
        values[item.name] = _checked(item, _from_ros(found.value), node.get_fully_qualified_name())
    # rclpy ignores overrides that nothing declares; a misspelt name must not pass unseen.
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    _refuse_unknown(unknown, declared, node.get_fully_qualified_name())
    record = parameters(**values)
    if live := {item.name: item for item in declared if item.metadata.get(_LIVE)}:
        assert changed is not None, f"nobody listens to {sorted(live)}"
        _Live(node, live, record, changed).follow()
    return record


def why_fixed(node: Node, name: str) -> str:
    """Why a parameter of a running node cannot be set, in words; "" for one that can."""
    if not node.has_parameter(name) or not node.describe_parameter(name).read_only:
        return ""
    because = node.describe_parameter(name).additional_constraints or FIXED
    return (
        f"[{ConfigError.code}] '{name}' of {node.get_fully_qualified_name()} does not change while "
        f"the node runs: {because}. Start it anew with {name}:=VALUE"
    )


class _Live(Generic[P]):
    """The record of a node of which some fields change while it runs."""

    def __init__(
        self, node: Node, live: Mapping[str, Field[Any]], now: P, changed: Callable[[P], None]
    ) -> None:
        self._node, self._live, self._now, self._changed = node, live, now, changed

    def follow(self) -> None:
        """Judge what is set from now on, and pass it on."""
        self._node.add_on_set_parameters_callback(self._judge)
        self._node.add_post_set_parameters_callback(self._take)

    def _judge(self, asked: list[Parameter[Any]]) -> SetParametersResult:
        try:
            self._with(asked)
        except MvistaError as error:
            return SetParametersResult(successful=False, reason=f"[{error.code}] {error}")
        return SetParametersResult(successful=True)

    def _take(self, asked: list[Parameter[Any]]) -> None:
        found = self._with(asked)
        if found != self._now:
            self._now = found
            self._changed(found)

    def _with(self, asked: list[Parameter[Any]]) -> P:
        where = self._node.get_fully_qualified_name()
        values = {
            item.name: _checked(self._live[item.name], _from_ros(item.value), where)
            for item in asked
            if item.name in self._live
        }
        return replace(self._now, **values)  # type: ignore[type-var]


def read_file(
    parameters: type[P], path: Path | str, overrides: Mapping[str, Value] | None = None
) -> P:
    """The dataclass from a ROS parameter file and overrides, without ROS.

    Raises:
        ConfigError: no such file, not in ROS layout, an unknown name, a wrong type or range.
    """
    declared = _parameter_fields(parameters)
    values = {**load_parameter_file(path), **(overrides or {})}
    known = {item.name: item for item in declared}
    _refuse_unknown([name for name in values if name not in known], declared, str(path))
    checked = {name: _checked(known[name], value, path) for name, value in values.items()}
    return parameters(**checked)


def load_parameter_file(path: Path | str) -> dict[str, Any]:
    """Names and values of a file laid out as `/**: {ros__parameters: {...}}`.

    Raises:
        ConfigError: no such file or another layout.
    """
    hint = "expected '/**: ros__parameters:', see config/"
    listed = read_document(path, ConfigError, hint)["/**"].get("ros__parameters")
    entries = {} if listed is None else listed.entries()
    return {name: _from_ros(found.value) for name, found in entries.items()}


def _parameter_fields(parameters: type[Any]) -> list[Field[Any]]:
    return [item for item in fields(parameters) if _TEXT in item.metadata]


def _descriptor(item: Field[Any], fixed: str) -> ParameterDescriptor:
    live = bool(item.metadata.get(_LIVE))
    descriptor = ParameterDescriptor(
        description=item.metadata[_TEXT],
        read_only=not live,
        additional_constraints="" if live else fixed,
    )
    low, high = item.metadata[_MINIMUM], item.metadata[_MAXIMUM]
    if low is None and high is None:
        return descriptor
    if isinstance(item.default, int):
        bounds = IntegerRange(
            from_value=-(2**63) if low is None else int(low),
            to_value=2**63 - 1 if high is None else int(high),
        )
        descriptor.integer_range = [bounds]
    else:
        limits = FloatingPointRange(
            from_value=float("-inf") if low is None else float(low),
            to_value=float("inf") if high is None else float(high),
        )
        descriptor.floating_point_range = [limits]
    return descriptor


def _checked(item: Field[Any], value: Any, where: Path | str) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    parts = value if isinstance(value, tuple) else (value,)
    wanted = item.default if isinstance(item.default, tuple) else (item.default,)
    kinds = {type(part) for part in wanted} or {str}
    low, high = item.metadata[_MINIMUM], item.metadata[_MAXIMUM]
    fits = type(value) is type(item.default) and all(
        type(part) in kinds and _within(part, low, high) for part in parts
    )
    if not fits:
        raise ConfigError(f"{where}: '{item.name}' is {value!r}; {_allowed(item)}")
    return value


def _within(value: Any, low: float | None, high: float | None) -> bool:
    """Whether a number is finite and in its closed range; anything else has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return (low is None or value >= low) and (high is None or value <= high)


def _allowed(item: Field[Any]) -> str:
    low, high = item.metadata[_MINIMUM], item.metadata[_MAXIMUM]
    limits = "" if low is None and high is None else f" from {low} to {high}"
    kind = type(item.default).__name__
    return f"allowed: {kind}{limits} (default {item.default!r}): {item.metadata[_TEXT]}"


def _refuse_unknown(unknown: list[str], declared: list[Field[Any]], where: str) -> None:
    if unknown:
        names = [item.name for item in declared]
        raise ConfigError(f"{where}: unknown parameters {sorted(unknown)}; there are {names}")


def _to_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_ros(value: Any) -> Any:
    # rclpy hands numeric arrays back as array.array.
    return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value
