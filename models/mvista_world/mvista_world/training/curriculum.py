"""What the generator learns when: the settings of its training, and which kind of step comes next.

Three kinds of step, mixed by a schedule:
  ground  one clean first frame and an instruction -> z by the head (cheap: 48 tokens). Language
          grounding is where a small model breaks, and this is where it is learnt;
  one     the source view alone, flow matching (Eq. 2) and consistency loss;
  many    two or three views, the same losses: the model that ships.
"""

from __future__ import annotations

from dataclasses import dataclass

WARM_UNTIL = 100
"""Steps of each of the first two phases for networks that know their words already."""


@dataclass(frozen=True)
class GeneratorTraining:
    """Lengths, batches and weights; what the paper leaves open is our choice.

    `consistency` is the paper's lambda_1 (Sec. 5.1), `head_on_null` the same for samples that were
    told nothing: those are the head's work at inference (+ActionInit). Trajectory dropout (App. A)
    rises from `null_start` to `null_end`. `full_source` is the share of steps that give the source
    video with random frames masked, as App. A does; the others give its first frame only.
    """

    steps: int = 1800
    learning_rate: float = 8e-4
    seed: int = 0
    ema: float = 0.998
    consistency: float = 0.1
    head_on_null: float = 1.0
    goal: float = 0.1
    misled: float = 0.8
    shown_below: float = 0.6
    null_start: float = 0.2
    null_end: float = 0.35
    full_source: float = 0.1
    ground_batch: int = 64
    one_batch: int = 24
    many_batch: int = 12
    ground_until: int = 400
    one_until: int = 1000
    state_every: int = 100
    log_every: int = 50

    def null_share(self, step: int) -> float:
        """Share of samples that are told no trajectory at `step`."""
        return self.null_start + (self.null_end - self.null_start) * (step / self.steps)


def kind_of(step: int, training: GeneratorTraining) -> str:
    """Which kind of step comes at `step`: a fixed pattern, denser in its own phase."""
    if step < training.ground_until:
        return "ground"
    if step < training.one_until:
        return ("one", "one", "ground", "many")[step % 4]
    # Grounding stays in the mix to the end, or the words are forgotten.
    return ("many", "many", "one", "many", "many", "ground")[step % 6]
