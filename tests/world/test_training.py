"""Training is a function of the seed: an interrupted run ends with an unbroken run's weights."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvista_core.errors import ConfigError
from mvista_world.planner import load_planner
from mvista_world.probe import load_probe
from mvista_world.training import codec, data, generator, priors, recipes, refine_data, trajectory
from mvista_world.training.recipes import Recipe
from tests.world.tiny import ARM, CONFIG, RIG, make_observation, write_episodes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Codec and trajectory trained a little past their first saved state."""
    root = tmp_path_factory.mktemp("training")
    recipe = Recipe(CONFIG, write_episodes(root / "data"), root / "out", RIG, ARM, 0, None, True, 1)
    torch.set_num_threads(1)
    run_codec(recipe, recipe.out)
    run_trajectory(recipe, recipe.out)
    return recipe


def run_codec(recipe: Recipe, out: Path) -> None:
    training = codec.CodecTraining(steps=7, batch=2, state_every=4)
    codec.train_codec(recipe.video_folders(), out, CONFIG, training)


def run_trajectory(recipe: Recipe, out: Path) -> None:
    training = trajectory.TrajectoryTraining(steps=7, batch=4, state_every=4)
    folders = [*recipe.video_folders(), recipe.data / recipes.GROUNDING]
    trajectory.train_trajectory(folders, out, CONFIG, training, ARM)


def run_generator(recipe: Recipe, out: Path, seed: int) -> None:
    training = generator.GeneratorTraining(
        steps=7, state_every=4, ground_until=2, one_until=4,
        ground_batch=4, one_batch=2, many_batch=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    networks = recipes.new_networks(replace(recipe, out=out))
    generator.train_generator(networks, recipes.load_sources(recipe), out, training)


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-6, msg=key)


@pytest.mark.parametrize(("name", "run"), [("codec", run_codec), ("trajectory", run_trajectory)])
def test_an_autoencoder_resumes_exactly(trained: Recipe, tmp_path: Path, name: str, run) -> None:  # type: ignore[no-untyped-def]
    shutil.copyfile(trained.out / f"{name}.state", tmp_path / f"{name}.state")
    state = torch.load(tmp_path / f"{name}.state", weights_only=True)
    assert state["step"] == 4
    torch.manual_seed(99)
    run(trained, tmp_path)
    assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")


def test_the_generator_resumes_exactly_and_packs_into_a_planner(
    trained: Recipe, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    shutil.copyfile(trained.out / "generator.state", tmp_path / "generator.state")
    run_generator(trained, tmp_path, seed=1)
    for name in ("generator", "text"):
        assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")
    recipes.run("pack", trained, tmp_path / "checkpoint")
    planner = load_planner(tmp_path / "checkpoint", RIG, ARM, _clock())
    observation = make_observation("touch the green cube")
    rollout = planner.imagine(observation, "cam1", ["cam2"], 0, lambda stage, fraction: True)
    assert planner.infer_actions(
        rollout.rollout_id, "head", 1, lambda stage, fraction: True
    ).losses.shape == (1,)


def test_a_generator_started_from_a_checkpoint_goes_on_from_its_weights(
    trained: Recipe, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    checkpoint = tmp_path / "checkpoint"
    recipes.run("pack", trained, checkpoint)
    going_on = replace(trained, out=tmp_path, start=checkpoint, steps=0)
    shutil.copyfile(trained.out / "trajectory.safetensors", tmp_path / "trajectory.safetensors")
    for name in ("codec", "generator"):
        recipes.run(name, going_on, checkpoint)
    for name in ("codec", "generator", "text"):
        ours = load_file(tmp_path / f"{name}.safetensors")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items():
            assert torch.equal(ours[key], value.to(ours[key].dtype)), key


def test_starting_from_what_does_not_fit_names_the_file(trained: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"codec\.safetensors.*--start"):
        recipes.run("codec", replace(trained, start=tmp_path, out=tmp_path / "out"), tmp_path)


def test_real_priors_are_what_the_planner_infers_on_its_own_imagination(
    trained: Recipe, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    recipes.run("pack", trained, tmp_path / "checkpoint")
    planner = load_probe(tmp_path / "checkpoint", RIG, ARM, _clock())
    folders, path = trained.video_folders(), tmp_path / "priors.npz"
    settings = priors.PriorSettings(per_folder=2, every=2, steps=1, views=2)
    made = priors.make_priors(planner, folders, RIG, ARM, settings, path)
    read = refine_data.load_priors(path, refine_data.load_episodes(folders))
    assert read.episodes.tolist()[:2] == [0, 2]
    assert len(read.episodes) == 2 * len(folders)
    np.testing.assert_array_equal(read.positions, made.positions)
    assert read.color is not None and read.color.shape[:2] == (len(read.episodes), 2)


def _clock():  # type: ignore[no-untyped-def]
    from mvista_core.timing import ManualClock

    return ManualClock()


def test_an_unknown_network_lists_the_networks(trained: Recipe) -> None:
    with pytest.raises(ConfigError, match=r"codec.*generator.*pack.*refine.*trajectory"):
        recipes.run("decoder", trained, trained.out)


def test_no_data_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mvista dataset collect"):
        data.shard_paths([tmp_path])


@pytest.mark.parametrize("start", [0, 3, 4, 9])
def test_batch_k_is_a_function_of_seed_and_k_alone(start: int) -> None:
    unbroken = list(itertools.islice(data.batches(10, 3, 7), 15))
    resumed = list(itertools.islice(data.batches(10, 3, 7, start), 15 - start))
    for ours, theirs in zip(resumed, unbroken[start:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    epoch = np.concatenate(unbroken[:3])
    assert len(set(epoch.tolist())) == 9
    other = next(data.batches(10, 3, 8))
    assert not np.array_equal(other, unbroken[0])
