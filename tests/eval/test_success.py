"""The evaluation's bookkeeping: intervals, rows, pairs, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mvista_cli import cli
from mvista_core.errors import ConfigError, InstructionError
from mvista_core.records import AS_NEEDED
from mvista_core.rig import load_rig
from mvista_eval.cell import HELD_OUT, rig_file
from mvista_eval.statistics import wilson
from mvista_eval.success.table import SuccessRequest, jobs, pair_rows, rows_of
from mvista_eval.success.trials import WAYS, PlanJob, PlanTrial, names_of, pair_jobs
from mvista_world.presets import preset
from tests.world.tiny import write_checkpoint


def trial(seed: int, won: bool, right: bool, error_mm: float = 5.0) -> PlanTrial:
    return PlanTrial("full", seed, f"touch cube {seed}", won, right, False, error_mm)


def asked(rows: str = "full", task: str = "touch_cube", pairs: bool = False) -> SuccessRequest:
    return SuccessRequest(task, 3, 10_000, Path("none"), rows, pairs)


@pytest.mark.parametrize("count", [1, 20, 50, 200])
def test_an_interval_holds_its_rate_and_stays_in_zero_to_one(count: int) -> None:
    for successes in range(count + 1):
        low, high = wilson(successes, count)
        assert 0.0 <= low <= successes / count <= high <= 1.0


def test_the_interval_of_40_in_50() -> None:
    # Wilson's formula worked by hand: centre 0.7786, half-width 0.1093.
    assert wilson(40, 50) == pytest.approx((0.6696, 0.8876), abs=1e-3)


def test_a_pair_counts_only_when_both_words_were_followed() -> None:
    trials = [
        trial(0, True, True),
        trial(0, True, False),
        trial(1, True, True),
        trial(1, True, True),
    ]
    words, pairs = pair_rows(trials)
    assert (words.episodes, words.right_object) == (4, 3)
    assert (pairs.episodes, pairs.right_object, pairs.successes) == (2, 1, 2)


def test_pairs_ask_the_same_scene_for_two_colours() -> None:
    whole = PlanJob("touch_cube", 0, Path("none"), tuple(WAYS), drawn=HELD_OUT)
    for job in pair_jobs(10_000, 20, whole):
        first, second = job.instructions
        assert first != second
        assert (job.task, job.drawn) == ("touch_cube", HELD_OUT)


def test_rows_by_name_and_an_unknown_row_is_refused_with_the_names_there_are() -> None:
    assert [len(job.ways) for job in jobs(asked(rows="all"))] == [len(WAYS)] * 3
    with pytest.raises(ConfigError, match="true-latent"):
        jobs(asked(rows="no such row"))


def test_every_scene_can_be_asked_for_what_the_demo_asks() -> None:
    words = "touch the red cube"
    found = jobs(dataclasses.replace(asked(), instruction=words))
    assert [job.instructions for job in found] == [(words,)] * 3
    assert {job.best_of for job in found} == {AS_NEEDED}, "as the demo imagines"
    with pytest.raises(InstructionError, match=r"touch the \{red"):
        jobs(dataclasses.replace(asked(), instruction="open the drawer"))
    with pytest.raises(ConfigError, match="--instruction is one for all"):
        jobs(dataclasses.replace(asked(pairs=True), instruction=words))


def test_pairs_of_a_task_without_colours_are_refused() -> None:
    with pytest.raises(ConfigError, match="open_drawer"):
        jobs(asked(task="open_drawer", pairs=True))


def test_a_draw_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="held out"):
        jobs(dataclasses.replace(asked(), drawn="anywhere"))
    drawn = jobs(dataclasses.replace(asked(), drawn=HELD_OUT))
    assert [job.drawn for job in drawn] == [HELD_OUT] * 3


@pytest.mark.slow
def test_the_command_plans_from_cameras_that_each_scene_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    checkpoint = write_checkpoint(tmp_path / "tiny")
    rows = "head alone;hidden: words alone;true-rollout, head alone;true-actions"
    line = "eval success --task open_drawer --episodes 2 --workers 1 --drawn held-out"
    found = tmp_path / "success.json"
    where = ["--checkpoint", str(checkpoint), "--json", str(found)]
    assert cli.main([*line.split(), *where, "--rows", rows]) == 0
    told = json.loads(found.read_text(encoding="utf-8"))
    assert told["rig"] == "drawn, held out"
    # The expert needs no camera, so that it succeeds from any.
    assert {row["name"]: row["successes"] for row in told["rows"]}["true-actions"] == 2
    assert len({row["median_tip_error_mm"] for row in told["rows"]}) == 4, "each reads another"


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 5])
def test_the_command_plans_from_one_view_to_five_and_says_what_a_plan_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    checkpoint = write_checkpoint(tmp_path / "tiny")
    rows = "full: as planned;head alone;head alone, refined;true-rollout, head alone"
    line = f"eval success --episodes 1 --workers 1 --drawn held-out --views {views} --mode 2"
    found = tmp_path / "success.json"
    where = ["--checkpoint", str(checkpoint), "--json", str(found)]
    assert cli.main([*line.split(), *where, "--rows", rows, "--best-of", "1"]) == 0
    told = json.loads(found.read_text(encoding="utf-8"))
    assert told["views"] == views
    costs = {row["name"]: row["median_plan_cpu_s"] for row in told["rows"]}
    assert costs["full: as planned"] > 0 and costs["head alone, refined"] > 0
    assert costs["head alone"] is None
    assert costs["true-rollout, head alone"] is None


def test_views_are_the_checkpoints_and_then_the_rigs_others() -> None:
    config, rig = preset("tiny"), load_rig(rig_file())
    assert names_of(config, rig, 0) == config.cameras
    for views in range(1, 5):
        names = names_of(config, rig, views)
        assert len(set(names)) == views and names[:3] == config.cameras[:views]
    with pytest.raises(ConfigError, match="5 views asked for, the rig 'sim_cell' has 4"):
        names_of(config, rig, 5)
    for views, drawn in ((5, ""), (6, HELD_OUT), (-1, "")):
        with pytest.raises(ConfigError, match=f"{views} views: 1 to "):
            jobs(dataclasses.replace(asked(), views=views, drawn=drawn))
    (job, *_) = jobs(dataclasses.replace(asked(), views=5, drawn=HELD_OUT))
    assert job.views == 5


def test_what_a_plan_costs_is_told_where_all_of_it_was_planned() -> None:
    planned = [dataclasses.replace(trial(k, True, True), plan_cpu_s=4.0 + k) for k in range(3)]
    (row,) = rows_of(planned, "touch_cube")
    assert row.median_plan_cpu_s == 5.0 and "plan 5.0 CPU s" in str(row)
    (row,) = rows_of([trial(0, True, True)], "touch_cube")
    assert row.median_plan_cpu_s is None and "CPU" not in str(row)
