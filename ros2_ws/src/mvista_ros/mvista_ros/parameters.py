"""Parameters are declared once: a frozen dataclass whose fields carry range and text.

The same dataclass reads a ROS parameter file without ROS (`read_file`), declares itself on a node
(`declare`), and is what the rest of the process sees. Cross-field checks go to `__post_init__`.

    @dataclass(frozen=True)
    class SimParameters:
        frame_rate_hz: float = parameter(15.0, "Images per second and camera", 1.0, 60.0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from mvista_core.errors import ConfigError

P = TypeVar("P")
Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]

_TEXT, _MINIMUM, _MAXIMUM = "text", "minimum", "maximum"


def parameter(
    default: Value,
    text: str,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field that is a ROS parameter: its default, what it means, its closed range."""
    metadata = {_TEXT: text, _MINIMUM: minimum, _MAXIMUM: maximum}
    return field(default=default, metadata=metadata)


def declare(node: Node, parameters: type[P]) -> P:
    """Declare every field on `node` (read-only) and return the values it was started with.

    Raises:
        ConfigError: a value of the wrong type or out of range, or a parameter the node lacks.
    """
    declared = _parameter_fields(parameters)
    values: dict[str, Any] = {}
    for item in declared:
        try:
            found = node.declare_parameter(item.name, _to_ros(item.default), _descriptor(item))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            where = node.get_fully_qualified_name()
            raise ConfigError(f"{where}: {error}; {_allowed(item)}") from None
        values[item.name] = _from_ros(found.value)
    # rclpy ignores overrides that nothing declares; a misspelt name must not pass unseen.
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    _refuse_unknown(unknown, declared, node.get_fully_qualified_name())
    return parameters(**values)


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
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no parameter file at {path}; see config/")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        values = document["/**"]["ros__parameters"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a ROS parameter file ({error!r}); expected '/**: ros__parameters:'"
        ) from None
    return {str(name): _from_ros(value) for name, value in (values or {}).items()}


def _parameter_fields(parameters: type[Any]) -> list[Field[Any]]:
    return [item for item in fields(parameters) if _TEXT in item.metadata]


def _descriptor(item: Field[Any]) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=item.metadata[_TEXT], read_only=True)
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
    if type(value) is not type(item.default):
        raise ConfigError(f"{where}: '{item.name}' is {value!r}; {_allowed(item)}")
    low, high = item.metadata[_MINIMUM], item.metadata[_MAXIMUM]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{where}: '{item.name}' is {value!r}; {_allowed(item)}")
    return value


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
