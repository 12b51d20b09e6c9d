"""What training starts from: a checkpoint's weights, and data sets of several kinds together."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvista_core.errors import ConfigError
from mvista_world.training import codec, recipes
from mvista_world.training.request import TrainingRequest
from tests.world.test_training import run_generator, trained
from tests.world.test_training_batches import drawn_cameras
from tests.world.tiny import write_episodes

pytestmark = pytest.mark.slow
__all__ = ["trained"]


def test_starting_from_what_does_not_fit_names_the_file(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"codec\.safetensors.*--start"):
        recipes.run("codec", replace(trained, start=tmp_path, out=tmp_path / "out"))


def test_a_trajectory_latent_stays_what_it_was_in_the_checkpoint(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    there = replace(trained, start=trained.out, out=tmp_path / "out")
    recipes.run("trajectory", there)
    found, wanted = (load_file(r.out / "trajectory.safetensors") for r in (there, trained))
    assert found.keys() == wanted.keys() and found
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    for steps, start, words in ((5, trained.out, "--steps 5"), (None, tmp_path, "--start")):
        with pytest.raises(ConfigError, match=words):
            recipes.run("trajectory", replace(there, start=start, steps=steps))


@pytest.mark.parametrize("network", ["held_out", "priors", "refine", "pack"])
def test_what_starts_from_no_checkpoint_says_so(trained: TrainingRequest, network: str) -> None:
    with pytest.raises(ConfigError, match="--start is of codec, trajectory, generator, distill"):
        recipes.run(network, replace(trained, start=trained.out))


def test_data_sets_of_more_and_fewer_views_are_trained_on_together(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    """Cameras drawn for every episode beside a rig's own, as the shipped models are trained."""
    folder = write_episodes(tmp_path / "data")
    shutil.copytree(folder / "touch", folder / "drawn")
    stored = dict(np.load(folder / "drawn" / "shard-00000.npz"))
    for key in ("color", "depth_mm"):
        stored[key] = stored[key][:, :2]
    lenses, poses = drawn_cameras(len(stored["color"]), 2, seed=3)
    np.savez(
        folder / "drawn" / "shard-00000.npz", **stored, intrinsics=lenses, base_from_camera=poses
    )
    both = replace(trained, data=folder, out=tmp_path / "out", steps=3)
    for network in ("codec", "trajectory"):
        recipes.run(network, both)
    run_generator(both, both.out, seed=0)
    assert (both.out / "generator.safetensors").is_file()
    sets = [codec._of_folder(one, 20) for one in both.video_folders()]
    seen, unseen = codec._split(sets)
    assert sorted(part.color.shape[1] for part in sets) == [2, 4]
    for part in sets:
        rows = [row for of, row in seen if of is part]
        assert rows == list(range(18)), "the last two of each are held out"
    assert len(unseen) == 2 * 2 + 2 * 4
