"""`mvista eval follow`: what its tables make of plans, and that the command makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mvista_bringup import paths
from mvista_cli import cli
from mvista_core.errors import ConfigError
from mvista_eval.follow.table import measure, tables_of
from mvista_eval.follow.trials import (
    ENCODED,
    FILMED,
    HEAD,
    HIDDEN,
    IMAGINED,
    OTHER,
    A,
    B,
    FollowedPlan,
)

pytestmark = pytest.mark.slow


def plan(seed: int, future: str, told: str, went: str, to_a_mm: float = 9.0) -> FollowedPlan:
    return FollowedPlan(seed, future, HEAD, told, went, to_a_mm, 80.0, 12.0 + seed, 15.0, 16.0)


def test_goals_are_counted_by_future_and_words() -> None:
    ends = (A, A, B, OTHER)
    found = tables_of([plan(seed, IMAGINED, B, went) for seed, went in enumerate(ends)])
    (row,) = found.goal
    assert (row.to_a, row.to_b, row.to_other, row.count) == (2, 1, 1, 4)
    assert row.low < 0.5 < row.high and found.style == () and found.worth == ()


def test_a_style_is_followed_where_the_plan_is_nearer_to_the_filmed_motion() -> None:
    plans = [plan(seed, FILMED, A, A) for seed in range(6)]
    (row,) = tables_of(plans).style
    # Seeds 0, 1 and 2 lie 12, 13 and 14 mm from the filmed motion, and all 15 mm from the plain.
    assert (row.nearer_to_filmed, row.count) == (3, 6)
    assert (row.from_filmed_mm.value, row.from_plain_mm.value) == (14.5, 15.0)


def test_worth_is_the_difference_in_the_same_scene() -> None:
    shown = [plan(seed, IMAGINED, A, A, 5.0 + 10.0 * seed) for seed in range(6)]
    hidden = [plan(seed, HIDDEN, A, A, 8.0 + 10.0 * seed) for seed in range(6)]
    rows = {row.future: row for row in tables_of([*shown, *hidden]).worth}
    assert rows[IMAGINED].beyond_hidden_mm.value == -3.0
    assert rows[IMAGINED].beyond_hidden_mm.high == -3.0
    assert rows[HIDDEN].beyond_hidden_mm.value == 0.0
    assert rows[IMAGINED].tip_error_mm.value == 30.0


def test_no_scene_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        measure(Path("none"), 0, 0)


def test_the_command_follows_one_scene_of_the_shipped_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    table = tmp_path / "follow.json"
    words = ["eval", "follow", "--episodes", "1", "--head-only", "--json", str(table)]
    assert cli.main([*words, "--checkpoint", str(paths.checkpoint_dir())]) == 0
    document = json.loads(table.read_text())
    kinds = {(row["future"], row["told"]): row for row in document["goal"]}
    assert set(kinds) == {(f, told) for f in (IMAGINED, FILMED, HIDDEN) for told in (A, B)}
    # Without a future the words decide: that is what hiding it means.
    assert kinds[HIDDEN, A]["to_a"] == 1 and kinds[HIDDEN, B]["to_b"] == 1
    ceiling = next(row for row in document["style"] if row["future"] == ENCODED)
    assert ceiling["nearer_to_filmed"] == 1
    assert ceiling["from_filmed_mm"]["value"] < ceiling["styles_apart_mm"]["value"]
    assert np.isfinite([row["tip_error_mm"]["value"] for row in document["worth"]]).all()
