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
from mvista_core.timing import ManualClock
from mvista_world.config_file import load_config
from mvista_world.planner import load_planner
from mvista_world.training import codec, recipes
from mvista_world.training.request import TrainingRequest
from tests.world.test_training import run_generator, trained
from tests.world.test_training_batches import drawn_cameras
from tests.world.tiny import ARM, RIG, write_episodes

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


@pytest.mark.parametrize("start", [False, True])
def test_without_a_tcn_vae_how_actions_are_standardised_is_all_there_is_of_it(
    trained: TrainingRequest, tmp_path: Path, start: bool
) -> None:
    bare = replace(trained, config=trained.config.without(["tcn_vae"]), out=tmp_path, steps=None)
    bare = replace(bare, start=trained.out if start else None)
    recipes.run("trajectory", bare)
    found, wanted = (load_file(r.out / "trajectory.safetensors") for r in (bare, trained))
    assert found.keys() == {"mean", "std"}
    assert all(torch.equal(found[key], wanted[key]) for key in found)
    with pytest.raises(ConfigError, match="--steps 5: .* nothing to train"):
        recipes.run("trajectory", replace(bare, steps=5))


@pytest.mark.parametrize("left_out", ["depth_tokens", "tcn_vae"])
def test_what_table_5_leaves_out_is_trained_read_and_packed_without(
    trained: TrainingRequest, tmp_path: Path, left_out: str
) -> None:
    run_generator(trained, trained.out, seed=0)
    out, config = tmp_path / "out", trained.config.without([left_out])
    asked = replace(trained, config=config, out=out, start=trained.out, steps=None)
    recipes.run("trajectory", asked)
    shutil.copyfile(trained.out / "codec.safetensors", out / "codec.safetensors")
    recipes.run("generator", replace(asked, steps=2))
    recipes.run("pack", replace(asked, start=None, checkpoint=tmp_path / "packed"))
    assert load_config(tmp_path / "packed" / "config.json")[0] == config
    load_planner(tmp_path / "packed", RIG, ARM, ManualClock(7))


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
