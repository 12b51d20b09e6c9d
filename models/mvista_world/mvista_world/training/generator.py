"""Trains generator and instruction encoder: grounding, one view, then several, in one run.

What comes when is `curriculum`'s, what a step is shown `batches`'; here are the losses: Eq. 2 on
what is not given, the consistency loss of Sec. 4.3, and a probe that makes words name places.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save, save_file
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.flow import denoising_error
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.text import (
    InstructionEncoder,
    TextEncoder,
    build_tokenizer,
    load_tokenizer,
)
from mvista_world.training import data
from mvista_world.training.batches import Batch, Sources, draw_batch, load_sources
from mvista_world.training.chance import Chance
from mvista_world.training.curriculum import (
    WARM_UNTIL,
    GeneratorTraining,
    kind_of,
    recipe_of,
    training_of,
)
from mvista_world.training.loop import (
    Alone,
    Listeners,
    Run,
    Schedule,
    StepLoss,
    train,
    trained,
)
from mvista_world.training.request import TrainingRequest
from mvista_world.trajectory import TrajectoryVae


class Speaking(Protocol):
    """What a step's losses are of; `goal` is the probe, and `trajectory` decodes what the head
    reads, where the recipe has them."""

    @property
    def generator(self) -> MultiViewGenerator: ...

    @property
    def text(self) -> TextEncoder: ...

    @property
    def goal(self) -> nn.Module: ...

    @property
    def trajectory(self) -> TrajectoryVae | None: ...


class Networks(nn.Module):
    """What is optimised together: generator, instruction encoder and, in training only, a linear
    probe that says which token of the first frame the finger tip will end in. Beside them, frozen,
    what decodes trajectory latents."""

    def __init__(self, generator: MultiViewGenerator, text: InstructionEncoder) -> None:
        super().__init__()
        self.generator = generator
        self.text = text
        self.goal = nn.Linear(generator.config.inner_dim, 1)
        self.trajectory: TrajectoryVae | None = None

    def decode_with(self, trajectory: TrajectoryVae, arm: ArmModel) -> None:
        """Take a copy of what trajectory latents are decoded by: it moves with the others, and is
        not trained. A generator that draws the arm takes both."""
        self.trajectory = copy.deepcopy(trajectory).requires_grad_(False)
        if self.generator.arm_points is not None:
            self.generator.arm_points.know(arm, trajectory)

    def forward(
        self, batch: Batch, training: GeneratorTraining, null_share: float, chance: Chance
    ) -> StepLoss:
        """The losses of one step: called as a module, so that DDP and FSDP see every weight."""
        return losses(self, batch, training, null_share, chance)


def run(asked: TrainingRequest) -> None:
    """Train on cached latents, from random weights or from a checkpoint's.

    Started from a checkpoint, they know their words already: the first two phases are short.
    """
    compute = choose(device=asked.device, threads=asked.threads)
    # Before the networks are made: their first weights are the seed's too.
    torch.manual_seed(asked.seed)
    training = asked.applied_to(training_of(recipe_of(asked), asked.without))
    training = training.of_batch(asked.batch)
    networks = new_networks(asked, compute)
    if asked.start is not None:
        training = dataclasses.replace(
            training,
            ground_until=min(training.ground_until, WARM_UNTIL),
            one_until=min(training.one_until, WARM_UNTIL),
        )
        begin = functools.partial(networks.generator.start_from, renewed=asked.renew)
        data.start_from(begin, asked.start / "generator.safetensors")
        data.start_from(networks.text.start_from, asked.start / "text.safetensors")
    training = _with_what_is_there(training, asked)
    sources = load_sources(asked, compute, training.extras.grounding)
    train_generator(networks, sources, asked.out, training, asked.resume, compute)


def _with_what_is_there(training: GeneratorTraining, asked: TrainingRequest) -> GeneratorTraining:
    """Without grounding steps where nobody collected scenes for them; that is told, and so are
    sources that are read as they stand."""
    if asked.config.vantage is not None and not any(one.vantage for one in asked.data_sets()):
        sys.stderr.write(
            f"no camera at a vantage was filmed in {asked.data}: trained on sources as they stand, "
            f"and read from {asked.config.vantage}; `mvista dataset collect --vantage` films it\n"
        )
    if not training.extras.grounding or asked.grounding_folders():
        return training
    sys.stderr.write(
        f"no grounding scenes in {asked.data}: trained as with --without grounding; "
        "`mvista dataset collect --grounding` makes some\n"
    )
    return dataclasses.replace(training, extras=training.extras.without(["grounding"]))


def new_networks(asked: TrainingRequest, compute: Compute) -> Networks:
    """Fresh generator and instruction encoder; the tokenizer is written beside them.

    Started from a checkpoint, they keep its words, and get those that the data has besides.
    """
    known = None if asked.start is None else load_tokenizer(asked.start)
    tokenizer = build_tokenizer(asked.templates(), known)
    asked.out.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(asked.out / "tokenizer.json"))
    return networks_of(asked, tokenizer, compute)


def networks_of(
    asked: TrainingRequest, tokenizer: PreTrainedTokenizerFast, compute: Compute
) -> Networks:
    """Both networks with random weights, for the words of this tokenizer."""
    model = MultiViewGenerator(asked.config)
    if compute.explicit_attention:
        model.use_explicit_attention()
    return Networks(model, InstructionEncoder(asked.config.text, tokenizer))


def trained_networks(asked: TrainingRequest, compute: Compute) -> Networks:
    """Both as they were trained in `asked.out`.

    Raises:
        ConfigError: nothing was trained there, or networks of another shape.
    """
    networks = networks_of(asked, load_tokenizer(asked.out), compute)
    for name in ("generator", "text"):
        path = asked.out / f"{name}.safetensors"
        try:
            networks.get_submodule(name).load_state_dict(load_file(path))
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"{path} holds no trained {name} of this preset: {error}") from None
    return networks


def train_generator(
    networks: Networks,
    sources: Sources,
    out: Path,
    training: GeneratorTraining,
    resume: bool,
    compute: Compute,
) -> None:
    """Writes `out/generator.safetensors` and `out/text.safetensors` (the moving average, where the
    recipe keeps one) at every state, so that a run may be stopped at any time. Resumes weights,
    optimiser, average, data order and noise.

    Raises:
        ConfigError: a state of another run; a length that hides no trajectory (`epoch_steps`).
    """
    epoch_steps = training.epoch_steps(sources.episodes)
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=compute.on_processor, mixed_precision=compute.mixed_precision)
    config: ModelConfig = networks.generator.config
    if not training.extras.instruction_gate:
        networks.generator.close_instruction_gate()
    networks.decode_with(sources.trajectory, sources.arm)
    # The average is made of what is trained, on its device: it never moves.
    networks.to(accelerator.device)
    optimiser = torch.optim.AdamW(
        trained(networks), lr=training.learning_rate, betas=training.betas, weight_decay=0.01
    )
    average = None
    if training.extras.average:
        average = EMAModel(trained(networks), decay=training.ema)
    prepared, optimiser = accelerator.prepare(networks, optimiser)

    def loss_at(step: int) -> StepLoss:
        drawn = draw_batch(kind_of(step, training), sources, config, training, step)
        batch = drawn.map(lambda x: x.to(accelerator.device))
        # On the processor and then moved: the numbers do not depend on the device.
        chance = Chance.drawn(drawn.x0, training.extras).map(lambda x: x.to(accelerator.device))
        with accelerator.autocast():
            loss = prepared(batch, training, training.null_share(step, epoch_steps), chance)
        made: StepLoss = loss.of_views(batch.cameras.views)
        return made

    schedule = Schedule(training.learning_rate, training.steps, training.warmup, training.decay)
    latents_of = hashlib.sha256(save(sources.trajectory.state_dict())).hexdigest()
    identity = _Identity(config, latents_of)
    this_run = Run.of("generator", training, schedule.at, out, identity)
    train(
        this_run,
        networks,
        optimiser,
        loss_at,
        resume,
        average,
        Alone(accelerator.backward),
        Listeners(saved=lambda done: export(networks, average, out)),
    )
    export(networks, average, out)


@dataclass(frozen=True)
class _Identity:
    """Whose run a state is: latents of another TCN-VAE mean other motions."""

    config: ModelConfig
    trajectory_sha256: str


def export(networks: nn.Module, average: EMAModel | None, out: Path) -> None:
    """The shipped files of generator and instruction encoder: the averaged weights, if any are."""
    if average is not None:
        average.store(trained(networks))
        average.copy_to(trained(networks))
    for name in ("generator", "text"):
        module = networks.get_submodule(name)
        tensors = {k: v.contiguous() for k, v in module.state_dict().items()}
        partial = out / f"{name}.partial"
        save_file(tensors, partial)
        partial.replace(out / f"{name}.safetensors")
    if average is not None:
        average.restore(trained(networks))


def losses(
    networks: Speaking,
    batch: Batch,
    training: GeneratorTraining,
    null_share: float,
    chance: Chance,
) -> StepLoss:
    """Everything given: the head's reading of a first frame; else flow matching and the head."""
    if training.extras.grounding and bool(batch.clean.all()):
        return _grounding_loss(networks, batch, training)
    return _flow_loss(networks, batch, training, null_share, chance)


def _grounding_loss(networks: Speaking, batch: Batch, training: GeneratorTraining) -> StepLoss:
    """The head's reading (Sec. 4.3) of one clean frame and the words, with the null style."""
    generator, size = networks.generator, len(batch.x0)
    words, null = networks.text(batch.instructions), generator.null(size)
    told = Conditions(words, batch.cameras, null, batch.shown, batch.joints)
    # Given tokens have time zero (App. A), and here all are given.
    now = torch.zeros(size, device=batch.x0.device)
    hidden = generator(batch.x0, now, batch.clean, told).hidden
    found = generator.head(hidden).float()
    total = error = (found - batch.z).pow(2).mean()
    shown = {"grounding": error}
    if training.extras.reached:
        shown["reached"] = reached_error(networks, found, batch.z).mean()
        total = total + training.reached * shown["reached"]
    if training.extras.goal_probe:
        logits = _goal_logits(networks, hidden)
        shown["goal"] = F.cross_entropy(logits, batch.goal)
        shown["goal_right"] = (logits.argmax(1) == batch.goal).float().mean()
        total = total + training.goal * shown["goal"]
    return StepLoss(total, {"total": total, **shown})


def _flow_loss(
    networks: Speaking,
    batch: Batch,
    training: GeneratorTraining,
    null_share: float,
    chance: Chance,
) -> StepLoss:
    """Eq. 2 and L_traj (Sec. 4.3); samples told their trajectory and others share a batch."""
    generator, size, extras = networks.generator, len(batch.x0), training.extras
    null, read, t = chance.levels(training, null_share, generator.config.sampler.shift)
    style = torch.where(null.view(-1, 1, 1), generator.null(size), batch.style)
    words = batch.instructions
    if extras.misled:
        known = ~null | (t < training.shown_below)
        words = _misled(words, batch.any_words, known, chance.wrong / training.misled)
    told = Conditions(networks.text(words), batch.cameras, style, batch.shown, batch.joints)
    error, prediction = denoising_error(
        generator, batch.x0, chance.noise, t, batch.clean, told, batch.weight
    )
    # L_traj keeps the generator from ignoring z; on null samples the same head learns to read a
    # motion that it was not told, which is +ActionInit.
    found = generator.head(prediction.hidden).float()
    head = (found - batch.z).pow(2).mean(dim=(1, 2))
    on_null = training.head_on_null if extras.head_on_null else 0.0
    factor = torch.where(null, on_null, training.consistency)
    total = error.mean() + (factor * head).mean()
    shown = {}
    if extras.reached:
        reached = reached_error(networks, found, batch.z)
        shown["reached"] = reached.mean()
        total = total + training.reached * (factor * reached).mean()
    if extras.goal_probe:
        shown["goal"] = F.cross_entropy(_goal_logits(networks, prediction.hidden), batch.goal)
        total = total + training.goal * shown["goal"]
    # A part of a step may have no sample of one kind: its mean counts as often as there are any.
    kinds = {"head_null": null & ~read, "head_read": read, "head_told": ~null}
    samples = {name: kind.sum() for name, kind in kinds.items()}
    shown |= {"total": total, "velocity": error.detach().mean()}
    for name, kind in kinds.items():
        shown[name] = (head.detach() * kind).sum() / samples[name].clamp(min=1)
    return StepLoss(total, shown, samples)


def _misled(
    instructions: list[str], others: Sequence[str], known: torch.Tensor, wrong: torch.Tensor
) -> list[str]:
    """Any of the `others` where `wrong` [B] is below 1: for samples whose motion is `known` [B]
    without them.

    Where the words already fix the motion, a generator has no need of z and ignores it, and the
    head reads the words instead of the rollout. When they may be wrong, z has to decide, so that
    Eq. 11 has a gradient to follow, and what is shown at little noise has to be looked at.
    """
    # A number that is below 1 is, among the others, as likely to be one as another.
    chosen = [
        others[int(share * len(others))] if told and share < 1.0 else None
        for told, share in zip(known.tolist(), wrong.tolist(), strict=True)
    ]
    return [other or own for other, own in zip(chosen, instructions, strict=True)]


def reached_error(networks: Speaking, found: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Squared error [B] of the last pose that latents [B, S, C] decode to, in deviations of the
    joints over all motions."""
    vae = networks.trajectory
    if vae is None:
        raise ConfigError("the loss of what is reached needs the TCN-VAE; see Networks.decode_with")
    # In full precision: what is asked for is a few milliradians.
    with torch.autocast(found.device.type, enabled=False):
        ends = [vae.decode(latent)[:, -1] for latent in (found, z)]
    return ((ends[0] - ends[1]) / vae.std).pow(2).mean(dim=1)


def _goal_logits(networks: Speaking, hidden: torch.Tensor) -> torch.Tensor:
    """Scores [B, n] of the source view's first-frame tokens: in which of them will the tip end?

    A dense, local signal for "which thing do the words name": regression alone stays for tens of
    thousands of samples on the plateau of the mean.
    """
    config: ModelConfig = networks.generator.config
    scores: torch.Tensor = networks.goal(hidden[:, : config.token_grid[0] * config.row_tokens])
    return scores.squeeze(-1).float()
