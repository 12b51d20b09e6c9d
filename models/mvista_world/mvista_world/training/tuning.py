"""How a folder of Wan's size is fine-tuned: a profile per kind of machine, read from YAML.

Light to import: the command reads it to answer `--help`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvista_core.documents import Document, read_document
from mvista_core.errors import ConfigError
from mvista_world.training.curriculum import NO_EXTRAS, TRAINING, GeneratorTraining

OPTIMISERS = ("adamw", "adafactor")
PROFILES = ("lora_24gb", "full_80gb", "full_8x80gb")
"""Those that `config/training/` ships."""
HINT = "config/training/ has one for each kind of machine"
SHARES = ("null_start", "null_end", "full_source", "completed")
WHOLE = 10**9
"""No whole number of a profile is larger."""


@dataclass(frozen=True)
class Tuning:
    """One run.

    `batch` samples make a step, of all processes together; each takes its share `micro_batch` at a
    time. `lora_rank` 0 trains all weights; else LoRA on the backbone's attention and feed-forward
    layers, scaled by lora_alpha / lora_rank, and all that is added to the backbone.
    `checkpointing` computes each block again in the backward pass. `average` is the decay of the
    moving average that ships; 0 keeps none. `null_start` to `null_end` is the share of samples
    that are told no motion, `full_source` that of samples that are given the source video with
    frames masked, `completed` that given all views but the last. Pictures are drawn at every
    `picture_every`-th step; 0 draws none.
    """

    steps: int = 10_000
    batch: int = 32
    micro_batch: int = 1
    lora_rank: int = 0
    lora_alpha: int = 32
    optimiser: str = "adamw"
    learning_rate: float = 1e-5
    warmup: int = 500
    checkpointing: bool = True
    average: float = 0.999
    view_counts: tuple[int, ...] = (2, 3)
    null_start: float = 0.1
    null_end: float = 0.5
    full_source: float = 0.5
    completed: float = 0.0
    state_every: int = 500
    log_every: int = 10
    picture_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 0, "lora_rank": 0, "seed": 0, "picture_every": 0}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # By the annotation, a string here: to `isinstance` a bool would be an int.
            if field.type == "int" and value < least.get(field.name, 1):
                raise ConfigError(
                    f"{field.name} {value}: at least {least.get(field.name, 1)}; {HINT}"
                )
        if self.optimiser not in OPTIMISERS:
            raise ConfigError(f"optimiser '{self.optimiser}' is none of {list(OPTIMISERS)}")
        # Asked this way round, NaN is refused too.
        if not 0 <= self.average < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"average {self.average} is from 0 to below 1, learning_rate "
                f"{self.learning_rate} above 0"
            )
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}: a share, from 0 to 1; {HINT}")
        if not self.view_counts or min(self.view_counts) < 1:
            raise ConfigError(f"view_counts {list(self.view_counts)}: one view or more each")

    def micro_batches(self, processes: int) -> int:
        """How many parts each of so many processes makes of its share.

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        if self.batch % (processes * self.micro_batch):
            raise ConfigError(
                f"a batch of {self.batch} cannot be shared by {processes} processes in parts of "
                f"{self.micro_batch}; give a multiple of {processes * self.micro_batch}"
            )
        return self.batch // (processes * self.micro_batch)

    def curriculum(self) -> GeneratorTraining:
        """What a step shows and how its losses are weighed: the paper's steps of several views, and
        of ours that the head reads what it was not told, and that such samples are at high noise.
        """
        extras = dataclasses.replace(
            NO_EXTRAS, head_on_null=True, late_null=True, instruction_gate=True, average=True
        )
        return dataclasses.replace(
            TRAINING["paper"],
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            seed=self.seed,
            ema=self.average,
            null_start=self.null_start,
            null_end=self.null_end,
            null_after_epochs=0,
            full_source=self.full_source,
            completed=self.completed,
            view_counts=self.view_counts,
            many_batch=self.batch,
            state_every=self.state_every,
            log_every=self.log_every,
            extras=extras,
        )


def load_tuning(path: Path) -> Tuning:
    """A profile; what it leaves out has `Tuning`'s value.

    Raises:
        ConfigError: no such file, an unknown name, or a value that cannot be.
    """
    entries = read_document(path, ConfigError, HINT).entries()
    known = {field.name: field for field in dataclasses.fields(Tuning)}
    unknown = sorted(entries.keys() - known.keys())
    if unknown:
        raise ConfigError(f"{path}: unknown {unknown}; there are {sorted(known)}")
    return Tuning(**{name: _value(found, known[name].default) for name, found in entries.items()})


def _value(found: Document, usual: object) -> Any:
    # First, since a bool is an int as well.
    if isinstance(usual, bool):
        return found.truth()
    if isinstance(usual, int):
        return found.whole(0, WHOLE)
    if isinstance(usual, float):
        return found.number()
    if isinstance(usual, tuple):
        return tuple(item.whole(1, WHOLE) for item in found.items())
    return found.text()
