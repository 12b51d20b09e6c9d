"""Distilling: four steps of the student lead where many of its teacher's do, and all else stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_world.assemble import convert
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.config import SamplerConfig
from mvista_world.config_file import load_config
from mvista_world.flow import known_latents
from mvista_world.gate import GATE_FILE
from mvista_world.generator import Conditions
from mvista_world.solvers import Euler
from mvista_world.training import distill, recipes
from mvista_world.training.batches import Batch
from mvista_world.training.distill import DISTILLED, DistillTraining
from mvista_world.training.loop import StepLoss
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_cameras,
    make_generator,
    make_latents,
    source_mask,
    write_checkpoint,
    write_episodes,
)

pytestmark = pytest.mark.slow
VIEWS = 2


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> TrainingRequest:
    root = tmp_path_factory.mktemp("distill")
    choose(threads=1)
    return TrainingRequest(
        CONFIG,
        write_episodes(root / "data"),
        root / "out",
        root / "unused",
        RIG,
        ARM,
        steps=3,
        threads=1,
        start=write_checkpoint(root / "start"),
    )


def test_the_students_times_are_those_of_its_solver() -> None:
    training = DistillTraining()
    edges = training.edges(3.0)
    torch.testing.assert_close(edges[: -1 : training.substeps], Euler(4, 3.0).times)
    torch.testing.assert_close(edges[:-1], Euler(12, 3.0).times)
    assert training.sampler_of(SamplerConfig(40, 5.0, solver="unipc")) == SamplerConfig(4, 5.0)


def test_what_is_learnt_leads_where_the_teachers_steps_lead() -> None:
    """From any of the few times: a step along it is as many steps of the teacher's Euler solver."""
    generator, training = make_generator(), DistillTraining()
    edges, clean = training.edges(3.0), source_mask(VIEWS)
    x0, noise = make_latents(3, VIEWS), make_latents(3, VIEWS, seed=9)
    told = Conditions(
        torch.randn(3, 4, CONFIG.text.hidden), make_cameras(3, VIEWS), generator.null(3)
    )
    nothing, motion = torch.zeros(3), (told.style, told.style)
    given = x0, torch.ones_like(x0), clean, *motion
    batch = Batch(*given, [], told.cameras, nothing, nothing, ())
    first = torch.tensor([0, 3, 9])
    known = known_latents(clean, CONFIG.transformer.patch, x0.shape[2:])
    starts = torch.where(known, x0, noise)
    with torch.no_grad():
        velocity = distill._velocity_of_many(generator, starts, first, edges, batch, told, training)
        for sample, begin in enumerate(first.tolist()):
            one = slice(sample, sample + 1)
            own = Conditions(
                told.text[one], told.cameras.pick(sample, [[*range(VIEWS)]]), told.style[one]
            )
            x = starts[one]
            for k in range(begin, begin + training.substeps):
                found = generator(x, edges[k : k + 1], clean, own).velocity
                x = torch.where(known, x0[one], x + found * (edges[k + 1] - edges[k]))
            stepped = starts[one] + velocity[one] * (edges[begin + 3] - edges[begin])
            torch.testing.assert_close(stepped, x, atol=1e-5, rtol=1e-4)


def test_a_run_leaves_a_checkpoint_of_four_steps(asked: TrainingRequest) -> None:
    assert asked.start is not None
    (asked.out / DISTILLED).mkdir(parents=True)
    for left in (GATE_FILE, "refine.safetensors"):
        (asked.out / DISTILLED / left).write_text("{}")
    recipes.run("distill", asked)
    folder = asked.out / DISTILLED
    config, templates = load_config(folder / "config.json")
    was, words = load_config(asked.start / "config.json")
    assert config == replace(was, sampler=replace(was.sampler, steps=4)) and templates == words
    loaded = load_checkpoint(folder, choose("fp32"))
    assert loaded.gate_limits == {} and loaded.refiner is None
    for name in weights.listed(asked.start):
        same = (folder / name).read_bytes() == (asked.start / name).read_bytes()
        assert same == (name not in ("generator.safetensors", "config.json")), name


def test_few_steps_learn_to_end_where_many_do(
    asked: TrainingRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """On scenes that no step saw the student's four steps end nearer than its teacher's own."""
    recipes.run("distill", replace(asked, steps=80, out=asked.out / "longer"))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["stage"] == "distill-evaluation"
    assert 0.0 < found["student_rms"] < found["teacher_rms"]


def test_a_run_that_is_interrupted_ends_the_same(
    asked: TrainingRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked.start is not None
    teacher = load_checkpoint(asked.start, choose("fp32"))
    training = DistillTraining(steps=4, batch=2, state_every=2)
    seen = distill._sources(asked, teacher, asked.start, held_out=False)

    def end(out: Path) -> dict[str, torch.Tensor]:
        student = make_generator().requires_grad_(True)
        distill.distil(student, teacher, seen, out, training)
        return student.state_dict()

    whole, losses, calls = end(tmp_path / "whole"), distill._losses, []

    def broken(*args: Any) -> StepLoss:
        calls.append(args)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return losses(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distill, "_losses", broken)
        end(tmp_path / "broken")
    resumed = end(tmp_path / "broken")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_what_cannot_be_distilled_is_refused(asked: TrainingRequest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--start models/checkpoints/tiny"):
        recipes.run("distill", replace(asked, start=None))
    guided = replace(CONFIG, sampler=SamplerConfig(guidance=2.0))
    start = write_checkpoint(tmp_path / "guided", guided)
    with pytest.raises(ConfigError, match=r"with guidance 2\.0; .* 1 \(none\)"):
        recipes.run("distill", replace(asked, start=start))
    parts = tmp_path / "parts"
    convert(asked.start or Path(), parts)
    with pytest.raises(ConfigError, match="not one file per network"):
        recipes.run("distill", replace(asked, start=parts))
    out = tmp_path / "out"
    itself = write_checkpoint(out / DISTILLED)
    with pytest.raises(ConfigError, match="where the distilled one is written; give another --out"):
        recipes.run("distill", replace(asked, start=itself, out=out))


def test_a_gate_that_a_recipe_left_out_stays_out(asked: TrainingRequest, tmp_path: Path) -> None:
    start = write_checkpoint(tmp_path / "closed")
    path = start / "generator.safetensors"
    tensors = load_file(path)
    closed = {k: torch.zeros_like(v) for k, v in tensors.items() if "instruction_gate" in k}
    save_file({**tensors, **closed}, path)
    weights.write_manifest(start, weights.listed(start))
    recipes.run("distill", replace(asked, start=start, out=tmp_path / "out"))
    found = load_file(tmp_path / "out" / DISTILLED / path.name)
    assert len(closed) == 2 and not any(found[key].any() for key in closed)
