"""`mvista bench graph` on real processes: every one is in the table, and the sums are sums."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mvista_bringup.graph.sim import EMULATED_DEMO, EMULATED_DEMO_OPTIONS
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.options import option_values
from mvista_cli import cli
from mvista_eval.graph import CLIENT, PLANNER

pytestmark = [pytest.mark.system, pytest.mark.beside]

KEYS = ("idle_cores", "thinking_cores", "moved_cores", "memory_mb", "threads")
DRIVER, SIM = "/piper/driver", "/sim"


@pytest.mark.timeout(300)
def test_the_figures_are_consistent(
    checkpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "graph.json"
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "output"))
    command = ["bench", "graph", "--arm=emulated", "--seconds", "3", "--checkpoint", checkpoint]
    # 2: a bound is missed, which a busy machine may do.
    assert cli.main([*command, "--json", str(out)]) in (0, 2)
    found = json.loads(out.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["processes"]}
    values = option_values(EMULATED_DEMO_OPTIONS, {}, "")
    assert set(rows) == {row.full_name for row in started_rows(EMULATED_DEMO, values)} | {CLIENT}
    for key in KEYS:
        without = [row[key] for name, row in rows.items() if name != PLANNER]
        assert math.isclose(found["without_planner"][key], sum(without))
        assert math.isclose(found["total"][key], sum(without) + rows[PLANNER][key])
    for row in rows.values():
        assert row["threads"] >= 1 and row["memory_mb"] > 10
        assert 0 <= row["idle_cores"] < found["cores"]
    # It planned and moved: the planner worked, in real time, with the simulator beside it.
    assert found["outcome"] == "" and found["planning_s"] > 0.5
    assert rows[PLANNER]["thinking_cores"] > rows[PLANNER]["idle_cores"]
    assert rows[SIM]["thinking_cores"] > 0.01
    bounded = {figure["name"] for figure in found["figures"]}
    for name in (DRIVER, "/piper/executor", SIM):
        assert {f"cores of {name}, idle", f"cores of {name}, after a motion"} <= bounded
    text = capsys.readouterr().out
    assert all(name in text for name in (*rows, "without the planner", "bf16", "cores"))


def test_no_time_to_measure_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seconds in ("0", "-1", "nan"):
        assert cli.main(["bench", "graph", f"--seconds={seconds}"]) == 2
    assert "more than 0" in capsys.readouterr().err
