"""The fault table is what the tests show: every row names a test that exists."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "ros2_ws" / "src" / "mvista_bringup" / "FAULTS.md"
COLUMNS = ("fault", "what the stack does", "within", "shown by")
REQUIRED = (
    "NaN", "stale plan", "0.3 rad away", "command stream dies", "camera vanishes",
    "clock steps by 1 s", "second writer", "falls silent", "bus-off", "over temperature",
    "collision", "does not enable", "old DH firmware", "leader role", "frames dropped",
)  # fmt: skip
"""What the table may not lack."""


def rows() -> list[list[str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def functions_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_table_has_its_columns() -> None:
    head, rule, *_ = rows()
    assert tuple(head) == COLUMNS
    assert all(set(cell) == {"-"} for cell in rule)


@pytest.mark.parametrize("row", rows()[2:], ids=lambda row: row[0])
def test_a_row_says_what_how_soon_and_names_its_test(row: list[str]) -> None:
    assert len(row) == len(COLUMNS) and all(row)
    path, _, function = row[-1].partition("::")
    assert (ROOT / path).is_file(), f"no {path}"
    assert function.startswith("test_") and function in functions_in(ROOT / path), row[-1]


@pytest.mark.parametrize("fault", REQUIRED)
def test_the_table_lacks_no_fault(fault: str) -> None:
    assert any(fault.lower() in row[0].lower() for row in rows()), f"no row for: {fault}"


def test_every_fault_has_one_row() -> None:
    faults = [row[0] for row in rows()]
    assert len(faults) == len(set(faults))
