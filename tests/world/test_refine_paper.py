"""The residual IDM by the paper's letter: fixed window, shared frame, plain PointNet, per step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core.errors import ConfigError
from mvista_core.records import Rollout
from mvista_world.corrections import step_correction
from mvista_world.fusion import fuse
from mvista_world.refine import (
    PAPER,
    ResidualRefiner,
    load_refiner,
    local_clouds,
    refine,
    save_refiner,
    tip_poses,
)
from mvista_world.training.refine import RefineTraining, recipe, train_refiner
from mvista_world.training.request import TrainingRequest
from tests.world.refining import (
    ARM,
    FRAME_TIMES_S,
    RECORDED,
    STEP_TIMES_S,
    last_weight,
    make_prior,
    make_rig,
    make_rollout,
)
from tests.world.test_refine_training import write_shards
from tests.world.tiny import CONFIG

SMALL = dataclasses.replace(PAPER, points=48, point_widths=(24, 48), hidden=48, min_points=4)


def trained() -> ResidualRefiner:
    torch.manual_seed(0)
    model = ResidualRefiner(SMALL).eval()
    torch.nn.init.normal_(last_weight(model), std=0.02)
    return model


def refined(model: ResidualRefiner, rollout: Rollout) -> np.ndarray:
    prior, start = make_prior()
    return refine(model, rollout, prior, start, ARM).positions


def test_it_has_the_papers_sizes() -> None:
    assert (PAPER.points, PAPER.candidates, PAPER.keypoints, PAPER.per_step) == (8192, 0, 0, True)
    # A shared MLP and a maximum over both clouds, then the prior at one step.
    model = ResidualRefiner(SMALL)
    assert model.keypoint is None
    first = model.head[0]
    assert isinstance(first, torch.nn.Linear) and first.in_features == 48 + SMALL.joints


def test_what_lies_outside_the_window_does_not_count_and_what_lies_inside_does() -> None:
    model, rollout = trained(), make_rollout()
    assert SMALL.crop is not None
    inside = SMALL.cropped(np.ones((16, 24), np.float32)) > 0
    assert inside.mean() == pytest.approx(0.6 * 0.8, abs=0.1) and not inside[:, 0].any()
    outside = rollout.depth_m.copy()
    outside[..., ~inside] = 0.6
    same = dataclasses.replace(rollout, depth_m=outside)
    np.testing.assert_array_equal(refined(model, same), refined(model, rollout))
    other = rollout.depth_m.copy()
    other[..., inside] = 0.6
    changed = dataclasses.replace(rollout, depth_m=other)
    assert not np.array_equal(refined(model, changed), refined(model, rollout))


def test_points_stand_in_the_shared_frame_wherever_the_prior_has_the_hand() -> None:
    clouds = fuse(make_rollout(), SMALL.workspace)
    joints = np.stack([ARM.home, ARM.home + 0.2])[[0, 1] * 5][:9]
    here, usable = local_clouds(clouds, tip_poses(ARM, joints), SMALL)
    there, _ = local_clouds(clouds, tip_poses(ARM, joints[::-1]), SMALL)
    assert usable.all()
    np.testing.assert_array_equal(here, there)


def test_a_step_is_told_its_own_prior_alone() -> None:
    model = trained()
    clouds = torch.randn(1, 4, SMALL.points, 7)
    prior = torch.randn(1, 4, SMALL.joints)
    before = model(clouds, prior)
    moved = prior.clone()
    moved[:, 1] += 1.0
    after = model(clouds, moved)
    assert not torch.equal(after[:, 0], before[:, 0])
    torch.testing.assert_close(after[:, 1:], before[:, 1:])


def test_corrections_lie_on_straight_lines_between_steps() -> None:
    knots = np.random.default_rng(0).normal(size=(9, 7))
    at_knots = step_correction(knots, FRAME_TIMES_S, FRAME_TIMES_S)
    np.testing.assert_allclose(at_knots, knots)
    middle = (FRAME_TIMES_S[1:] + FRAME_TIMES_S[:-1]) / 2
    between = step_correction(knots, FRAME_TIMES_S, middle)
    np.testing.assert_allclose(between, (knots[1:] + knots[:-1]) / 2)
    prior, start = make_prior()
    untrained = ResidualRefiner(SMALL).eval()
    same = refine(untrained, make_rollout(), prior, start, ARM)
    np.testing.assert_array_equal(same.positions, prior.positions)
    assert len(same.times_s) == len(STEP_TIMES_S)


def test_it_trains_and_is_read_back(tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    model = train_refiner(
        [tmp_path / "data"], tmp_path / "out", SMALL,
        RefineTraining(steps=3, batch=2, validation_episodes=1), False,
        rig=make_rig(), arm=ARM, window=RECORDED,
    )  # fmt: skip
    loaded = load_refiner(tmp_path / "out")
    assert loaded.config == SMALL
    assert torch.equal(last_weight(loaded), last_weight(model)) and last_weight(model).any()
    np.testing.assert_array_equal(
        refined(loaded, make_rollout()), refined(model.eval(), make_rollout())
    )


def test_it_is_a_recipe_of_refine_with_the_length_that_was_asked_for(tmp_path: Path) -> None:
    asked = TrainingRequest(
        CONFIG, tmp_path, tmp_path, tmp_path, make_rig(), ARM, 3, 7, recipe="paper"
    )
    config, training = recipe(asked)
    assert (config, training.steps, training.seed) == (PAPER, 7, 3)
    assert recipe(dataclasses.replace(asked, recipe="tiny"))[0] != PAPER


@pytest.mark.parametrize("crop", [(0.8, 0.1, 0.2, 0.9), (0.0, 0.0, 1.2, 1.0)])
def test_a_window_that_is_none_is_refused(crop: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigError, match="left < right and top < bottom"):
        dataclasses.replace(PAPER, crop=crop)


def test_a_refiner_of_before_the_window_has_none(tmp_path: Path) -> None:
    shipped = load_refiner(Path(__file__).parents[2] / "models/checkpoints/tiny")
    assert shipped.config.crop is None and not shipped.config.per_step
    path = save_refiner(ResidualRefiner(SMALL), tmp_path)
    assert load_refiner(path.parent).config.crop == SMALL.crop
