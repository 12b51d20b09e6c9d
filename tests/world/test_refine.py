"""Laws of the residual IDM, and its training on a hand that can be seen."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError, ObservationError, TrajectoryError, WeightsError
from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.imaging import ModelWindow
from mvista_core.records import (
    ActionTrajectory,
    CameraCalibration,
    Intrinsics,
    JointState,
    Provenance,
    RigCalibration,
    Rollout,
)
from mvista_world.compute import choose
from mvista_world.fusion import PointCloud
from mvista_world.refine import (
    RefineConfig,
    ResidualRefiner,
    load_refiner,
    local_clouds,
    refine,
    save_refiner,
    spread_correction,
    tip_poses,
)
from mvista_world.training.refine import RefineTraining, fit_gain, refine_loss, train_refiner
from mvista_world.training.refine_data import (
    LARGEST_BEND_RAD,
    Augmentation,
    Priors,
    SampleMaker,
    augment,
    bend,
    load_episodes,
    load_priors,
    save_priors,
)

pytestmark = pytest.mark.slow

ARM: ArmModel = load_arm(Path(__file__).parents[2] / "config/arms/piper.yaml")
TINY = RefineConfig(points=48, candidates=96, point_widths=(24, 48), keypoints=4, hidden=48)
FRAME_TIMES_S = np.linspace(0.0, 6.4, 9)
STEP_TIMES_S = np.linspace(1 / 15, 6.4, 96)
WINDOW = Intrinsics(24, 16, 23.4, 23.4, 11.4, 7.4)
RECORDED = ModelWindow(24, 16, 2)


def make_rig() -> RigCalibration:
    eyes = [[0.9, -0.4, 0.45], [1.0, 0.0, 0.5], [0.9, 0.4, 0.45], [0.35, 0.7, 0.5]]
    # The recorder's images are the central crop reduced by two: the cameras are twice as large.
    whole = Intrinsics(48, 32, 46.8, 46.8, 23.3, 15.3)
    cameras = tuple(
        CameraCalibration(f"cam{i}", look_at(np.array(eye), np.array([0.35, 0.0, 0.1])), whole)
        for i, eye in enumerate(eyes)
    )
    return RigCalibration("test", "piper_base", cameras, "2026-01-01", "pass")


def make_truth(rng: np.random.Generator) -> np.ndarray:
    """Smooth joints [97, 7] from home to somewhere near it."""
    s = np.linspace(0.0, 1.0, 97)[:, None]
    goal = rng.normal(size=7) * np.array([0.4, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0])
    return ARM.home + (3 * s**2 - 2 * s**3) * goal + np.array([0] * 6 + [0.03]) * s


def make_rollout(seed: int = 0, near: bool = True) -> Rollout:
    rng = np.random.default_rng(seed)
    rig = make_rig()
    shape = (3, 9, 16, 24)
    low, high = (0.45, 0.9) if near else (3.0, 4.0)
    return Rollout(
        "r",
        "touch the red cube",
        rig.names[:3],
        (WINDOW,) * 3,
        np.stack([camera.base_from_camera for camera in rig.cameras[:3]]),
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        rng.uniform(low, high, shape).astype(np.float32),
        FRAME_TIMES_S,
        seed,
        0,
    )


def make_prior(seed: int = 0) -> tuple[ActionTrajectory, np.ndarray]:
    truth = make_truth(np.random.default_rng(seed))
    provenance = Provenance("plan", "0" * 64, seed)
    return ActionTrajectory(ARM.joint_names, truth[1:], STEP_TIMES_S, provenance), truth[0]


def last_weight(model: ResidualRefiner) -> torch.Tensor:
    return list(model.head.parameters())[-2]


def trained_at_random(seed: int = 0) -> ResidualRefiner:
    """A refiner whose last layer is not zero."""
    torch.manual_seed(seed)
    model = ResidualRefiner(TINY).eval()
    torch.nn.init.normal_(last_weight(model), std=0.02)
    return model


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


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_bent_priors_keep_the_start_and_the_asked_tip_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = make_truth(rng)[::12]
    prior = bend(truth, ARM, rng, (0.02, 0.03))
    np.testing.assert_array_equal(prior[0], truth[0])
    gap = tip_poses(ARM, prior)[:, :3, 3] - tip_poses(ARM, truth)[:, :3, 3]
    largest = np.abs(prior - truth)[:, :6].max()
    assert largest <= LARGEST_BEND_RAD + 1e-9
    if largest < 0.99 * LARGEST_BEND_RAD:
        assert 0.017 < np.linalg.norm(gap, axis=-1).max() < 0.033


def test_augmentation_keeps_invalid_pixels_and_is_seeded() -> None:
    rollout = make_rollout()
    depth_m = rollout.depth_m.copy()
    depth_m[:, :, 4:8] = 0.0
    strength = Augmentation(3, 0.01, 0.002, 0.05, 0.1)
    color, smeared = augment(rollout.color, depth_m, strength, np.random.default_rng(1))
    again = augment(rollout.color, depth_m, strength, np.random.default_rng(1))
    np.testing.assert_array_equal(color, again[0])
    np.testing.assert_array_equal(smeared, again[1])
    assert (smeared[:, :, 4:8] == 0).all() and smeared.dtype == np.float32
    assert color.dtype == np.uint8 and color.shape == rollout.color.shape


def write_shards(directory: Path, count: int = 12) -> None:
    """Two shards of random images and smooth actions, in the recorder's format."""
    rng = np.random.default_rng(0)
    directory.mkdir()
    for shard in range(2):
        truths = np.stack([make_truth(rng) for _ in range(count // 2)]).astype(np.float32)
        np.savez(
            directory / f"shard-{shard:05d}.npz",
            color=rng.integers(0, 256, (count // 2, 4, 9, 16, 24, 3), dtype=np.uint8),
            depth_mm=rng.integers(450, 900, (count // 2, 4, 9, 16, 24)).astype(np.uint16),
            actions=truths[:, 1:],
            initial=truths[:, 0],
        )


def test_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    training = RefineTraining(steps=5, seed=3, batch=2, state_every=2, validation_episodes=1)

    def run(out: str, training: RefineTraining = training) -> ResidualRefiner:
        return train_refiner(
            [tmp_path / "data"], tmp_path / out, TINY, training, True,
            rig=make_rig(), arm=ARM, window=RECORDED,
        )  # fmt: skip

    straight = run("a")
    (tmp_path / "b").mkdir()
    shutil.copyfile(tmp_path / "a/refine.state", tmp_path / "b/refine.state")
    assert torch.load(tmp_path / "b/refine.state", weights_only=True)["step"] == 4
    resumed = run("b")
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert torch.equal(last_weight(load_refiner(tmp_path / "b")), last_weight(straight))
    with pytest.raises(ConfigError, match="other sizes, seed or steps"):
        run("b", dataclasses.replace(training, steps=6))


def test_real_priors_round_trip_and_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "data")
    episodes = load_episodes([tmp_path / "data"])
    index = np.array([0, 9])
    imagined = Priors(
        index,
        episodes.actions[index] + 0.01,
        np.array([[0, 1, 2], [1, 2, 3]]),
        episodes.color[index][:, :3],
        episodes.depth_mm[index][:, :3],
    )
    save_priors(tmp_path / "priors.npz", imagined)
    np.testing.assert_array_equal(
        load_priors(tmp_path / "priors.npz", episodes).positions, imagined.positions
    )
    train_refiner(
        [tmp_path / "data"], tmp_path / "out", TINY,
        RefineTraining(steps=2, batch=2, real_share=1.0), False,
        rig=make_rig(), arm=ARM, window=RECORDED, priors=tmp_path / "priors.npz",
    )  # fmt: skip
    assert '"refine-evaluation real"' in capsys.readouterr().out
    save_priors(tmp_path / "bad.npz", Priors(np.array([99]), imagined.positions[:1]))
    with pytest.raises(ConfigError, match=r"0\.\.11"):
        load_priors(tmp_path / "bad.npz", episodes)


def seen_hand(rng: np.random.Generator, size: int) -> tuple[torch.Tensor, ...]:
    """A batch in which the true hand is visible as points rigidly attached to the tip."""
    hand_m = np.random.default_rng(1).uniform(-1.0, 1.0, (40, 3)) * np.array([0.05, 0.02, 0.06])
    color = np.zeros((40, 3), np.uint8)
    clouds, priors, residuals = [], [], []
    for _ in range(size):
        truth = make_truth(rng)[::12]
        prior = bend(truth, ARM, rng, (0.02, 0.04))
        points = [
            PointCloud((hand_m @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32), color)
            for pose in tip_poses(ARM, truth)
        ]
        clouds.append(local_clouds(points, tip_poses(ARM, prior), TINY)[0])
        priors.append(prior.astype(np.float32))
        residuals.append((truth - prior)[1:].astype(np.float32))
    columns = [np.stack(column) for column in (clouds, priors, residuals)]
    usable = np.ones(columns[2].shape[:2], dtype=bool)
    return tuple(torch.from_numpy(column) for column in (*columns, usable))


def test_it_learns_to_see_how_far_the_hand_is_off() -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = ResidualRefiner(TINY)
    batches = [seen_hand(rng, 12) for _ in range(20)]
    held_out = seen_hand(rng, 24)
    for name, column in (("prior", batches[0][1]), ("residual", batches[0][2])):
        spread = column.flatten(0, 1).std(0).clamp(min=1e-3)
        getattr(model, f"{name}_std").copy_(spread)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(200):
        loss = refine_loss(model, batches[step % len(batches)], choose("fp32"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _, prior, residual, _ = held_out
    with torch.inference_mode():
        found = model(*held_out[:2])

    def tips(joints: torch.Tensor) -> np.ndarray:
        return tip_poses(ARM, joints.numpy())[..., :3, 3]

    truth = tips(prior[:, 1:] + residual)
    before = np.linalg.norm(tips(prior[:, 1:]) - truth, axis=-1).mean()
    after = np.linalg.norm(tips(prior[:, 1:] + found) - truth, axis=-1).mean()
    assert after < 0.6 * before


@pytest.mark.parametrize(("predicted_rad", "gain"), [(-0.04, 0.25), (-0.005, 1.0), (0.04, 0.0)])
def test_the_gain_is_the_share_of_the_prediction_that_held(
    tmp_path: Path, predicted_rad: float, gain: float
) -> None:
    """Priors 0.01 rad too far, a refiner that always predicts the same correction."""
    write_shards(tmp_path / "data")
    episodes = load_episodes([tmp_path / "data"])
    index = np.array([0, 9])
    episodes = episodes.with_priors(Priors(index, episodes.actions[index] + 0.01))
    maker = SampleMaker(episodes, make_rig(), ARM, RECORDED, TINY, 3, (0.0, 0.02), 1.0)
    model = ResidualRefiner(TINY).eval()
    with torch.no_grad():
        last_layer = model.head[-1]
        assert isinstance(last_layer, torch.nn.Linear)
        last_layer.bias.fill_(predicted_rad)
    assert fit_gain(model, maker) == pytest.approx(gain, abs=1e-4)
    assert float(model.gain) == 1.0


def test_episodes_of_another_number_of_cameras_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "data")
    rig = make_rig()
    fewer = dataclasses.replace(rig, cameras=rig.cameras[:3])
    with pytest.raises(ConfigError, match=r"episodes of 4 views; rig 'test' has .*cam2"):
        SampleMaker(
            load_episodes([tmp_path / "data"]), fewer, ARM, RECORDED, TINY, 3, (0.0, 0.02), 1.0
        )
