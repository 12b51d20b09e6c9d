"""Modes 1 and 2 of imagining several views: which run makes which view, and what stays frozen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import CancelledError, ConfigError
from mvista_core.timing import ManualClock
from mvista_world.choices import MethodChoices
from mvista_world.config import SamplerConfig
from mvista_world.config_file import load_config
from mvista_world.denoise import solve, solve_views
from mvista_world.generator import Conditions
from mvista_world.planner import WorldModelPlanner, load_planner
from mvista_world.solvers import Euler
from mvista_world.view_passes import ViewPass, passes, put_views, take_views
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_conditions,
    make_generator,
    make_latents,
    make_observation,
    source_mask,
    write_checkpoint,
)

ONE = SamplerConfig(steps=3, mode=1)
TWO = SamplerConfig(steps=3, mode=2)
WORDS = "open the drawer"


def go_on(run: int, fraction: float) -> bool:
    return True


@given(views=st.integers(1, 5), references=st.integers(1, 5), max_views=st.integers(2, 5))
def test_mode_2_makes_every_view_once_beside_views_made_before(
    views: int, references: int, max_views: int
) -> None:
    runs = passes(views, replace(TWO, reference_views=references), max_views)
    made: set[int] = set()
    for run in runs:
        frozen, missing = run.views[: run.frozen], run.views[run.frozen :]
        assert len(run.views) <= max_views and run.views[0] == 0
        assert set(frozen) <= made and missing and not made & set(missing)
        assert Counter(run.views).most_common(1)[0][1] == 1
        made |= set(missing)
    assert made == set(range(views))
    assert all(run.frozen for run in runs[1:]) and not runs[0].frozen


def test_the_paper_s_three_views_are_two_and_then_the_third() -> None:
    assert passes(3, TWO, 3) == (ViewPass((0, 1), 0), ViewPass((0, 1, 2), 2))
    assert passes(5, TWO, 3)[1:] == tuple(ViewPass((0, 1, k), 2) for k in (2, 3, 4))
    assert passes(3, ONE, 3) == (ViewPass((0, 1, 2), 0),)


@pytest.mark.parametrize(
    ("views", "sampler", "max_views", "words"),
    [
        (6, TWO, 3, "6 views asked for; mode 2 completes at most 5"),
        (2, TWO, 1, "2 views asked for; mode 2 completes at most 1"),
        (4, ONE, 3, "4 views asked for.*trained on at most 3.*mode 2 completes up to 5"),
    ],
)
def test_more_views_than_can_be_imagined_are_refused_with_the_number(
    views: int, sampler: SamplerConfig, max_views: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        passes(views, sampler, max_views)


def test_given_are_the_sources_first_frame_and_all_that_is_frozen() -> None:
    known = ViewPass((0, 1, 4), 2).known(3)
    assert known.tolist() == [[True] * 3, [True] * 3, [False] * 3]
    assert ViewPass((0, 1), 0).known(3).tolist() == [[True, False, False], [False] * 3]


def test_views_are_taken_from_the_grid_and_put_back() -> None:
    grid = make_latents(2, 4)
    part = take_views(grid, 4, (0, 3))
    rows = CONFIG.latent_size[0]
    assert torch.equal(part[..., rows:, :], grid[..., 3 * rows :, :])
    assert torch.equal(put_views(grid, 4, (0, 3), part), grid)
    changed = put_views(grid, 4, (0, 3), part + 1.0)
    assert torch.equal(take_views(changed, 4, (0, 3)), part + 1.0)
    assert torch.equal(take_views(changed, 4, (1, 2)), take_views(grid, 4, (1, 2)))


def told_of(whole: Conditions, runs: tuple[ViewPass, ...]) -> list[Conditions]:
    return [replace(whole, cameras=whole.cameras.pick(0, [run.views])) for run in runs]


def test_mode_1_is_the_solvers_own_run() -> None:
    generator, data, noise = make_generator(), make_latents(1, 3), make_latents(1, 3, seed=9)
    told, runs = make_conditions(1, 3), passes(3, ONE, 3)
    found = solve_views(generator, data, noise, runs, told_of(told, runs), ONE, go_on)
    assert torch.equal(found, solve(generator, data, source_mask(3), told, noise, Euler(3, 3.0)))


def test_frozen_views_come_out_of_later_runs_as_they_were_to_the_bit() -> None:
    generator, data, noise = make_generator(), make_latents(1, 5), make_latents(1, 5, seed=9)
    runs, whole = passes(5, TWO, 3), make_conditions(1, 5)
    told = told_of(whole, runs)

    def after(count: int) -> torch.Tensor:
        return solve_views(generator, data, noise, runs[:count], told[:count], TWO, go_on)

    first, last, kept = after(1), after(4), runs[0].views
    assert torch.equal(take_views(last, 5, kept), take_views(first, 5, kept))
    assert torch.equal(take_views(last, 5, (2,)), take_views(after(2), 5, (2,)))
    # What is frozen is looked at: beside other references, another view is completed.
    later = (runs[1:2], told[1:2], TWO, go_on)
    other = put_views(first, 5, (1,), take_views(first, 5, (1,)) + 0.5)
    completed = [solve_views(generator, held, noise, *later) for held in (first, other)]
    assert torch.equal(completed[0], after(2))
    assert not torch.equal(take_views(completed[0], 5, (2,)), take_views(completed[1], 5, (2,)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def planner(checkpoint: Path) -> WorldModelPlanner:
    return load_planner(checkpoint, RIG, ARM, ManualClock(7))


def test_two_passes_tell_how_far_they_are_and_can_be_cancelled(planner: WorldModelPlanner) -> None:
    heard: list[tuple[str, float]] = []

    def listen(stage: str, fraction: float) -> bool:
        heard.append((stage, fraction))
        return True

    targets = ["cam2", "cam0", "cam3"]
    planner.imagine(make_observation(WORDS), "cam1", targets, 0, listen)
    order = [stage for stage, _ in heard]
    stages = list(dict.fromkeys(order))
    assert stages == ["encode", "imagine", "complete"]
    assert order == sorted(order, key=stages.index), "no stage comes back"
    for stage in stages:
        values = [fraction for name, fraction in heard if name == stage]
        assert values == sorted(values) and values[0] >= 0.0 and values[-1] <= 1.0
    assert [f for s, f in heard if s == "complete"][-1] == 1.0
    with pytest.raises(CancelledError, match="cancelled at stage 'complete'"):
        planner.imagine(
            make_observation(WORDS), "cam1", targets, 0, lambda stage, _: stage != "complete"
        )


@pytest.mark.parametrize("source", RIG.names)
def test_four_views_are_imagined_from_any_camera_and_explained(
    planner: WorldModelPlanner, source: str
) -> None:
    observation = make_observation(WORDS, cameras=(source,))
    targets = [name for name in RIG.names if name != source]
    rollout = planner.imagine(observation, source, targets, 3, lambda *_: True)
    assert rollout.cameras == (source, *targets)
    assert len(rollout.color) == len(rollout.depth_m) == 4
    plan = planner.infer_actions(rollout.rollout_id, "head", 1, lambda *_: True)
    assert np.isfinite(plan.refined.positions).all()


def test_six_views_are_refused_before_anything_else(planner: WorldModelPlanner) -> None:
    with pytest.raises(ConfigError, match="6 views asked for; mode 2 completes at most 5"):
        planner.imagine(
            make_observation(WORDS), "cam1", [f"cam{k}" for k in range(2, 7)], 0, lambda *_: True
        )


def test_a_checkpoint_that_names_no_mode_keeps_mode_1_unless_asked(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "models/checkpoints/tiny/config.json"
    config, _ = load_config(path)
    assert (config.sampler.mode, config.optimisation.literal) == (1, False)
    chosen = MethodChoices(2, True).applied_to(config)
    assert (chosen.sampler.mode, chosen.optimisation.literal) == (2, True)
    assert MethodChoices().applied_to(config) == config
    with pytest.raises(ConfigError, match=r"mode is one of \(1, 2\)"):
        MethodChoices(3).applied_to(config)


def test_a_chosen_mode_is_the_planners(checkpoint: Path) -> None:
    chosen = load_planner(checkpoint, RIG, ARM, ManualClock(7), choices=MethodChoices(1))
    with pytest.raises(ConfigError, match="4 views asked for.*at most 3"):
        chosen.imagine(
            make_observation(WORDS), "cam1", ["cam0", "cam2", "cam3"], 0, lambda *_: True
        )
