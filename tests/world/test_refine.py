"""Laws of the residual IDM: what it corrects, from which points, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.errors import ConfigError, ObservationError, TrajectoryError, WeightsError
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import (
    JointState,
)
from mvista_world.corrections import spread_correction
from mvista_world.fusion import PointCloud
from mvista_world.refine import (
    RefineConfig,
    ResidualRefiner,
    load_refiner,
    local_clouds,
    refine,
    save_refiner,
    tip_poses,
)
from tests.world.refining import (
    ARM,
    FRAME_TIMES_S,
    STEP_TIMES_S,
    TINY,
    make_prior,
    make_rollout,
    make_truth,
    trained_at_random,
)

pytestmark = pytest.mark.slow


def test_an_untrained_refiner_returns_the_prior_exactly() -> None:
    prior, initial = make_prior()
    refined = refine(ResidualRefiner(TINY).eval(), make_rollout(), prior, initial, ARM)
    np.testing.assert_array_equal(refined.positions, prior.positions)
    assert refined.provenance == prior.provenance and refined.joint_names == prior.joint_names


def test_corrects_deterministically_and_touches_neither_prior_nor_start() -> None:
    prior, initial = make_prior()
    before = prior.positions.copy()
    model, rollout = trained_at_random(), make_rollout()
    first = refine(model, rollout, prior, initial, ARM)
    second = refine(model, rollout, prior, initial, ARM)
    np.testing.assert_array_equal(first.positions, second.positions)
    np.testing.assert_array_equal(prior.positions, before)
    moved = np.abs(first.positions - prior.positions)
    assert moved.max() > 1e-4
    assert moved[0].max() < 0.02 * moved.max() + 1e-9


def test_joint_state_and_vector_are_the_same_start() -> None:
    prior, initial = make_prior()
    names = ARM.joint_names[::-1]
    state = JointState(names, initial[::-1].copy(), np.zeros(7), 0)
    model, rollout = trained_at_random(), make_rollout()
    np.testing.assert_array_equal(
        refine(model, rollout, prior, state, ARM).positions,
        refine(model, rollout, prior, initial, ARM).positions,
    )


def test_no_points_near_the_hand_no_correction() -> None:
    prior, initial = make_prior()
    refined = refine(trained_at_random(), make_rollout(near=False), prior, initial, ARM)
    np.testing.assert_array_equal(refined.positions, prior.positions)


def test_batches_are_independent() -> None:
    model = trained_at_random()
    clouds = torch.rand(3, 9, TINY.points, 7)
    prior = torch.rand(3, 9, 7)
    whole = model(clouds, prior)
    assert whole.shape == (3, 8, 7)
    single = torch.cat([model(clouds[i : i + 1], prior[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, single)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_batched_kinematics_are_the_arms(seed: int) -> None:
    positions = np.random.default_rng(seed).uniform(ARM.lower, ARM.upper, (2, 3, 7))
    poses = tip_poses(ARM, positions)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(poses[i], ARM.base_from_tip(positions[i]), atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_corrections_are_c1_zero_at_the_start_and_never_overshoot(seed: int) -> None:
    knots = np.random.default_rng(seed).normal(0.0, 0.1, (9, 7))
    knots[0] = 0.0
    fine_s = np.linspace(-0.2, 6.6, 6801)
    curve = spread_correction(knots, FRAME_TIMES_S, fine_s)
    at_knots = spread_correction(knots, FRAME_TIMES_S, FRAME_TIMES_S)
    np.testing.assert_allclose(at_knots, knots, atol=1e-12)
    np.testing.assert_array_equal(curve[fine_s <= 0.0], 0.0)
    velocity = np.diff(curve, axis=0) / 1e-3
    # A jump in velocity would stay; a continuous one shrinks with the step.
    assert np.abs(np.diff(velocity, axis=0)).max() < 1e-3 * 60 * np.abs(knots).max()
    for k in range(8):
        inside = curve[(fine_s >= 0.8 * k) & (fine_s <= 0.8 * (k + 1))]
        ends = np.sort(knots[k : k + 2], axis=0)
        assert (inside >= ends[0] - 1e-12).all() and (inside <= ends[1] + 1e-12).all()
    np.testing.assert_array_equal(spread_correction(0 * knots, FRAME_TIMES_S, STEP_TIMES_S), 0.0)


@settings(max_examples=10, deadline=None)
@given(angle_rad=st.floats(-1.0, 1.0), seed=st.integers(0, 1000))
def test_turning_the_whole_cell_about_joint_1_changes_nothing(angle_rad: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints = make_truth(rng)[[96]]
    tip = tip_poses(ARM, joints)
    points_m = (tip[0, :3, 3] + rng.normal(size=(40, 3)) * 0.05).astype(np.float32)
    color = rng.integers(0, 256, (40, 3), dtype=np.uint8)
    turned = joints.copy()
    turned[:, 0] += angle_rad
    turn = pose_from(exp_so3(np.array([0.0, 0.0, angle_rad])), np.zeros(3))
    moved = (points_m @ turn[:3, :3].T).astype(np.float32)
    here, _ = local_clouds([PointCloud(points_m, color)], tip, TINY)
    there, _ = local_clouds([PointCloud(moved, color)], tip_poses(ARM, turned), TINY)
    np.testing.assert_allclose(here, there, atol=1e-4)


@pytest.mark.parametrize("count", [0, 15, 16, 48, 49, 96, 97, 3000])
def test_clouds_of_any_size_give_a_fixed_input_of_their_own_points(count: int) -> None:
    rng = np.random.default_rng(count)
    tip = tip_poses(ARM, ARM.home[None])
    points_m = (tip[0, :3, 3] + rng.uniform(-0.1, 0.1, (count, 3))).astype(np.float32)
    far = np.full((5, 3), 3.0, dtype=np.float32)
    cloud = PointCloud(np.concatenate([points_m, far]), np.zeros((count + 5, 3), np.uint8))
    features, usable = local_clouds([cloud], tip, TINY)
    assert features.shape == (1, TINY.points, 7) and features.dtype == np.float32
    assert usable[0] == (count >= TINY.min_points)
    if usable[0]:
        xyz = features[0, :, :3] * TINY.scale_m @ tip[0, :3, :3].T + tip[0, :3, 3]
        nearest = np.linalg.norm(xyz[:, None] - points_m[None], axis=-1).min(axis=1)
        assert nearest.max() < 1e-5
        assert len(np.unique(features[0], axis=0)) == min(count, TINY.points)


def test_weights_round_trip_and_altered_ones_are_refused(tmp_path: Path) -> None:
    model = trained_at_random(5)
    weights = save_refiner(model, tmp_path)
    again = load_refiner(tmp_path)
    assert again.config == TINY and not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    expected = json.loads((tmp_path / "refine.json").read_text())["sha256"]
    whole = weights.read_bytes()
    for broken in (whole[:-7], whole[:-1] + bytes([whole[-1] ^ 1])):
        weights.write_bytes(broken)
        with pytest.raises(WeightsError, match=expected):
            load_refiner(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match="no refiner"):
        load_refiner(tmp_path)


def test_refuses_what_it_cannot_refine() -> None:
    prior, initial = make_prior()
    model, rollout = trained_at_random(), make_rollout()
    shuffled = dataclasses.replace(prior, joint_names=ARM.joint_names[::-1])
    with pytest.raises(TrajectoryError, match="in this order"):
        refine(model, rollout, shuffled, initial, ARM)
    short = dataclasses.replace(prior, positions=prior.positions[:80], times_s=STEP_TIMES_S[:80])
    with pytest.raises(TrajectoryError, match="cover all frames"):
        refine(model, rollout, short, initial, ARM)
    with pytest.raises(ObservationError, match="7 joints"):
        refine(model, rollout, prior, initial[:6], ARM)
    with pytest.raises(ConfigError, match="candidates"):
        RefineConfig(points=512, candidates=100)
