"""What training makes of a camera that was filmed at another one's vantage."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core.camera_range import TRAINED
from mvista_core.errors import ConfigError
from mvista_core.vantage import Vantage
from mvista_world.cameras import look_at_point
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.config import ModelConfig
from mvista_world.layout import from_grid
from mvista_world.training import batches, data
from mvista_world.training.curriculum import TRAINING
from mvista_world.training.data_sets import find_data_sets
from mvista_world.training.vantages import look_at_points, vantages
from mvista_world.trajectory import TrajectoryVae
from tests.world.test_vantage import CENTRE, LENS, READ, VANTAGE, standing
from tests.world.tiny import (
    ARM,
    RIG,
    awake,
    write_episodes,
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> batches.Sources:
    """Noise, filmed by a camera, another, and one at the first one's vantage."""
    folder = write_episodes(tmp_path_factory.mktemp("recorded"), 20, READ)
    lens = READ.window.intrinsics(LENS)
    for path in folder.glob("*/shard-00000.npz"):
        with np.load(path) as stored:
            arrays = dict(stored)
        count = len(arrays["actions"])
        cameras = standing(10.0, 35.0, 0.9), standing(60.0, 40.0, 0.7)
        poses = [camera.base_from_camera for camera in cameras]
        poses.append(VANTAGE.pose(poses[0], TRAINED))
        arrays["base_from_camera"] = np.tile(np.stack(poses), (count, 1, 1, 1))
        k = np.array([lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px])
        arrays["intrinsics"] = np.tile(k, (count, 3, 1))
        arrays["color"], arrays["depth_mm"] = arrays["color"][:, :3], arrays["depth_mm"][:, :3]
        arrays["depth_mm"][:] = 800
        np.savez(path, **arrays)
    torch.manual_seed(0)
    codec = awake(StackedCodec(READ.codec)).eval()
    video, scenes = (
        data.load_latents(
            [folder / name], folder / "latents", codec, READ, "0" * 64, choose("fp32"), RIG
        )
        for name in ("touch", "grounding")
    )
    return batches.make_sources([video], scenes, TrajectoryVae(READ.trajectory, 7), ARM)


TRAIN = replace(
    TRAINING["tiny"], ground_batch=6, one_batch=4, many_batch=4, view_counts=(2, 3), full_source=0.5
)


@pytest.mark.parametrize("kind", ["ground", "one", "many"])
def test_a_sample_is_given_what_was_drawn_at_the_vantage_and_learns_what_was_filmed_there(
    recorded: batches.Sources, kind: str
) -> None:
    chosen = recorded.grounding if kind == "ground" else recorded.video[0]
    assert chosen is not None and chosen.drawn is not None
    for step in range(4):
        batch = batches.draw_batch(kind, recorded, READ, TRAIN, step)
        views = batch.cameras.views
        latents = from_grid(batch.x0, views)[:, 0]
        assert batch.shown is not None
        shown = from_grid(batch.shown, views)[:, 0, :, :, 0]
        channels = READ.codec.latent_channels
        for sample in range(len(latents)):
            # Which episode it is, is told by what was drawn of it.
            drawn = torch.from_numpy(chosen.drawn[:, 0, 2].astype(np.float32))
            episode = int((drawn - shown[sample]).abs().amax(dim=(1, 2, 3, 4)).argmin())
            torch.testing.assert_close(drawn[episode], shown[sample])
            torch.testing.assert_close(latents[sample, :, :, 0], shown[sample, :, :channels])
            film = torch.from_numpy(chosen.latents[episode, 2].astype(np.float32))
            torch.testing.assert_close(latents[sample, :, :, 1:], film[:, :, 1:])
            assert not torch.equal(latents[sample, :, :, 0], film[:, :, 0])


def test_without_a_vantage_sources_are_all_cameras_as_they_stand(
    recorded: batches.Sources,
) -> None:
    plain: ModelConfig = READ.without(["vantage"])
    chosen = recorded.video[0]
    firsts = set()
    for step in range(6):
        batch = batches.draw_batch("one", recorded, plain, TRAIN, step)
        latents = from_grid(batch.x0, 1)[:, 0, :, :, 0]
        film = torch.from_numpy(chosen.latents[:, :, :, :, 0].astype(np.float32)).flatten(0, 1)
        for sample in latents:
            gaps = (film - sample).abs().flatten(1).amax(dim=1)
            assert gaps.min() < 1e-6
            firsts.add(int(gaps.argmin()) % 3)
    assert firsts == {0, 1, 2}


def test_where_a_mask_hides_the_first_frame_the_film_is_learnt() -> None:
    rng = torch.Generator().manual_seed(2)
    latents = torch.randn(3, 2, 2, 8, 2, 4, 6, generator=rng)
    shown = torch.randn(3, 2, 2, 13, 4, 6, generator=rng)
    found = batches.with_given(latents, shown, torch.tensor([True, False, True]))
    for sample, given in enumerate((True, False, True)):
        begun = shown[sample, 0, :, :8] if given else latents[sample, 0, :, :, 0]
        assert torch.equal(found[sample, 0, :, :, 0], begun)
    assert torch.equal(found[:, 1], latents[:, 1])
    assert torch.equal(found[..., 1:, :, :], latents[..., 1:, :, :])


def test_a_vantage_is_no_camera_of_the_rig_for_eq_6(recorded: batches.Sources) -> None:
    """A planner's rig has none: what a model is told of the others may not depend on it."""
    chosen = recorded.video[0]
    poses = chosen.base_from_camera[:1]
    stands_for = vantages(poses, VANTAGE)
    assert stands_for.tolist() == [[-1, -1, 0]]
    point = look_at_points(poses, stands_for)
    np.testing.assert_allclose(point[0], look_at_point(poses[0, :2]))
    alone = look_at_points(poses[:, [0, 2]], stands_for[:, [0, 2]])
    np.testing.assert_array_equal(alone[0], CENTRE)
    plain = np.full_like(stands_for, -1)
    np.testing.assert_array_equal(look_at_points(poses, plain)[0], look_at_point(poses[0]))


def test_films_of_another_vantage_are_refused(tmp_path: Path) -> None:
    folder = write_episodes(tmp_path, 4, READ)
    path = folder / "touch" / "manifest.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "vantage": asdict(Vantage(pitch_deg=60.0))}))
    (found,) = find_data_sets(folder / "touch")
    with pytest.raises(ConfigError, match=r"films from Vantage\(pitch_deg=60.0"):
        found.require_shape(READ)
    found.require_shape(READ.without(["vantage"]))
    path.write_text(json.dumps({**said, "vantage": {"pitch_deg": 120.0}}))
    with pytest.raises(ConfigError, match="is no data set's"):
        find_data_sets(folder / "touch")
