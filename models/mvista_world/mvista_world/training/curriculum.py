"""What the generator learns when: the settings of its training, and which kind of step comes next.

Three kinds of step, mixed by a schedule:
  ground  one clean first frame and an instruction -> z by the head (cheap: 48 tokens). Language
          grounding is where a small model breaks, and this is where it is learnt;
  one     the source view alone, flow matching (Eq. 2) and consistency loss;
  many    two or three views, the same losses: the model that ships, and the paper's only kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_world.config import LEFT_OUT
from mvista_world.training.request import TrainingRequest

READ_BELOW = 0.7
"""Noise level up to which a future is read (`Extras.read`); the head's own are within."""
WARM_UNTIL = 100
"""Steps of each of the first two phases for networks that know their words already."""


@dataclass(frozen=True)
class Extras:
    """What we do beside the paper: a switch each, so that what it pays can be measured.

    grounding: steps of one clean frame, read by the head. What the words name is learnt there at a
        tenth of a video step's cost; a small text encoder does not learn it from videos alone.
    single_view: a phase of the source view alone before several, since motion is learnt sooner
        from a third of the tokens.
    misled: words of any sample, of any task, where the motion is known without them. Words that fix
        the motion leave z idle, and Eq. 11 without a gradient; and Eq. 11 is told any words.
    goal_probe: a probe says in which token the tip will end. A dense and local signal; regression
        of z alone stays for long on the plateau of the mean.
    motion_weight: Eq. 2's error counts more where a latent is not what it always is: the arm is a
        few tokens in a hundred.
    head_on_null: the head also reads motions that the generator was not told, as it has to at
        inference (+ActionInit). The paper's L_traj reconstructs only what was told.
    reached: what the head reads is also held to the pose that its motion ends in. Most of z tells a
        motion's pace and style, which a first frame cannot; the few numbers that say which place
        was reached, and how nearly, drown in their error.
    read: some samples show their future at less noise than `READ_BELOW` and are told no motion:
        that is where the head reads a rollout, and the other draws come there once in twenty.
    late_null: half of the other samples that are told no motion are at high noise, where text-only
        imagination decides its motion.
    instruction_gate: the pooled instruction takes part in the modulation; without it the words are
        heard in cross-attention only, as in Wan.
    average: the moving average of the weights ships, since the last ones shake with the last
        batches.
    shared_mask: one mask of given frames for a whole batch instead of one a sample; where they are
        the leading tokens, two slices then modulate them.
    """

    grounding: bool = True
    single_view: bool = True
    misled: bool = True
    goal_probe: bool = True
    motion_weight: bool = True
    head_on_null: bool = True
    reached: bool = True
    read: bool = True
    late_null: bool = True
    instruction_gate: bool = True
    average: bool = True
    shared_mask: bool = True

    def without(self, names: Sequence[str]) -> Extras:
        """These switched off.

        Raises:
            ConfigError: a name that is none of the switches, or one that is off already.
        """
        on = [name for name, value in dataclasses.asdict(self).items() if value]
        for name in names:
            if name not in on:
                raise ConfigError(
                    f"cannot train without '{name}': the recipe has {on or 'nothing'} "
                    f"beside the paper, and a model the modules {list(LEFT_OUT)}; see --without"
                )
        return dataclasses.replace(self, **dict.fromkeys(names, False))


NO_EXTRAS = Extras(**dict.fromkeys(Extras.__dataclass_fields__, False))
"""The paper's letter."""


@dataclass(frozen=True)
class GeneratorTraining:
    """Lengths, batches and weights; what the paper leaves open is our choice.

    `consistency` is the paper's lambda_1 (Sec. 5.1), `head_on_null` the same for samples that were
    told nothing: those are the head's work at inference (+ActionInit). Trajectory dropout (App. A)
    is `null_start` for `null_after_epochs` epochs, then rises linearly to `null_end`.
    `goal` and `reached` weigh the losses of those names, `read` is a share of samples (`Extras`).
    `full_source` is the share of draws that give the source video with frames masked, as App. A
    does; the others give its first frame only. A step of several views takes one of `view_counts`.
    `completed` is the share of draws of several views that give all views but the last, as the
    second run of mode 2 does and that which completes a source read from a vantage; the paper
    trains on none, and neither did the shipped model.
    """

    steps: int = 1800
    learning_rate: float = 8e-4
    warmup: int = 100
    decay: float = 0.25
    betas: tuple[float, float] = (0.9, 0.98)
    seed: int = 0
    ema: float = 0.998
    consistency: float = 0.1
    head_on_null: float = 1.0
    goal: float = 0.1
    reached: float = 4.0
    misled: float = 0.8
    shown_below: float = 0.6
    read: float = 0.35
    null_start: float = 0.2
    null_end: float = 0.35
    null_after_epochs: int = 0
    full_source: float = 0.1
    completed: float = 0.0
    view_counts: tuple[int, ...] = (2, 3, 3)
    ground_batch: int = 64
    one_batch: int = 24
    many_batch: int = 12
    ground_until: int = 400
    one_until: int = 1000
    state_every: int = 100
    log_every: int = 50
    extras: Extras = Extras()

    def of_batch(self, samples: int | None) -> GeneratorTraining:
        """With so many samples in a step of several views, others in proportion; None: as it is.

        Raises:
            ConfigError: fewer than one.
        """
        if samples is None:
            return self
        if samples < 1:
            raise ConfigError(f"--batch {samples}: a step is of at least 1 sample")
        share = samples / self.many_batch
        ground, one = (max(1, round(share * n)) for n in (self.ground_batch, self.one_batch))
        return dataclasses.replace(self, ground_batch=ground, one_batch=one, many_batch=samples)

    def null_share(self, step: int, epoch_steps: int) -> float:
        """Share of samples that are told no trajectory at `step`, by the steps of an epoch."""
        first = self.null_after_epochs * epoch_steps
        if step < first:
            return self.null_start
        risen = (step - first) / (self.steps - first)
        return self.null_start + (self.null_end - self.null_start) * risen

    def epoch_steps(self, episodes: int) -> int:
        """Steps in which as many samples are drawn as there are episodes to draw from.

        Raises:
            ConfigError: all steps would be told their motion: what comes of that imagines nothing
                from words alone.
        """
        found = -(-episodes // self.many_batch)
        first = self.null_after_epochs * found
        if first and self.steps <= first:
            raise ConfigError(
                f"{self.steps} steps end before step {first} ({self.null_after_epochs} epochs of "
                f"{found} steps: {episodes} episodes, {self.many_batch} a batch), from which on "
                "trajectories are hidden: no imagination from words would be learnt; see --steps"
            )
        return found


TRAINING = {
    "tiny": GeneratorTraining(),
    # As `tiny`, for mode 2: its second run is shown views whole, so training has to. For half of
    # its steps the rate falls, since what is read off a frame gets nearer then.
    "views": GeneratorTraining(steps=3000, decay=0.5, completed=0.2),
    # Sec. 5.1 and App. A; length and batch are open there (ours: 100 epochs of 4,800 episodes).
    "paper": GeneratorTraining(
        steps=40_000,
        learning_rate=1e-5,
        warmup=1000,
        decay=0.0,
        betas=(0.9, 0.999),
        null_start=0.0,
        null_end=0.5,
        null_after_epochs=50,
        full_source=0.5,
        view_counts=(2, 3),
        ground_until=0,
        one_until=0,
        extras=NO_EXTRAS,
    ),
}
"""The generator's recipes by name: how `tiny` was trained (before `reached` and `read`), that for
mode 2, the paper's letter."""


SHIPPED = {"tiny_views": "views"}
"""By which of them the weights of a preset were trained, where not by `tiny`."""


def recipe_of(asked: TrainingRequest) -> str:
    """What was asked for, or how shipped weights of this preset were trained."""
    return asked.recipe or SHIPPED.get(asked.config.name, "tiny")


def kind_of(step: int, training: GeneratorTraining) -> str:
    """Which kind of step comes at `step`: a fixed pattern, denser in its own phase."""
    if step < training.ground_until:
        kind = "ground"
    elif step < training.one_until:
        kind = ("one", "one", "ground", "many")[step % 4]
    else:
        # Grounding stays in the mix to the end, or the words are forgotten.
        kind = ("many", "many", "one", "many", "many", "ground")[step % 6]
    if kind == "ground" and not training.extras.grounding:
        kind = "one"
    return "many" if kind == "one" and not training.extras.single_view else kind


def training_of(recipe: str, without: Sequence[str] = ()) -> GeneratorTraining:
    """A recipe's settings, with these of `Extras` switched off.

    Raises:
        ConfigError: no such recipe, or nothing of it to switch off under that name.
    """
    if recipe not in TRAINING:
        raise ConfigError(f"no recipe '{recipe}' of the generator; there are {sorted(TRAINING)}")
    chosen = TRAINING[recipe]
    return dataclasses.replace(chosen, extras=chosen.extras.without(without))
