"""Distils the solver: a generator that imagines in four of Euler's steps what took it many more.

Progressive distillation (Salimans & Ho 2022) in one stage. At the times of the few steps the
student learns the velocity that leads to where its teacher, the checkpoint's own generator, gets in
several steps of its own. At all other times it is held to its teacher's velocity and reading:
Eq. 11 and the action head ask it there, and would find another model otherwise.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_world.checkpoint import Checkpoint, load_checkpoint
from mvista_world.compute import BESIDE, choose
from mvista_world.config import ModelConfig, SamplerConfig
from mvista_world.config_file import save_config
from mvista_world.config_limits import SOLVERS
from mvista_world.denoise import solve
from mvista_world.described import halved
from mvista_world.flow import known_latents, noised, shifted
from mvista_world.folder import FLAT, recognise
from mvista_world.generator import Conditions, MultiViewGenerator, Prediction
from mvista_world.solvers import make_solver
from mvista_world.training.batches import Batch, Sources, draw_batch, read_sources
from mvista_world.training.curriculum import GeneratorTraining, training_of
from mvista_world.training.loop import (
    SEED_STRIDE,
    Run,
    Schedule,
    StepLoss,
    log,
    train,
    trained,
)
from mvista_world.training.request import TrainingRequest

DISTILLED = "distilled"
"""The checkpoint folder that a run leaves in `--out`."""
GENERATOR, CONFIG = "generator.safetensors", "config.json"
HELD_OUT_BATCHES = 4


@dataclass(frozen=True)
class DistillTraining:
    """`student_steps` of the student take the place of `substeps` times as many of Euler's.

    `null_share` of the samples are told no motion, as in imagining from words; `anchor` weighs what
    is held to the teacher at any time against the steps that are learnt.
    """

    steps: int = 400
    batch: int = 8
    student_steps: int = 4
    substeps: int = 3
    null_share: float = 0.75
    anchor: float = 1.0
    learning_rate: float = 5e-5
    ema: float = 0.99
    seed: int = 0
    warmup: int = 20
    state_every: int = 50
    log_every: int = 25

    def edges(self, shift: float) -> torch.Tensor:
        """Times of the teacher's steps, from 1 to 0; every `substeps`-th is the student's."""
        count = self.student_steps * self.substeps
        return shifted(torch.linspace(1.0, 0.0, count + 1), shift)

    def sampler_of(self, sampler: SamplerConfig) -> SamplerConfig:
        """The teacher's, with the student's solver; of so few steps none is left out."""
        return replace(sampler, solver=SOLVERS[0], steps=self.student_steps, step_cache=0.0)


def run(asked: TrainingRequest) -> None:
    """Distil the checkpoint `start`; writes `out/distilled`, a checkpoint folder, and logs how far
    student and teacher are from the many steps on held-out episodes.

    Raises:
        ConfigError: no checkpoint to start from, or one that this cannot distil.
        WeightsError: it is not whole.
    """
    compute = choose(device=asked.device, threads=asked.threads)
    start = _distillable(asked.start, asked.out / DISTILLED)
    teacher = load_checkpoint(start, compute)
    training = asked.applied_to(DistillTraining())
    if teacher.config.sampler.guided:
        raise ConfigError(
            f"{start} imagines with guidance {teacher.config.sampler.guidance}; what is distilled "
            "has 1 (none) in its config.json"
        )
    # Data are held against what the checkpoint is, whatever --preset says.
    asked = replace(asked, config=teacher.config)
    student = _student_of(start, teacher)
    seen, unseen = (_sources(asked, teacher, start, held) for held in (False, True))
    distil(student, teacher, seen, asked.out, training, asked.resume)
    with torch.no_grad():
        evaluate(student, teacher, unseen, training)
    _write(student, teacher, start, asked.out / DISTILLED, training)


def _distillable(start: Path | None, out: Path) -> Path:
    if start is None:
        raise ConfigError("distill needs a checkpoint to distil: --start models/checkpoints/tiny")
    if recognise(start) != FLAT:
        raise ConfigError(
            f"{start} is not one file per network; distilling is offered for what `mvista train "
            "pack` writes"
        )
    if start.resolve() == out.resolve():
        raise ConfigError(f"{start} is where the distilled one is written; give another --out")
    return start


def _student_of(start: Path, teacher: Checkpoint) -> MultiViewGenerator:
    """Its teacher's own weights in float32, to be trained."""
    student = MultiViewGenerator(teacher.config)
    if teacher.compute.explicit_attention:
        student.use_explicit_attention()
    student.load_state_dict(load_file(start / GENERATOR))
    gate = student.instruction_gate
    if not (gate.weight.any() or gate.bias.any()):
        # A recipe that has no gate keeps it at zero: its student has none either.
        student.close_instruction_gate()
    return student.to(teacher.compute.device)


def _sources(asked: TrainingRequest, teacher: Checkpoint, start: Path, held_out: bool) -> Sources:
    sha, compute = weights.sha256_of(start / "codec.safetensors"), teacher.compute
    # Batches are drawn on the processor, and motions encoded there.
    motions = teacher.trajectory.to(BESIDE)
    return read_sources(
        asked, teacher.codec, sha, motions, compute, grounded=False, held_out=held_out
    )


def distil(
    student: MultiViewGenerator,
    teacher: Checkpoint,
    sources: Sources,
    out: Path,
    training: DistillTraining,
    resume: bool = True,
) -> None:
    """Leaves the moving average of the run in `student`; `out/distill.state` to go on from."""
    compute, drawing = teacher.compute, _drawing(teacher.config, training)
    optimiser = torch.optim.AdamW(trained(student), lr=training.learning_rate)
    average = EMAModel(trained(student), decay=training.ema)

    def loss_at(step: int) -> StepLoss:
        drawn = draw_batch("many", sources, teacher.config, drawing, step)
        batch = drawn.map(lambda x: x.to(compute.device))
        with compute.autocast():
            return _losses(student, teacher, batch, training)

    schedule = Schedule(training.learning_rate, training.steps, training.warmup)
    this_run = Run.of("distill", training, schedule.at, out, _Sizes(teacher.config, teacher.sha256))
    train(this_run, student, optimiser, loss_at, resume, average)
    average.copy_to(trained(student))


@dataclass(frozen=True)
class _Sizes:
    """Whose run a state is: another teacher's is not gone on with."""

    config: ModelConfig
    teacher_sha256: str


def _drawing(config: ModelConfig, training: DistillTraining) -> GeneratorTraining:
    """Views and given frames as the teacher was trained on, runs beside frozen views included."""
    completes = config.sampler.mode == 2 or config.vantage is not None
    recipe = training_of("views" if completes else "tiny")
    return replace(recipe, many_batch=training.batch, seed=training.seed)


def _losses(
    student: MultiViewGenerator, teacher: Checkpoint, batch: Batch, training: DistillTraining
) -> StepLoss:
    config, size = teacher.config, len(batch.x0)
    known = known_latents(batch.clean, config.transformer.patch, batch.x0.shape[2:])
    # On the processor and then moved: the numbers do not depend on the device.
    device, edges = batch.x0.device, training.edges(config.sampler.shift)
    null = (torch.rand(size) < training.null_share).to(device)
    first = training.substeps * torch.randint(training.student_steps, (size,)).to(device)
    anywhere = shifted(torch.rand(size), config.sampler.shift).to(device)
    noise, edges = torch.randn(batch.x0.shape).to(device), edges.to(device)
    starts, others = (noised(batch.x0, noise, t, known) for t in (edges[first], anywhere))
    with torch.no_grad():
        told = _told(teacher, batch, null)
        wanted = _velocity_of_many(teacher.generator, starts, first, edges, batch, told, training)
        held = teacher.generator(others, anywhere, batch.clean, told)
        reading = teacher.generator.head(held.hidden).float()
    # Both kinds of times in one batch: weights are read once.
    found = _predicted(student, starts, edges[first], others, anywhere, batch, told)
    velocity, other = found.velocity.float().chunk(2)
    unknown = (~known).expand_as(batch.x0) * batch.weight
    jump = _mean((velocity - wanted) ** 2, unknown)
    kept = _mean((other - held.velocity.float()) ** 2, unknown)
    read = (student.head(found.hidden[size:]).float() - reading).pow(2).mean()
    total = jump + training.anchor * (kept + read)
    return StepLoss(total, {"total": total, "jump": jump, "kept": kept, "read": read})


def _told(teacher: Checkpoint, batch: Batch, null: torch.Tensor) -> Conditions:
    nothing = teacher.generator.null(len(batch.x0))
    style = torch.where(null.view(-1, 1, 1), nothing, batch.style)
    words = teacher.text(batch.instructions)
    return Conditions(words, batch.cameras, style, batch.shown, batch.joints)


def _velocity_of_many(
    generator: MultiViewGenerator,
    starts: torch.Tensor,
    first: torch.Tensor,
    edges: torch.Tensor,
    batch: Batch,
    told: Conditions,
    training: DistillTraining,
) -> torch.Tensor:
    """The straight velocity from `starts` at edges[first] to where `substeps` steps end."""
    known = known_latents(batch.clean, generator.config.transformer.patch, starts.shape[2:])
    x = starts
    for k in range(training.substeps):
        at, then = edges[first + k], edges[first + k + 1]
        velocity = generator(x, at, batch.clean, told).velocity.float()
        x = torch.where(known, batch.x0, x + velocity * (then - at).view(-1, 1, 1, 1, 1))
    span = edges[first + training.substeps] - edges[first]
    return (x - starts) / span.view(-1, 1, 1, 1, 1)


def _predicted(
    student: MultiViewGenerator,
    starts: torch.Tensor,
    at: torch.Tensor,
    others: torch.Tensor,
    anywhere: torch.Tensor,
    batch: Batch,
    told: Conditions,
) -> Prediction:
    clean = batch.clean if batch.clean.ndim == 1 else torch.cat([batch.clean, batch.clean])
    return student(torch.cat([starts, others]), torch.cat([at, anywhere]), clean, told.twice())


def _mean(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (error * weight).sum() / weight.sum().clamp(min=1)


def evaluate(
    student: MultiViewGenerator, teacher: Checkpoint, sources: Sources, training: DistillTraining
) -> dict[str, float]:
    """How far from the many steps, from the same noise, few steps of student and teacher end:
    root mean square over that of the many steps' latents, on episodes that no step saw."""
    shift, compute = teacher.config.sampler.shift, teacher.compute
    few = SamplerConfig(training.student_steps, shift)
    many = SamplerConfig(training.student_steps * training.substeps, shift)
    drawing = _drawing(teacher.config, training)
    sums = {"student": 0.0, "teacher": 0.0, "scale": 0.0}
    for step in range(HELD_OUT_BATCHES):
        torch.manual_seed(training.seed * SEED_STRIDE + step)
        batch = draw_batch("many", sources, teacher.config, drawing, step)
        batch = batch.map(lambda x: x.to(compute.device))
        nothing = torch.ones(len(batch.x0), dtype=torch.bool, device=compute.device)
        noise = torch.randn(batch.x0.shape).to(compute.device)
        with compute.autocast():
            told = _told(teacher, batch, nothing)
            ends = [
                solve(generator, batch.x0, batch.clean, told, noise, make_solver(sampler))
                for generator, sampler in (
                    (student, few),
                    (teacher.generator, few),
                    (teacher.generator, many),
                )
            ]
        for name, end in (("student", ends[0]), ("teacher", ends[1])):
            sums[name] += float((end - ends[2]).pow(2).mean())
        sums["scale"] += float(ends[2].pow(2).mean())
    scale = sums.pop("scale")
    found = {f"{name}_rms": (squares / scale) ** 0.5 for name, squares in sums.items()}
    log("distill-evaluation", 0, **found)
    return found


def _write(
    student: nn.Module, teacher: Checkpoint, start: Path, out: Path, training: DistillTraining
) -> None:
    """The teacher's folder with the student's weights and solver. The refiner goes along as it was
    fitted; the gate's limits do not: they are of the teacher's weights by name."""
    names = weights.listed(start)
    # What an earlier run left there and no manifest lists would be loaded all the same.
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in names:
        if name not in (GENERATOR, CONFIG):
            shutil.copyfile(start / name, out / name)
    save_file(halved(student.state_dict()), out / GENERATOR)
    sampler = training.sampler_of(teacher.config.sampler)
    config = replace(teacher.config, sampler=sampler)
    save_config(config, teacher.templates, out / CONFIG, teacher.trained_cameras)
    weights.write_manifest(out, names)
