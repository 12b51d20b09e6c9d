"""Parameters are declared once; a wrong one is refused with what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from mvista_core.errors import ConfigError
from mvista_ros.base_node import HouseNode
from mvista_ros.parameters import declare, load_parameter_file, parameter, read_file
from tests.ros.probe_node import ProbeParameters
from tests.ros.typing_aliases import Write

pytestmark = pytest.mark.ros

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


@dataclass(frozen=True)
class _Heard:
    """One that may change, one that may not, and a rule over both."""

    low: float = parameter(1.0, "The lower end", 0.0, 10.0, live=True)
    high: float = parameter(5.0, "The upper end", 0.0, 10.0)

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"low {self.low} is not below high {self.high}")


def test_a_live_parameter_is_judged_as_at_the_start_and_passed_on(context: rclpy.Context) -> None:
    node = HouseNode("probe", context=context, use_global_arguments=False)
    heard: list[_Heard] = []
    assert declare(node, _Heard, heard.append, "the bench is as high as it is") == _Heard()
    result = node.set_parameters_atomically([Parameter("low", value=3.0)])
    assert result.successful and heard == [_Heard(low=3.0)]
    for name, value, said in (
        ("low", 6.0, r"\[10\] low 6\.0 is not below high 5\.0"),
        ("low", 11.0, "out of range"),
        ("low", math.nan, "out of range"),
        (
            "high",
            7.0,
            r"'high' of /probe does not change .*: the bench is as high as it is\. Start",
        ),
    ):
        result = node.set_parameters_atomically([Parameter(name, value=value)])
        assert not result.successful and re.search(said, result.reason), result.reason
    both = [Parameter("low", value=4.0), Parameter("high", value=7.0)]
    assert not node.set_parameters_atomically(both).successful, "all or nothing"
    assert heard == [_Heard(low=3.0)] and node.get_parameter("low").value == 3.0
    assert node.describe_parameter("high").read_only
    node.destroy_node()
