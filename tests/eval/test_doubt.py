"""`mvista eval gate`: limits, what they refuse, and one scene of the shipped checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_bringup import paths
from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_eval import doubt
from mvista_eval.doubt import (
    AGAIN,
    ASTRAY,
    CAMERA,
    LEAST_OUTSIDE_M,
    NUMBERS,
    RIGHT,
    SWAPPED,
    WIDENED,
    WIDENED_TARGETS,
    WORDS,
    DoubtedFuture,
    DoubtScene,
    doubt_scene,
    limits_of,
    measure,
    rows_of,
)
from mvista_eval.follow.trials import TASK
from mvista_sim.tasks import TEMPLATES
from mvista_world.retouch import RETOUCHER, RetouchConfig, Retoucher, save_retoucher
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.world.tiny import awake

pytestmark = pytest.mark.slow


def future(case: str, *numbers: float) -> DoubtedFuture:
    return DoubtedFuture(0, case, numbers)


def test_limits_are_the_worst_right_value_widened_and_wrong_ones_do_not_move_them() -> None:
    found = [
        future(RIGHT, 0.01, 0.002, 0.0, 0.03, np.nan),
        future(RIGHT, 0.02, 0.001, 0.0, 0.01, 0.04),
        future(WORDS, 9.0, 9.0, 9.0, 9.0, 9.0),
    ]
    limits = limits_of(found)
    assert limits["goal_gap_m"] == pytest.approx(0.02 * WIDENED)
    assert limits["targets_first_abs_rel"] == pytest.approx(0.04 * WIDENED_TARGETS)
    assert limits["outside_m"] == LEAST_OUTSIDE_M


def test_what_shows_another_goal_moves_no_limit_and_without_a_right_future_there_is_none() -> None:
    """One that went to another cube would set the limit by which it has to be refused."""
    right, astray = future(RIGHT, 0.02, 0.0, 0.0, 0.0, 0.0), future(ASTRAY, 0.2, 0.0, 0.0, 0.0, 0.0)
    limits = limits_of([right, astray])
    assert limits["goal_gap_m"] == pytest.approx(0.02 * WIDENED)
    assert {row.case: row.refused for row in rows_of([right, astray], limits)} == {
        RIGHT: 0,
        ASTRAY: 1,
    }
    with pytest.raises(ConfigError, match="of 1 futures none shows the goal"):
        limits_of([astray])


def test_a_future_is_refused_by_any_number_beyond_its_limit_and_never_by_none() -> None:
    limits = dict.fromkeys(NUMBERS, 1.0)
    found = [
        future(RIGHT, 1.0, 1.0, 1.0, 1.0, np.nan),
        future(WORDS, 2.0, 0.0, 0.0, 2.0, 0.0),
        future(WORDS, 2.0, 0.0, 0.0, 0.0, 0.0),
        future(WORDS, 0.0, 0.0, 0.0, 0.0, np.nan),
    ]
    rows = {row.case: row for row in rows_of(found, limits)}
    assert (rows[RIGHT].refused, rows[RIGHT].count) == (0, 1)
    assert (rows[WORDS].refused, rows[WORDS].count) == (2, 3)
    assert rows[WORDS].refused_by == (2, 0, 0, 1, 0)
    assert rows[WORDS].low < 2 / 3 < rows[WORDS].high


def test_limits_are_not_judged_by_the_scenes_that_set_them() -> None:
    with pytest.raises(ConfigError, match="overlap"):
        measure(Path("none"), 10, 100, 105)
    with pytest.raises(ConfigError, match="at least 1"):
        measure(Path("none"), 0, 100, 500)


def test_each_wrong_future_of_a_scene_is_doubted_by_its_own_number() -> None:
    # To `tiny` a camera is an identity: a view from elsewhere is wrong, which the default's is not.
    rows = doubt_scene(DoubtScene(10_000, paths.checkpoint_dir("tiny")))
    found = {row.case: dict(zip(NUMBERS, row.numbers, strict=True)) for row in rows}
    right = found[RIGHT]
    assert found[WORDS]["goal_gap_m"] > right["goal_gap_m"] + 0.03
    assert found[SWAPPED]["source_first_rms"] > 1.5 * right["source_first_rms"]
    assert found[CAMERA]["targets_first_abs_rel"] > 2.0 * right["targets_first_abs_rel"]
    assert found[AGAIN]["source_first_rms"] != right["source_first_rms"], "the arm moved"
    assert {RIGHT, AGAIN, *(f"{RIGHT}, {task}" for task in TEMPLATES if task != TASK)} < set(found)
    assert all(np.isfinite(row.numbers).all() for row in rows)


def test_what_is_doubted_is_what_was_imagined_whatever_retouching_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a planner judges: limits of retouched pictures would be another thing's."""
    # What a planner judges itself is the same by `tests/world/test_retouch.py`.
    monkeypatch.setattr(doubt, "TEMPLATES", {TASK: TEMPLATES[TASK]})
    monkeypatch.setattr(doubt, "after_carrying_out", lambda *_: [])
    plain, retouching = (
        write_random_checkpoint(tmp_path / name, quick=True) for name in ("plain", "other")
    )
    torch.manual_seed(0)
    save_retoucher(awake(Retoucher(RetouchConfig((8,)))), retouching)
    weights.write_manifest(retouching, [*weights.listed(retouching), *RETOUCHER.names])
    ours, theirs = (doubt_scene(DoubtScene(10_000, folder)) for folder in (plain, retouching))
    assert [row.case for row in ours] == [row.case for row in theirs]
    np.testing.assert_array_equal([row.numbers for row in ours], [row.numbers for row in theirs])
