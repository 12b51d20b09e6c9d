"""Fine-tunes a folder of Wan's size: all weights, or LoRA on the backbone; on one card or many.

The loop is `loop`'s, what a step shows `batches`', its losses `generator`'s. A step is one batch
drawn whole by every process from (seed, step), of which each takes its rows: how many processes
there are changes neither samples nor noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn

from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_world.compute import Compute, choose, own_card
from mvista_world.config import LEFT_OUT, ModelConfig
from mvista_world.config_file import load_config
from mvista_world.folder import BACKBONE, FLAT, TRAJECTORY, TRANSFORMER, VAE, recognise
from mvista_world.lora import check_rank
from mvista_world.parts import is_wan, load_codec, load_text
from mvista_world.presets import preset
from mvista_world.training import data, recordings
from mvista_world.training.batches import LATENTS, Batch, Sources, draw_batch, read_sources
from mvista_world.training.chance import Chance
from mvista_world.training.data_sets import MANIFEST
from mvista_world.training.event_files import EventFiles
from mvista_world.training.generator import losses
from mvista_world.training.latent_cache import content_sha, require_encoder
from mvista_world.training.loop import Listeners, Run, Schedule, StepLoss, train, trained
from mvista_world.training.memory import budget_of, check_card
from mvista_world.training.ranks import Ranks
from mvista_world.training.request import TrainingRequest
from mvista_world.training.samples import imagine_episode, picture
from mvista_world.training.states import Together
from mvista_world.training.tuned import KnownWords, Tuned, load_tuned, split, whole_weights
from mvista_world.training.tuned_folder import write_tuned
from mvista_world.training.tuning import Tuning, load_tuning
from mvista_world.trajectory import TrajectoryVae

PRESET = "`mvista model make-random --backbone FOLDER` makes one of the published weights"


@dataclass(frozen=True)
class Identity:
    """What a state is of, beside its settings: other weights or data cannot go on from it."""

    config: ModelConfig
    start: str
    data: str
    trajectory: str
    adapter: str


@dataclass(frozen=True)
class Job:
    """One run as this process sees it."""

    asked: TrainingRequest
    start: Path
    tuning: Tuning
    compute: Compute
    accelerator: Accelerator
    ranks: Ranks
    identity: Identity


def run(asked: TrainingRequest) -> None:
    """Train and write `out/model`, a folder as `start` is; or `out/lora`, adapters and additions.

    Raises:
        ConfigError: no folder to start from, or not of the preset; ranks that differ; a card that
            is not there or too small; latents of another autoencoder; a state of another run.
        WeightsError: a folder that is not whole; an `adapter` of another rank or backbone.
        InstructionError: words of the data that were never encoded.
    """
    job = _begin(asked)
    asked, tuning, compute = job.asked, job.tuning, job.compute
    words = load_text(job.start, asked.config, choose("fp32"))
    told = KnownWords(words, recordings.instructions_of(asked.video_folders()), compute.device)
    sources = _sources(job)
    # Adapters begin at random: every process draws the same, and keeps its part of it.
    torch.manual_seed(tuning.seed)
    networks = Tuned(load_tuned(job.start, asked.config, tuning, compute, asked.adapter), told)
    split(networks, job.ranks, compute)
    # After the split: each process averages the part that it holds.
    average = EMAModel(trained(networks), decay=tuning.average) if tuning.average else None
    tune(networks, average, sources, job)
    tensors = whole_weights(networks, average)
    write_tuned(tensors, asked, job.start, tuning, trajectory_file(asked), job.ranks)


def _begin(asked: TrainingRequest) -> Job:
    """All that can be refused is refused here, before anything is computed or written."""
    tuning, start = tuning_of(asked), _start_of(asked)
    asked = replace(asked, config=_config_of(asked, start))
    if asked.adapter is not None:
        check_rank(asked.adapter, start, tuning.lora_rank)
    compute = choose(device=own_card(asked.device), threads=asked.threads)
    compute.take_card()
    accelerator = Accelerator(cpu=compute.on_processor, mixed_precision=compute.mixed_precision)
    ranks = Ranks.joined()
    identity = Identity(
        asked.config,
        weights.part_identity(start, TRANSFORMER),
        data_identity(asked),
        weights.sha256_of(trajectory_file(asked)),
        weights.sha256_of(asked.adapter / weights.MANIFEST) if asked.adapter else "",
    )
    settings = hashlib.sha256(repr(tuning).encode()).hexdigest()
    ranks.require_alike(
        {
            "data": identity.data,
            "start folder": identity.start,
            "trajectory": identity.trajectory,
            "adapter": identity.adapter,
            "settings": settings,
        }
    )
    # Only for its refusal of a batch that cannot be shared.
    tuning.micro_batches(ranks.world)
    # Processes on one machine share its memory; a card is one process's own.
    free = compute.free_bytes() // (ranks.here if compute.on_processor else 1)
    budget = budget_of(asked.config, tuning, ranks.world, compute)
    check_card(budget, free, str(compute.device))
    if ranks.leads:
        weights.verify(start)
    return Job(asked, start, tuning, compute, accelerator, ranks, identity)


def tuning_of(asked: TrainingRequest) -> Tuning:
    """The profile asked for, with what the command line says instead.

    Raises:
        ConfigError: no such profile, one that cannot be, or choices of a small model's recipe.
    """
    if asked.recipe is not None or asked.without:
        raise ConfigError(
            f"preset '{asked.config.name}' is trained as its --profile says; --recipe and "
            "--without are of the small presets"
        )
    tuning = Tuning() if asked.profile is None else load_tuning(asked.profile)
    if asked.lora is not None:
        tuning = replace(tuning, lora_rank=asked.lora)
    if asked.adapter is not None and not tuning.lora_rank:
        raise ConfigError(f"--adapter {asked.adapter} goes on with --lora RANK, the same rank")
    return asked.applied_to(tuning)


def _start_of(asked: TrainingRequest) -> Path:
    if asked.start is None:
        raise ConfigError(f"preset '{asked.config.name}' starts from a folder: --start; {PRESET}")
    layout = recognise(asked.start)
    if layout == BACKBONE:
        raise ConfigError(
            f"{asked.start} is Wan2.2-TI2V-5B as published, without what is added to it; {PRESET}"
        )
    weights.check_complete(asked.start)
    if layout == FLAT:
        raise ConfigError(f"{asked.start} has one file per network and no Wan backbone; {PRESET}")
    return asked.start


def _config_of(asked: TrainingRequest, start: Path) -> ModelConfig:
    """The folder's own, which has to be of the preset: sizes may be smaller, the kind not."""
    found, wanted = load_config(start / weights.CONFIG)[0], asked.config
    if found.name != wanted.name or not is_wan(found):
        raise ConfigError(
            f"{start} is of preset '{found.name}', asked for is '{wanted.name}'; see --preset"
        )
    whole = preset(wanted.name)
    left_out = [name for name in LEFT_OUT if wanted.lacks(name) and not whole.lacks(name)]
    if unwanted := [name for name in left_out if not found.lacks(name)]:
        raise ConfigError(
            f"{start} has {unwanted}, which --without cannot take out of it; start from a folder "
            "that was made without"
        )
    return found


def trajectory_file(asked: TrainingRequest) -> Path:
    """`mvista train trajectory`'s of the same `out`, where there is one; else `start`'s."""
    own = asked.out / f"{TRAJECTORY}.safetensors"
    return own if own.is_file() or asked.start is None else asked.start / own.name


def data_identity(asked: TrainingRequest) -> str:
    """Of every shard's content and every manifest; no array is read."""
    sums = []
    for folder in asked.video_folders():
        shards = [content_sha(path) for path in recordings.shard_paths([folder])]
        sums.append((folder.name, weights.sha256_of(folder / MANIFEST), shards))
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def _sources(job: Job) -> Sources:
    """Latents that all processes encode together, each its own shards; then all read them."""
    asked, compute, ranks = job.asked, job.compute, job.ranks
    cache, sha = asked.out / LATENTS, weights.part_identity(job.start, VAE)
    require_encoder(cache, sha, f"{job.start / VAE}")
    trajectory = TrajectoryVae(asked.config.trajectory, len(asked.config.joint_names))
    trajectory.load_state_dict(load_file(trajectory_file(asked)))
    codec = load_codec(job.start, asked.config, compute)
    share = ranks.rank, ranks.world
    folders = asked.video_folders()
    data.fill_cache(folders, cache, codec, asked.config, sha, compute, asked.rig, share)
    ranks.wait()
    return read_sources(asked, codec, sha, trajectory, compute, grounded=False)


def tune(networks: Tuned, average: EMAModel | None, sources: Sources, job: Job) -> None:
    """The steps, from the last state on where there is one.

    Raises:
        ConfigError: a state of another run.
    """
    tuning, asked = job.tuning, job.asked
    schedule = Schedule(tuning.learning_rate, tuning.steps, tuning.warmup, decay=0.0)
    this_run = Run.of("generator", tuning, schedule.at, asked.out, job.identity)
    events = EventFiles(asked.out)

    def logged(done: int, means: Mapping[str, float]) -> None:
        if job.ranks.leads:
            events.curves(done, means, schedule.at(done - 1))

    def stepped(done: int) -> None:
        if tuning.picture_every and done % tuning.picture_every == 0:
            _draw(networks, sources, job, events, done)

    train(
        this_run,
        networks,
        make_optimiser(networks, tuning),
        lambda step: step_losses(networks, sources, job, step),
        asked.resume,
        average,
        Together(job.ranks, job.accelerator.backward),
        Listeners(stepped=stepped, logged=logged),
    )
    events.close()


def make_optimiser(networks: nn.Module, tuning: Tuning) -> torch.optim.Optimizer:
    """Of what is trained."""
    moved = trained(networks)
    if tuning.optimiser == "adafactor":
        return torch.optim.Adafactor(moved, lr=tuning.learning_rate, weight_decay=0.01)
    return torch.optim.AdamW(moved, lr=tuning.learning_rate, weight_decay=0.01)


def step_losses(networks: Tuned, sources: Sources, job: Job, step: int) -> Iterator[StepLoss]:
    """This process's share of one step, a part at a time: each loss is of its part of the mean."""
    tuning, ranks = job.tuning, job.ranks
    curriculum = tuning.curriculum()
    # Drawn whole by all: a sample and its noise do not depend on who computes it.
    batch = draw_batch("many", sources, job.asked.config, curriculum, step)
    chance = Chance.drawn(batch.x0, curriculum.extras)
    # No epochs pass before trajectories are hidden (`null_after_epochs` 0): any length will do.
    null_share = curriculum.null_share(step, 1)
    parts = tuning.micro_batches(ranks.world)
    for k in range(parts):
        first = (ranks.rank * parts + k) * tuning.micro_batch
        yield _part_loss(
            networks, batch, chance, slice(first, first + tuning.micro_batch), null_share, job
        )


def _part_loss(
    networks: Tuned, batch: Batch, chance: Chance, rows: slice, null_share: float, job: Job
) -> StepLoss:
    device, curriculum = job.compute.device, job.tuning.curriculum()
    shown = batch.rows(rows).map(lambda x: x.to(device))
    own = chance.map(lambda x: x[rows].to(device))

    def work(net: Tuned) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        loss = losses(net, shown, curriculum, null_share, own)
        # Tensors by themselves: FSDP looks for them in what a module returns.
        seen = {key: value.detach() for key, value in loss.shown.items()}
        return loss.total, seen, dict(loss.samples)

    # Uncached: narrowed copies of all weights would be held until the forward ends.
    with job.accelerator.autocast(AutocastKwargs(cache_enabled=False)):
        total, seen, samples = networks(work)
    # The mean over this process's parts; the one over processes is FSDP's.
    part = total / job.tuning.micro_batches(job.ranks.world)
    return StepLoss(part, seen, samples).of_views(shown.cameras.views)


def _draw(networks: Tuned, sources: Sources, job: Job, events: EventFiles, done: int) -> None:
    if not sources.held_out:
        return
    config, compute = job.asked.config, job.compute
    films = imagine_episode(networks, sources.held_out[0], config, compute, job.tuning.seed)
    if job.ranks.leads:
        events.pictures(done, "held_out", picture(*films, job.start, config, compute))
