"""What being quick costs: exact ways against the plain path, solvers against many steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_core.errors import ConfigError
from mvista_eval.speed_cost import SpeedLoad, measure_speed
from tests.world.tiny import write_checkpoint

pytestmark = pytest.mark.slow


def test_exact_ways_are_exact_and_more_steps_are_nearer(tmp_path: Path) -> None:
    load = SpeedLoad(write_checkpoint(tmp_path / "checkpoint"), 1, (1, 4), 8)
    found = measure_speed(load)
    assert [figure.kept for figure in found.figures] == [True]
    exact = {row["name"]: row for row in found.document["exact"]}
    assert list(exact) == [
        "plain", "distinct_times", "kept_context", "batched_guidance", "all three"
    ]  # fmt: skip
    rows = {row["name"]: row for row in found.document["solvers"]["rows"]}
    assert list(rows) == ["euler 1", "euler 4", "unipc 1", "unipc 4"]
    for solver in ("euler", "unipc"):
        assert 0 < rows[f"{solver} 4"]["largest"] < rows[f"{solver} 1"]["largest"]
    attention = {row["name"]: row["largest"] for row in found.document["attention"]}
    assert attention["fused attention"] == 0 < attention["attention written out"] < 1e-4
    caches = [row["largest"] for row in found.document["step_caches"]]
    assert caches[0] == 0 < caches[-1] and caches == sorted(caches)
    intervals = {row["name"]: row for row in found.document["guidance_intervals"]["rows"]}
    assert intervals["t in [0, 1]"]["largest"] == 0 < intervals["none"]["largest"]


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    for load in (
        SpeedLoad(tmp_path, 0),
        SpeedLoad(tmp_path, steps=(60,)),
        SpeedLoad(tmp_path, 1, ()),
    ):
        with pytest.raises(ConfigError, match="--plans|--reference"):
            measure_speed(load)
