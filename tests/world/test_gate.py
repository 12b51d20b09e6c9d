"""The gate: what it refuses and with which numbers, whose limits it has, the best of several."""

from __future__ import annotations

import math
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from mvista_core import weights
from mvista_core.errors import CancelledError, ConfigError, GateError, WeightsError
from mvista_core.records import AS_NEEDED, MOST_ROLLOUTS, Doubt, ImagineOptions, Rollout
from mvista_core.timing import ManualClock
from mvista_world import gate
from mvista_world.planner import WorldModelPlanner, load_planner
from mvista_world.plausibility import Doubts
from tests.world.tiny import ARM, RIG, make_observation, noting, write_checkpoint

LIMITS = dict(zip(gate.MEANINGS, (0.03, 0.02, 0.02, 0.06, 0.05), strict=True))
WORDS = "open the drawer"


def doubts(*values: float) -> tuple[Doubt, ...]:
    return gate.judged(Doubts(*values), LIMITS)


def test_every_number_has_a_meaning_and_a_reason_of_its_own() -> None:
    assert tuple(gate.MEANINGS) == tuple(field.name for field in fields(Doubts))
    reasons = [meaning.reason for meaning in gate.MEANINGS.values()]
    assert len({*reasons, GateError.TOO_OLD, 0}) == len(reasons) + 2


@pytest.mark.parametrize("name", gate.MEANINGS)
def test_a_number_beyond_its_limit_is_refused_by_name_value_and_limit(name: str) -> None:
    gate.check(doubts(0.03, 0.02, 0.02, 0.06, math.nan))
    place = list(gate.MEANINGS).index(name)
    values = [0.0] * 5
    values[place] = 2.0 * LIMITS[name]
    with pytest.raises(GateError) as refused:
        gate.check(doubts(*values))
    assert refused.value.reason == gate.MEANINGS[name].reason
    assert f"{name} {values[place]:.4f}" in str(refused.value)
    assert f"at most {LIMITS[name]:.4f}" in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(GateError, match=r"goal_gap_m 0\.1.*outside_m 0\.1") as refused:
        gate.check(doubts(0.1, 0.0, 0.1, 0.0, 0.0))
    assert refused.value.reason == GateError.GOAL


def test_without_limits_nothing_is_refused_and_nothing_compared() -> None:
    free = gate.judged(Doubts(9.0, 9.0, 9.0, 9.0, 9.0), {})
    gate.check(free)
    with pytest.raises(ConfigError, match=r"no gate.json.*mvista eval gate --write"):
        gate.check_comparable({})


def test_a_refused_rollout_is_less_likely_than_any_other() -> None:
    near, far = doubts(0.029, 0.019, 0.019, 0.059, 0.049), doubts(0.0, 0.0, 0.0, 0.0, 0.051)
    better = doubts(0.01, 0.019, 0.019, 0.059, math.nan)
    assert gate.likelihood(better) < gate.likelihood(near) < gate.likelihood(far)


def test_limits_are_of_one_checkpoints_weights(tmp_path: Path) -> None:
    assert gate.load_limits(tmp_path, "a" * 64) == {}
    path = gate.save_limits(tmp_path, "a" * 64, LIMITS, {"episodes": 10})
    assert gate.load_limits(tmp_path, "a" * 64) == LIMITS
    with pytest.raises(WeightsError, match=r"of weights aaaaaaaaaaaa, these are bbbbbbbbbbbb"):
        gate.load_limits(tmp_path, "b" * 64)
    path.write_text('{"weights_sha256": "a"}')
    with pytest.raises(WeightsError, match="not the limits of a gate"):
        gate.load_limits(tmp_path, "a" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    gate.save_limits(folder, weights.verify(folder), LIMITS, {})
    return folder


@pytest.fixture(scope="module")
def planner(folder: Path) -> WorldModelPlanner:
    return load_planner(folder, RIG, ARM, ManualClock(7))


def judged_of(planner: WorldModelPlanner, rollout_id: str) -> tuple[Doubt, ...]:
    plan = planner.infer_actions(rollout_id, "head", 0, lambda *_: True)
    return planner.judge(rollout_id, plan, lambda *_: True)


def imagined(planner: WorldModelPlanner, seed: int, best_of: int = 1) -> tuple[int, str]:
    rollout = rollout_of(planner, seed, best_of)
    return rollout.seed, rollout.rollout_id


def rollout_of(planner: WorldModelPlanner, seed: int, best_of: int) -> Rollout:
    return planner.imagine(
        make_observation(WORDS),
        "cam1",
        ["cam2"],
        seed,
        lambda *_: True,
        ImagineOptions(best_of=best_of),
    )


def test_the_best_of_several_is_the_least_doubted_and_is_still_held(
    planner: WorldModelPlanner,
) -> None:
    """More than are kept: those after the best do not drop it."""
    count = 6
    alone = [gate.likelihood(judged_of(planner, imagined(planner, 3 + k)[1])) for k in range(count)]
    seed, rollout_id = imagined(planner, 3, count)
    assert seed == 3 + alone.index(min(alone))
    assert gate.likelihood(judged_of(planner, rollout_id)) == pytest.approx(min(alone))
    assert len(set(alone)) == count


def test_a_judgement_is_of_the_plan_that_would_be_executed(planner: WorldModelPlanner) -> None:
    _, rollout_id = imagined(planner, 3)
    plan = planner.infer_actions(rollout_id, "head", 0, lambda *_: True)
    own = {d.name: d.value for d in planner.judge(rollout_id, plan, lambda *_: True)}
    moved = plan.refined.positions.copy()
    moved[-1, 0] += 0.5
    elsewhere = replace(plan, refined=replace(plan.refined, positions=moved))
    other = {d.name: d.value for d in planner.judge(rollout_id, elsewhere, lambda *_: True)}
    assert abs(other["goal_gap_m"] - own["goal_gap_m"]) > 0.02
    assert own["source_first_rms"] == other["source_first_rms"]
    assert np.isfinite(list(own.values())).all()


def test_rollouts_cannot_be_compared_by_weights_without_limits(tmp_path: Path) -> None:
    bare = load_planner(write_checkpoint(tmp_path), RIG, ARM, ManualClock(7))
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"gate.json"):
        bare.imagine(
            make_observation(WORDS),
            "cam1",
            [],
            0,
            noting(told),
            ImagineOptions(best_of=2),
        )
    assert not told and not bare.gated


def test_several_rollouts_can_be_cancelled(planner: WorldModelPlanner) -> None:
    told: list[str] = []

    def stop_at_the_second(stage: str, fraction: float) -> bool:
        told.append(stage)
        return told.count("encode") < 2

    with pytest.raises(CancelledError, match="cancelled at stage 'encode'"):
        planner.imagine(
            make_observation(WORDS), "cam1", [], 0, stop_at_the_second, ImagineOptions(best_of=3)
        )


def limited(folder: Path, tmp_path: Path, goal_gap_m: float) -> WorldModelPlanner:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    limits = {**LIMITS, "goal_gap_m": goal_gap_m}
    gate.save_limits(tmp_path, weights.verify(tmp_path), limits, {})
    return load_planner(tmp_path, RIG, ARM, ManualClock(7))


def test_as_many_as_needed_end_with_the_first_that_is_sure_of_the_goal(
    planner: WorldModelPlanner, folder: Path, tmp_path: Path
) -> None:
    count = gate.MOST_AS_NEEDED
    gaps = [judged_of(planner, imagined(planner, 8 + k)[1])[0].value for k in range(count)]
    least = int(np.argmin(gaps))
    assert least > 0, "another seed: one where the first is not the best"
    easy = limited(folder, tmp_path / "easy", 1.001 * gaps[0] / gate.SURE_SHARE)
    found = rollout_of(easy, 8, AS_NEEDED)
    assert (found.imagined, found.seed) == (1, 8)
    hard = limited(folder, tmp_path / "hard", 1.001 * gaps[least] / gate.SURE_SHARE)
    found = rollout_of(hard, 8, AS_NEEDED)
    assert (found.imagined, found.seed) == (least + 1, 8 + least)


def test_as_many_as_needed_are_few_and_then_the_likeliest(folder: Path, tmp_path: Path) -> None:
    never = limited(folder, tmp_path, 1e-9)
    found, same = (rollout_of(never, 3, n) for n in (AS_NEEDED, gate.MOST_AS_NEEDED))
    assert found.imagined == same.imagined == gate.MOST_AS_NEEDED and found.seed == same.seed


def test_where_a_future_takes_long_no_further_one_is_imagined(folder: Path, tmp_path: Path) -> None:
    limited(folder, tmp_path, 1e-9)
    clock = ManualClock(7)
    slow = load_planner(tmp_path, RIG, ARM, clock)

    def progress(stage: str, fraction: float) -> bool:
        clock.advance(gate.MOST_AS_NEEDED_S)
        return True

    options = ImagineOptions(best_of=AS_NEEDED)
    observation = make_observation("touch the red cube")
    assert slow.imagine(observation, "cam1", ["cam2"], 3, progress, options).imagined == 1


def test_weights_without_limits_imagine_once(tmp_path: Path) -> None:
    bare = load_planner(write_checkpoint(tmp_path), RIG, ARM, ManualClock(7))
    found = rollout_of(bare, 5, AS_NEEDED)
    assert (found.imagined, found.seed) == (1, 5)


@pytest.mark.parametrize("count", [-1, MOST_ROLLOUTS + 1])
def test_so_many_rollouts_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"best_of {count}: 1 to {MOST_ROLLOUTS}"):
        ImagineOptions(best_of=count)
