"""Training is a function of the seed: an interrupted run ends with an unbroken run's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file

from mvista_core.errors import ConfigError
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.planner import load_planner
from mvista_world.probe import load_probe
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.training import (
    batches,
    codec,
    curriculum,
    generator,
    priors,
    recipes,
    recordings,
    refine_data,
    trajectory,
)
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_observation,
    write_episodes,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingRequest:
    """Codec and trajectory trained a little past their first saved state."""
    root = tmp_path_factory.mktemp("training")
    recipe = TrainingRequest(
        CONFIG,
        write_episodes(root / "data"),
        root / "out",
        root / "checkpoint",
        RIG,
        ARM,
        threads=1,
    )
    choose(threads=1)
    run_codec(recipe, recipe.out)
    run_trajectory(recipe, recipe.out)
    return recipe


def run_codec(recipe: TrainingRequest, out: Path) -> None:
    training = codec.CodecTraining(steps=7, batch=2, state_every=4)
    network = StackedCodec(CONFIG.codec)
    codec.train_codec(network, recipe.video_folders(), out, CONFIG, training)


def run_trajectory(recipe: TrainingRequest, out: Path) -> None:
    training = trajectory.TrajectoryTraining(steps=7, batch=4, state_every=4)
    folders = [*recipe.video_folders(), *recipe.grounding_folders()]
    trajectory.train_trajectory(folders, out, CONFIG, training, ARM)


SHORT = curriculum.GeneratorTraining(
    steps=7, state_every=4, ground_until=2, one_until=4, ground_batch=4, one_batch=2, many_batch=2
)
SHORT_PAPER = replace(
    curriculum.TRAINING["paper"], steps=7, state_every=4, many_batch=9, null_after_epochs=1
)


def run_generator(
    recipe: TrainingRequest,
    out: Path,
    seed: int,
    training: curriculum.GeneratorTraining = SHORT,
) -> generator.Networks:
    torch.manual_seed(seed)
    compute = choose()
    networks = generator.new_networks(replace(recipe, out=out), compute)
    sources = batches.load_sources(recipe, compute, training.extras.grounding)
    generator.train_generator(networks, sources, out, training, True, compute)
    return networks


def trained_in(root: Path) -> TrainingRequest:
    """Networks of a few steps, by the request that trained them; nothing is packed."""
    choose(threads=1)
    data = write_episodes(root / "data")
    asked = TrainingRequest(CONFIG, data, root / "out", root / "checkpoint", RIG, ARM, threads=1)
    run_codec(asked, asked.out)
    run_trajectory(asked, asked.out)
    run_generator(asked, asked.out, 0)
    return asked


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-6, msg=key)


@pytest.mark.parametrize(("name", "run"), [("codec", run_codec), ("trajectory", run_trajectory)])
def test_an_autoencoder_resumes_exactly(
    trained: TrainingRequest,
    tmp_path: Path,
    name: str,
    run: Callable[[TrainingRequest, Path], None],
) -> None:
    shutil.copyfile(trained.out / f"{name}.state", tmp_path / f"{name}.state")
    state = torch.load(tmp_path / f"{name}.state", weights_only=True)
    assert state["step"] == 4
    torch.manual_seed(99)
    run(trained, tmp_path)
    assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")


def test_the_generator_resumes_exactly_and_packs_into_a_planner(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    shutil.copyfile(trained.out / "generator.state", tmp_path / "generator.state")
    run_generator(trained, tmp_path, seed=1)
    for name in ("generator", "text"):
        assert_same_weights(tmp_path / f"{name}.safetensors", trained.out / f"{name}.safetensors")
    recipes.run("pack", replace(trained, checkpoint=tmp_path / "checkpoint"))
    planner = load_planner(tmp_path / "checkpoint", RIG, ARM, _clock())
    observation = make_observation("touch the green cube")
    rollout = planner.imagine(observation, "cam1", ["cam2"], 0, lambda stage, fraction: True)
    assert planner.infer_actions(
        rollout.rollout_id, "head", 1, lambda stage, fraction: True
    ).losses.shape == (1,)


def test_a_generator_started_from_a_checkpoint_goes_on_from_its_weights(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    checkpoint = tmp_path / "checkpoint"
    recipes.run("pack", replace(trained, checkpoint=checkpoint))
    going_on = replace(trained, out=tmp_path, start=checkpoint, steps=0)
    shutil.copyfile(trained.out / "trajectory.safetensors", tmp_path / "trajectory.safetensors")
    for name in ("codec", "generator"):
        recipes.run(name, going_on)
    for name in ("codec", "generator", "text"):
        ours = load_file(tmp_path / f"{name}.safetensors")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items():
            assert torch.equal(ours[key], value.to(ours[key].dtype)), key


def test_a_start_keeps_its_words_and_learns_those_of_the_data() -> None:
    before = build_tokenizer(["touch the blue cube", "open the drawer"])
    encoder = InstructionEncoder(CONFIG.text, before)
    after = build_tokenizer(["push the green mug"], before)
    assert before.get_vocab().items() <= after.get_vocab().items()
    assert {"push", "mug"} <= after.get_vocab().keys() - before.get_vocab().keys()
    wider = InstructionEncoder(CONFIG.text, after)
    wider.start_from(encoder.state_dict())
    told = ["open the drawer", "touch the blue cube"]
    torch.testing.assert_close(wider(told), encoder(told))
    narrow = InstructionEncoder(CONFIG.text, build_tokenizer(["open"]))
    with pytest.raises(RuntimeError, match="word_embeddings"):
        narrow.start_from(encoder.state_dict())


def test_losses_on_what_no_step_saw_are_a_function_of_the_seed(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    asked = replace(trained, steps=2)
    told = []
    for _ in range(2):
        recipes.run("held_out", asked)
        told.append(json.loads((trained.out / "held_out.json").read_text("utf-8")))
    assert told[0] == told[1] and told[0]["batches"] == 2
    trained_on = batches.load_sources(trained, choose(), grounded=False)
    assert 10 * told[0]["episodes"] == told[0]["episodes"] + trained_on.episodes
    mean, error = told[0]["velocity"]
    assert 0 < mean < 100 and error >= 0
    with pytest.raises(ConfigError, match="no instruction encoder"):
        recipes.run("held_out", replace(asked, out=tmp_path))


def test_what_no_step_saw_is_asked_as_the_generator_was_trained(trained: TrainingRequest) -> None:
    run_generator(trained, trained.out, seed=0)
    told = []
    for chosen in ({}, {"recipe": "paper"}, {"without": ("late_null",)}):
        recipes.run("held_out", replace(trained, steps=2, **chosen))
        told.append(json.loads((trained.out / "held_out.json").read_text("utf-8"))["velocity"])
    assert told[1] != told[0] != told[2]


def without_grounding(recipe: TrainingRequest, root: Path) -> TrainingRequest:
    """The same trained parts, beside data without the set `grounding`."""
    (root / "data").mkdir()
    (root / "data" / "touch").symlink_to(recipe.data / "touch")
    out = root / "out"
    out.mkdir()
    for name in ("codec", "trajectory"):
        shutil.copyfile(recipe.out / f"{name}.safetensors", out / f"{name}.safetensors")
    return replace(recipe, data=root / "data", out=out)


def test_the_papers_recipe_needs_videos_alone_and_resumes_exactly(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    recipe = without_grounding(trained, tmp_path)
    run_generator(recipe, recipe.out, 0, SHORT_PAPER)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copyfile(recipe.out / "generator.state", again / "generator.state")
    with pytest.raises(ConfigError, match=r"generator\.state is of a run with other"):
        run_generator(recipe, again, 1, replace(SHORT_PAPER, full_source=0.4))
    networks = run_generator(recipe, again, 1, SHORT_PAPER)
    assert_same_weights(again / "generator.safetensors", recipe.out / "generator.safetensors")
    # Nothing averages here: what ships are the last weights, and the gate never opened.
    shipped = load_file(again / "generator.safetensors")
    for name, value in networks.generator.state_dict().items():
        assert torch.equal(shipped[name], value), name
    assert not shipped["instruction_gate.weight"].any()
    assert not shipped["instruction_gate.bias"].any()


def test_a_state_that_learnt_the_latents_of_another_tcn_vae_is_refused(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    networks = run_generator(trained, tmp_path, 0)
    sources = batches.load_sources(trained, choose(), SHORT.extras.grounding)
    with torch.no_grad():
        next(sources.trajectory.decoder.parameters()).add_(1e-3)
    with pytest.raises(ConfigError, match=r"generator\.state is of a run with other"):
        generator.train_generator(networks, sources, tmp_path, SHORT, True, choose())


@pytest.mark.parametrize("name", [f.name for f in fields(curriculum.Extras)])
def test_every_extra_changes_what_is_trained(
    trained: TrainingRequest, tmp_path: Path, name: str, with_all: dict[str, torch.Tensor]
) -> None:
    extras = curriculum.Extras().without([name])
    run_generator(trained, tmp_path, 0, replace(MIXED, extras=extras))
    found = load_file(tmp_path / "generator.safetensors")
    assert any(not torch.equal(found[key], value) for key, value in with_all.items())


MIXED = replace(
    SHORT, steps=5, ground_until=1, one_until=3, full_source=0.5, null_start=0.5, null_end=0.5
)


@pytest.fixture(scope="module")
def with_all(
    trained: TrainingRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("extras")
    run_generator(trained, out, 0, MIXED)
    return load_file(out / "generator.safetensors")


def test_an_autoencoder_goes_on_from_a_checkpoints_where_a_length_is_asked_for(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    going_on = replace(trained, out=tmp_path, start=trained.out, steps=1, resume=False)
    recipes.run("codec", going_on)
    ours, theirs = (load_file(at / "codec.safetensors") for at in (tmp_path, trained.out))
    learnt = [key for key in theirs if key not in ("mean", "std")]
    steps = torch.stack([(ours[key] - theirs[key]).abs().max() for key in learnt])
    # Adam's first step in warm-up moves no weight by more than its rate, decay apart.
    assert 0 < steps.max() < 3e-5


def test_recipes_are_the_generators_and_the_refiners_alone(trained: TrainingRequest) -> None:
    with pytest.raises(ConfigError, match="'codec' has one recipe"):
        recipes.run("codec", replace(trained, recipe="paper"))
    with pytest.raises(ConfigError, match="--without of generator and held_out"):
        recipes.run("pack", replace(trained, without=("misled",)))
    with pytest.raises(ConfigError, match="cannot train without 'luck'"):
        recipes.run("generator", replace(trained, without=("luck",)))
    with pytest.raises(
        ConfigError, match=r"no recipe 'luck' of refine; there are \['paper', 'tiny'"
    ):
        recipes.run("refine", replace(trained, recipe="luck"))


def test_real_priors_are_what_the_planner_infers_on_its_own_imagination(
    trained: TrainingRequest, tmp_path: Path
) -> None:
    run_generator(trained, trained.out, seed=0)
    recipes.run("pack", replace(trained, checkpoint=tmp_path / "checkpoint"))
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


def test_an_unknown_network_lists_the_networks(trained: TrainingRequest) -> None:
    with pytest.raises(ConfigError, match=r"codec.*generator.*pack.*refine.*trajectory"):
        recipes.run("decoder", trained)


def test_no_data_says_how_to_get_some(trained: TrainingRequest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mvista dataset collect"):
        recordings.shard_paths([tmp_path])
    nothing = replace(trained, data=tmp_path, out=tmp_path / "out")
    for network in ("codec", "trajectory", "generator", "refine"):
        with pytest.raises(ConfigError, match=r"no data set in.*collect.*convert"):
            recipes.run(network, nothing)


@pytest.mark.parametrize("changed", [{"steps": 8}, {"seed": 1}, {"batch": 3}])
def test_a_state_is_gone_on_from_only_by_the_run_that_wrote_it(
    trained: TrainingRequest, tmp_path: Path, changed: dict[str, int]
) -> None:
    shutil.copyfile(trained.out / "codec.state", tmp_path / "codec.state")
    training = replace(codec.CodecTraining(steps=7, batch=2, state_every=4), **changed)
    folders, network = trained.video_folders(), StackedCodec(CONFIG.codec)
    with pytest.raises(ConfigError, match=r"codec\.state is of a run with other.*--out"):
        codec.train_codec(network, folders, tmp_path, CONFIG, training)
    codec.train_codec(network, folders, tmp_path, CONFIG, replace(training, steps=1), False)


def test_the_average_follows_the_weights_slowly_and_is_what_ships(tmp_path: Path) -> None:
    """After step k it is d m + (1 - d) w with d = min(decay, (1 + k) / (10 + k)); first it is w."""
    torch.manual_seed(0)
    generator_of = {"generator": torch.nn.Linear(3, 2), "text": torch.nn.Linear(2, 2)}
    networks = torch.nn.ModuleDict(generator_of)
    average = EMAModel(networks.parameters(), decay=0.5)
    wanted: list[torch.Tensor] = []
    for k in range(12):
        with torch.no_grad():
            for weight in networks.parameters():
                weight.add_(torch.randn(weight.shape))
        average.step(networks.parameters())
        d = 0.0 if k == 0 else min(0.5, (1 + k) / (10 + k))
        now = [weight.detach().clone() for weight in networks.parameters()]
        wanted = [d * m + (1 - d) * w for m, w in zip(wanted or now, now, strict=True)]
    before = {k: v.clone() for k, v in networks.state_dict().items()}
    generator.export(networks, average, tmp_path)
    shipped = [
        tensor
        for name, module in generator_of.items()
        for tensor in map(
            load_file(tmp_path / f"{name}.safetensors").__getitem__, dict(module.named_parameters())
        )
    ]
    for ours, theirs in zip(shipped, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(value, before[k]) for k, value in networks.state_dict().items())


def test_every_recipe_is_a_module_that_runs_a_request() -> None:
    for recipe in recipes.RECIPES:
        module = import_module(f"mvista_world.training.{recipe.network}")
        assert callable(module.run) and recipe.text
