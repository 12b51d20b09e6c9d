"""How the residual IDM is trained: on bent and imagined priors, on a hand that can be seen."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.errors import ConfigError
from mvista_world.compute import choose
from mvista_world.fusion import PointCloud
from mvista_world.refine import (
    ResidualRefiner,
    load_refiner,
    local_clouds,
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
from tests.world.refining import (
    ARM,
    RECORDED,
    TINY,
    last_weight,
    make_rig,
    make_rollout,
    make_truth,
)

pytestmark = pytest.mark.slow


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
