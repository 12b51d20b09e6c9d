"""Fine-tuning a folder of Wan's size, small: how many processes there are, a kill, and LoRA change
nothing that they should not; and what cannot be trained is refused before it begins."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.multiprocessing.spawn import start_processes

from mvista_cli import cli
from mvista_core import weights
from mvista_core.errors import ConfigError, InstructionError, WeightsError
from mvista_core.timing import ManualClock
from mvista_world import assemble
from mvista_world.compute import choose
from mvista_world.config_file import load_config
from mvista_world.parts import load_generator
from mvista_world.planner import load_planner
from mvista_world.training import latent_cache, recipes
from mvista_world.training.request import TrainingRequest
from mvista_world.training.tuned import load_tuned
from mvista_world.training.tuning import load_tuning
from tests.world.tiny import ARM, RIG, make_observation
from tests.world.tuning import (
    Place,
    as_rank,
    in_float32,
    make_place,
    train,
    train_in_float32,
    velocity_of,
)

pytestmark = pytest.mark.slow
PROCESSES = 2


@pytest.fixture(scope="module", autouse=True)
def precision() -> Iterator[None]:
    with in_float32():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def alone(place: Place) -> Path:
    """One process, unbroken."""
    asked = place.request("alone", picture_every=20)
    train(asked)
    return asked.out


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    files = ("transformer/diffusion_pytorch_model", "additions")
    parts = [load_file(folder / f"{name}.safetensors") for name in files]
    return {**parts[0], **parts[1]}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def as_one_of_two(
    rank: int, apart: list[TrainingRequest], two: TrainingRequest, again: TrainingRequest, port: int
) -> None:
    """First with less data than the other, which both refuse; then together; then from the state
    at step 12, in another folder."""
    as_rank(rank, PROCESSES, port)
    with in_float32():
        try:
            train(apart[rank])
        except ConfigError as error:
            (two.out.parent / f"refused-{rank}").write_text(str(error))
        train(two)
        if rank == 0:
            for name in ("latents", "generator.states"):
                shutil.copytree(two.out / name, again.out / name)
        torch.distributed.barrier()
        train(again)


@pytest.mark.timeout(300)
def test_two_processes_train_what_one_does(place: Place, alone: Path) -> None:
    """At equal global batch, after 20 steps, sharded a block at a time."""
    shutil.copytree(place.data, place.root / "less")
    (place.root / "less/touch/shard-00001.npz").unlink()
    two = place.request("two")
    apart = [two, replace(two, data=place.root / "less")]
    multiprocessing.set_forkserver_preload([__name__])
    told = (apart, two, place.request("again"), free_port())
    start_processes(as_one_of_two, told, PROCESSES, start_method="forkserver")
    for rank in range(PROCESSES):
        assert (place.root / f"refused-{rank}").read_text().startswith("rank 1 has data ")
    one, both = weights_of(alone / "model"), weights_of(two.out / "model")
    began = weights_of(place.start)
    assert one.keys() == both.keys() == began.keys()
    assert max((one[key] - began[key]).abs().max() for key in one) > 5e-3
    for key, value in one.items():
        torch.testing.assert_close(both[key], value, rtol=1e-5, atol=1e-5, msg=key)
    resumed = weights_of(place.root / "again" / "model")
    assert all(torch.equal(resumed[key], value) for key, value in both.items())
    # Each shard was encoded once, by one of them, and is what one process encodes.
    for path in sorted((alone / "latents").glob("*.npy")):
        other = two.out / "latents" / path.name
        np.testing.assert_array_equal(np.load(path), np.load(other))


def test_a_killed_run_ends_with_an_unbroken_ones_weights(
    place: Place, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = place.request("killed", picture_every=20)
    shutil.copytree(alone / "latents", asked.out / "latents")
    multiprocessing.set_forkserver_preload([__name__])
    victim = multiprocessing.get_context("forkserver").Process(
        target=train_in_float32, args=(asked,)
    )
    victim.start()
    assert victim.pid is not None
    states = asked.out / "generator.states"
    while victim.is_alive() and not list(states.glob("*/run.json")):
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert victim.exitcode == -signal.SIGKILL and not (asked.out / "model").exists()
    capsys.readouterr()
    train(asked)
    assert '"step": 12' not in capsys.readouterr().out
    ours, theirs = weights_of(asked.out / "model"), weights_of(alone / "model")
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key


def test_what_was_trained_is_a_folder_that_plans(alone: Path) -> None:
    planner = load_planner(alone / "model", RIG, ARM, ManualClock(7), choose("fp32"))
    seen = make_observation("touch the red cube")
    rollout = planner.imagine(seen, "cam1", ["cam2"], 5, lambda stage, fraction: True)
    assert rollout.color.shape == (2, 5, 64, 64, 3)


def test_curves_and_pictures_are_event_files(alone: Path) -> None:
    found = EventAccumulator(str(alone / "events")).Reload()
    curves = set(found.Tags()["scalars"])
    assert "learning_rate" in curves and any(name.endswith("-velocity") for name in curves)
    assert [event.step for event in found.Scalars("learning_rate")] == [4, 8, 12, 16, 20]
    shown = found.Images("held_out")[0]
    # Three views; first, middle and last frame; filmed above imagined.
    assert (shown.step, shown.width, shown.height) == (20, 3 * 64, 3 * 2 * 64)


def test_how_a_step_is_parted_changes_no_line_and_pictures_come_when_asked(
    place: Place, alone: Path
) -> None:
    """A part without a sample that was told its motion, or with none else, has no loss of these;
    pictures are drawn at steps of which no line is logged as well."""
    asked = place.request("whole", micro_batch=2, picture_every=6)
    shutil.copytree(alone / "latents", asked.out / "latents")
    train(asked)
    parted, whole = (EventAccumulator(str(out / "events")).Reload() for out in (alone, asked.out))
    names = sorted(whole.Tags()["scalars"])
    assert names == sorted(parted.Tags()["scalars"])
    assert {"head_null", "head_told"} <= {name.partition("-")[2] for name in names}
    for name in names:
        ours, theirs = ([(e.step, e.value) for e in of.Scalars(name)] for of in (whole, parted))
        assert [step for step, _ in ours] == [step for step, _ in theirs], name
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, err_msg=name)
    assert [event.step for event in whole.Images("held_out")] == [6, 12, 18]


@pytest.fixture(scope="module")
def adapted(place: Place, alone: Path) -> Path:
    """A LoRA of rank 4, by the command."""
    asked = place.request("lora", average=0.0, state_every=4)
    shutil.copytree(alone / "latents", asked.out / "latents")
    words = ["train", "generator", "--preset", "wan22_ti2v_5b", "--start", place.start]
    words += ["--data", place.data, "--out", asked.out, "--profile", asked.profile]
    words += ["--lora", 4, "--steps", 6, "--threads", 1, "--device", "cpu"]
    assert cli.main([str(word) for word in words]) == 0
    return asked.out / "lora"


def test_a_lora_merged_is_the_lora_applied(place: Place, adapted: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    assert cli.main(["model", "merge", str(place.start), str(adapted), str(out)]) == 0
    compute = choose("fp32")
    asked = place.request("merge", average=0.0)
    config = load_config(place.start / "config.json")[0]
    tuning = replace(load_tuning(asked.profile), lora_rank=4)  # type: ignore[arg-type]
    applied = load_tuned(place.start, config, tuning, compute, adapted)
    applied.load_state_dict(load_file(adapted / "additions.safetensors"), strict=False)
    merged = load_generator(out, config, compute)
    base = load_generator(place.start, config, compute)
    base.load_state_dict(load_file(adapted / "additions.safetensors"), strict=False)
    with torch.no_grad():
        answers = [velocity_of(net) for net in (applied, merged, base)]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-5, atol=1e-5)
    assert (answers[0] - answers[2]).abs().max() > 1e-3
    # All but the backbone's layers and what is added to it is the base's to the bit.
    before, after = weights_of(place.start), weights_of(out)
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert "condition_embedder.text_embedder.linear_1.weight" not in changed
    assert {"blocks.0.attn1.to_q.weight", "blocks.1.ffn.net.2.weight"} <= changed
    load_planner(out, RIG, ARM, ManualClock(7), compute)


def test_a_lora_is_gone_on_with_from_its_state_to_the_bit(place: Place, adapted: Path) -> None:
    asked = place.request("resumed", average=0.0, state_every=4, lora=4, steps=6)
    for name in ("latents", "generator.states"):
        shutil.copytree(adapted.parent / name, asked.out / name)
    train(asked)
    for name in ("lora.safetensors", "additions.safetensors"):
        ours, theirs = load_file(asked.out / "lora" / name), load_file(adapted / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], value) for key, value in theirs.items()), name


def test_a_lora_of_another_rank_or_base_is_refused(
    place: Place, alone: Path, adapted: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"has rank 4, asked for is 8.*--lora 4"):
        train(place.request("other_rank", lora=8, adapter=adapted))
    other = tmp_path / "other"
    shutil.copytree(place.start, other)
    shutil.rmtree(other / "transformer")
    shutil.copytree(alone / "model/transformer", other / "transformer")
    names = json.loads((other / "manifest.json").read_text())["files"]
    weights.write_manifest(other, list(names))
    for refused in (
        lambda: train(place.request("other_base", lora=4, adapter=adapted, start=other)),
        lambda: assemble.merge(other, adapted, tmp_path / "merged"),
    ):
        with pytest.raises(WeightsError, match=r"was trained on backbone .*, .*transformer is"):
            refused()
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"start": None}, r"starts from a folder: --start; .*make-random --backbone"),
        ({"device": "cuda"}, r"device 'cuda.*' is not here; allowed"),
        (
            {"batch": 3, "micro_batch": 2},
            r"batch of 3 cannot be shared by 1 processes in parts of 2",
        ),
        ({"recipe": "paper"}, r"trained as its --profile says"),
        ({"optimiser": "sgd"}, r"optimiser 'sgd' is none of \['adamw', 'adafactor'\]"),
        ({"profile": Path("nowhere.yaml")}, r"no file nowhere.yaml; config/training/ has one"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_begins(
    place: Place, changed: dict[str, object], answer: str
) -> None:
    asked = place.request("refused", **changed)
    with pytest.raises(ConfigError, match=answer):
        recipes.run("generator", asked)
    assert not asked.out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_card_asked_for_and_not_there_is_said_at_the_command(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "generator", "--preset", "wan22_ti2v_5b", "--device", "cuda"]
    words += ["--start", str(place.start), "--data", str(place.data), "--out", "nowhere"]
    assert cli.main(words) == 2
    assert "device 'cuda' is not here" in capsys.readouterr().err


def test_words_that_were_never_encoded_are_refused(place: Place, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(place.start, start)
    shutil.rmtree(start / "text_cache")
    asked = place.request("unheard", start=start)
    with pytest.raises(InstructionError, match='no features of "touch the red cube"'):
        recipes.run("generator", asked)
    assert not asked.out.exists()


def test_latents_of_another_autoencoder_are_refused(place: Place, alone: Path) -> None:
    asked = place.request("mixed")
    shutil.copytree(alone / "latents", asked.out / "latents")
    latent_cache.require_encoder(
        asked.out / "latents", weights.part_identity(place.start, "vae"), "vae"
    )
    with pytest.raises(ConfigError, match=r"was encoded by autoencoder .*, other/vae is 012345"):
        latent_cache.require_encoder(asked.out / "latents", "0123456789abcdef", "other/vae")


def test_a_state_is_gone_on_from_by_its_own_run_alone(place: Place, alone: Path) -> None:
    asked = place.request("changed", learning_rate=2e-3)
    for name in ("latents", "generator.states"):
        shutil.copytree(alone / name, asked.out / name)
    with pytest.raises(ConfigError, match=r"is of a run with other sizes.*--out"):
        recipes.run("generator", asked)


def test_a_run_begun_anew_leaves_no_state_of_the_one_before(place: Place, alone: Path) -> None:
    """Of a farther step too: a kill after it would be gone on from there."""
    asked = replace(place.request("anew", steps=3, state_every=2, warmup=1), resume=False)
    for name in ("latents", "generator.states"):
        shutil.copytree(alone / name, asked.out / name)
    before = {path.name for path in (asked.out / "generator.states").iterdir()}
    recipes.run("generator", asked)
    left = {path.name for path in (asked.out / "generator.states").iterdir()}
    assert len(before) == len(left) == 1 and max(left) < max(before)
