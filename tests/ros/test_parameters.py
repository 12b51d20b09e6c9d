"""Parameters are declared once; a wrong one is refused with what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from mvista_core.errors import ConfigError
from mvista_ros.parameters import declare, load_parameter_file, read_file
from tests.ros.probe_node import ProbeParameters
from tests.ros.typing_aliases import Write

LAYOUT = "/**:\n  ros__parameters:\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(*lines: str) -> Path:
        path = tmp_path / "probe.yaml"
        path.write_text(LAYOUT + "".join(f"    {line}\n" for line in lines), encoding="utf-8")
        return path

    return writer


@pytest.fixture
def context(domain_id: int) -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    context.init(domain_id=domain_id)
    yield context
    context.try_shutdown()


def _declared_from(context: rclpy.Context, path: Path) -> ProbeParameters:
    arguments = ["--ros-args", "--params-file", str(path)]
    node = Node("probe", context=context, cli_args=arguments, use_global_arguments=False)
    try:
        return declare(node, ProbeParameters)
    finally:
        node.destroy_node()


def test_a_file_reads_the_same_with_and_without_ros(write: Write, context: rclpy.Context) -> None:
    path = write("rate_hz: 30.0", "count: 2", "label: a", "cameras: [cam1, cam2]", "weights: [0.5]")
    expected = ProbeParameters(30.0, 2, "a", ("cam1", "cam2"), (0.5,), False)
    assert read_file(ProbeParameters, path) == expected
    assert _declared_from(context, path) == expected


def test_an_empty_file_means_the_defaults(write: Write, context: rclpy.Context) -> None:
    path = write("loud: true")
    assert read_file(ProbeParameters, path) == _declared_from(context, path)
    assert read_file(ProbeParameters, path, {"count": 5}).count == 5


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("rate_hz: 61.0", "from 1.0 to 60.0"),
        ("rate_hz: fast", "Ticks per second"),
        ("count: 0", "from 1 to 9"),
        ("rate: 3.0", "unknown parameters"),
    ],
)
def test_a_wrong_file_is_refused_with_and_without_ros(
    write: Write, context: rclpy.Context, line: str, named: str
) -> None:
    path = write(line)
    for read in (lambda: read_file(ProbeParameters, path), lambda: _declared_from(context, path)):
        with pytest.raises(ConfigError, match=named):
            read()


def test_declared_parameters_carry_text_and_cannot_change(context: rclpy.Context) -> None:
    node = Node("probe", context=context, use_global_arguments=False)
    declare(node, ProbeParameters)
    assert node.describe_parameter("count").description == "How many"
    assert node.describe_parameter("count").integer_range[0].to_value == 9
    assert not node.set_parameters([Parameter("count", value=4)])[0].successful
    node.destroy_node()


def test_a_file_that_is_missing_or_otherwise_laid_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file .*gone\.yaml"):
        load_parameter_file(tmp_path / "gone.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("rate_hz: 3.0", encoding="utf-8")
    with pytest.raises(ConfigError, match="ros__parameters"):
        load_parameter_file(other)
