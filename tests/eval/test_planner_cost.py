"""What a plan costs: stages from what a planner reports, the first plan apart, and its bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_core.errors import ConfigError
from mvista_core.timing import ManualClock
from mvista_eval.figures import finish
from mvista_eval.planner_cost import PlannerLoad, costs_of, measure
from mvista_eval.stage_times import PlanStage, StageTimes
from mvista_world.choices import MethodChoices
from tests.world.tiny import write_checkpoint

pytestmark = pytest.mark.slow


def test_a_stage_lasts_from_its_first_report_to_the_next_ones() -> None:
    clock = ManualClock()
    said: list[str] = []
    times = StageTimes(clock, said.append)
    for stage, seconds in (("encode", 1.0), ("imagine", 2.0), ("imagine", 3.0), ("decode", 0.5)):
        assert times(stage, 0.0)
        clock.advance(seconds)
    found = times.stages()
    assert [(stage.name, stage.seconds) for stage in found] == [
        ("encode", 1.0), ("imagine", 5.0), ("decode", 0.5)
    ]  # fmt: skip
    assert all(stage.cpu_s >= 0.0 for stage in found)
    assert said == ["encode ...\n", "imagine ...\n", "decode ...\n"]


def test_the_last_row_is_of_whole_plans() -> None:
    plans = [
        (PlanStage("a", k, 2.0 * k, 100.0 + k), PlanStage("b", 10.0 - k, 1.0, 90.0))
        for k in (1.0, 2.0, 3.0)
    ]
    rows = {row.name: row for row in costs_of(plans)}
    assert list(rows) == ["a", "b", "plan"]
    assert (rows["a"].p50_s, rows["a"].p50_cpu_s) == (2.0, 4.0)
    assert rows["a"].p95_s == pytest.approx(2.9)
    assert [row.held_mib for row in rows.values()] == [103.0, 90.0, 103.0]
    # Every plan took ten seconds: quantiles of sums are not sums of quantiles.
    assert (rows["plan"].p50_s, rows["plan"].p95_s) == (10.0, 10.0)


def test_real_plans_are_measured_stage_by_stage(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    load = PlannerLoad(checkpoint, plans=2, steps=1, precision="fp32", choices=MethodChoices(2))
    found = measure(load)
    names = ["encode", "imagine", "complete", "decode", "action head", "optimise", "refine"]
    names.append("judge")
    assert [row["name"] for row in found.document["stages"]] == [*names, "plan"]
    assert [stage["name"] for stage in found.document["first_plan"]] == names
    assert all(row["held_mib"] > 100.0 for row in found.document["stages"])
    assert found.document["peak_memory_mib"] > 100.0
    path = tmp_path / "cost.json"
    assert finish(found, path) in (0, 2)
    written = json.loads(path.read_text())
    assert {"processor", "networks", "view_mode", "figures", "kept"} <= written.keys()


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    for load in (PlannerLoad(tmp_path, 0), PlannerLoad(tmp_path, 1, steps=-1)):
        with pytest.raises(ConfigError, match="at least 1 plan"):
            measure(load)
