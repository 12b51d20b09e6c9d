"""The tables of parameters in the packages' READMEs are those of the code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mvista_calibration_ros.drift_settings import DriftParameters
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_calibration_sim.board_parameters import BoardParameters

SOURCES = Path(__file__).parents[2] / "ros2_ws" / "src"
TABLES = {
    CalibrationParameters: "mvista_calibration_ros",
    DriftParameters: "mvista_calibration_ros",
    BoardParameters: "mvista_calibration_sim",
}


def as_written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


@pytest.mark.parametrize("parameters", TABLES, ids=lambda kind: kind.__name__)
def test_a_readme_has_every_parameter_with_default_and_range(parameters: type[Any]) -> None:
    lines = (SOURCES / TABLES[parameters] / "README.md").read_text("utf-8").splitlines()
    for item in fields(parameters):
        low, high = item.metadata["minimum"], item.metadata["maximum"]
        ends = "" if low is None else f"{low} to {high}"
        row = f"| `{item.name}` | {as_written(item.default)} | {ends} | "
        assert any(line.startswith(row) for line in lines), f"no row {row}"
