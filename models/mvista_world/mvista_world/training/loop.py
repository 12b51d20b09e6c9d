"""The one training loop: schedule, seeding, gradient step, log lines, and a state to resume from.

It knows neither networks nor data: a recipe hands it a loss per step. One rule of resuming for
all: samples and noise are functions of (seed, step), and a state is gone on from only by the run
that wrote it, so an interrupted run ends with an unbroken one's weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from mvista_core.errors import ConfigError

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

LARGEST_GRADIENT = 1.0
"""Norm to which gradients are clipped (our choice): rare batches would undo many others."""
SEED_STRIDE = 1_000_003
"""Between the seeds of two runs' steps: a prime beyond any run's length, so that none is shared."""


Seen = dict[str, list[float]]
"""Since the log's last line, by a scalar's name: its sum over samples, and how many they were."""


class Stateful(Protocol):
    """A model, an optimiser or a moving average."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object: ...


class LoopSettings(Protocol):
    """What every recipe's settings have; they are dataclasses."""

    @property
    def seed(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def state_every(self) -> int: ...

    @property
    def log_every(self) -> int: ...


@dataclass(frozen=True)
class StepLoss:
    """What one step descends, and scalars by name for the log.

    `samples` says of how many samples a scalar is the mean, where that differs from step to step
    or part to part: so often it counts in a line of the log, and where there were none not at all.
    """

    total: torch.Tensor
    shown: Mapping[str, torch.Tensor]
    samples: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def of_views(self, views: int) -> StepLoss:
        """The same, its scalars named after how many views were shown."""
        named = [{f"{views}v-{k}": v for k, v in of.items()} for of in (self.shown, self.samples)]
        return StepLoss(self.total, *named)


@dataclass(frozen=True)
class Run:
    """One network's run: its name in the log, its settings, its state file and whose that is.

    `rate` gives the learning rate of a step; `key` identifies settings and sizes.
    """

    name: str
    settings: LoopSettings
    rate: Callable[[int], float]
    state: Path
    key: str

    @staticmethod
    def of(
        name: str, settings: LoopSettings, rate: Callable[[int], float], out: Path, sizes: Any
    ) -> Run:
        """A run whose state lies in `out`; `sizes` is the configuration (a dataclass) it trains."""
        # Every field counts: of two runs that differ in any of them neither goes on from the other.
        said = repr((asdict(sizes), asdict(settings)))  # type: ignore[call-overload]
        key = hashlib.sha256(said.encode()).hexdigest()
        return Run(name, settings, rate, out / f"{name}.state", key)


@dataclass(frozen=True)
class Schedule:
    """Warm-up, constant, then linear decay over the last `decay` share of `steps`."""

    learning_rate: float
    steps: int
    warmup: int = 100
    decay: float = 0.25

    def at(self, step: int) -> float:
        """Learning rate of one step; never quite zero, so that the last steps still count."""
        start = self.steps * (1.0 - self.decay)
        # Without decay this is never below 1, and the rate stays what it is (App. A: constant).
        falling = (self.steps - step) / max(self.steps - start, 1.0)
        return self.learning_rate * min((step + 1) / self.warmup, 1.0, max(falling, 0.02))


@dataclass(frozen=True)
class CosineSchedule:
    """Warm-up, then half a cosine down to zero at `steps`."""

    learning_rate: float
    steps: int
    warmup: int

    def at(self, step: int) -> float:
        """Learning rate of one step."""
        if step < self.warmup:
            return self.learning_rate * ((step + 1) / self.warmup)
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (0.5 * (1.0 + math.cos(math.pi * share)))


class Engine(Protocol):
    """How gradients are made and states are kept: here in one process, or by many together."""

    @property
    def leads(self) -> bool:
        """Whether this process tells how the run goes."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradients to those there are."""
        ...

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Of all processes."""
        ...

    def save(self, run: Run, done: int, parts: Mapping[str, Stateful]) -> None:
        """Write a resumable state whole or not at all."""
        ...

    def restore(self, run: Run, parts: Mapping[str, Stateful]) -> int:
        """Restore `save`'s parts in place; returns the step to go on from (0 without a state).

        Raises:
            ConfigError: the state is of a run with other settings.
        """
        ...


class Alone:
    """One process, one state file; `backward` is the tensor's own, or an accelerator's."""

    leads = True

    def __init__(self, backward: Callable[[torch.Tensor], object] = torch.Tensor.backward) -> None:
        self._backward = backward

    def backward(self, loss: torch.Tensor) -> None:
        self._backward(loss)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        return values

    def save(self, run: Run, done: int, parts: Mapping[str, Stateful]) -> None:
        save(run, done, parts)

    def restore(self, run: Run, parts: Mapping[str, Stateful]) -> int:
        return restore(run, parts)


@dataclass(frozen=True)
class Listeners:
    """Who hears of a run: `stepped(done)` after each step, `saved(done)` after each state,
    `logged(done, means)` with each line."""

    stepped: Callable[[int], None] = lambda done: None
    saved: Callable[[int], None] = lambda done: None
    logged: Callable[[int, Mapping[str, float]], None] = lambda done, means: None


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that a run moves."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def train(
    run: Run,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss_at: Callable[[int], StepLoss | Iterable[StepLoss]],
    resume: bool,
    average: EMAModel | None = None,
    engine: Engine | None = None,
    heard: Listeners | None = None,
) -> None:
    """Descend `loss_at(step)` for as many steps as were asked for, those before a state included.

    A step's loss may come in parts: their gradients add up. `average` follows the parameters that
    are `trained`.

    Raises:
        ConfigError: the state there is another run's.
    """
    parts: dict[str, Stateful] = {"model": model, "optimiser": optimiser}
    if average is not None:
        parts["average"] = average
    settings, moved = run.settings, trained(model)
    engine, heard = engine or Alone(), heard or Listeners()
    first = engine.restore(run, parts) if resume else 0
    seen: Seen = {}
    for step in range(first, settings.steps):
        # At every step: what a loss draws does not depend on where the run was interrupted.
        torch.manual_seed(settings.seed * SEED_STRIDE + step)
        # From the step and not by torch's schedulers: nothing of it has to be kept in the state.
        for group in optimiser.param_groups:
            group["lr"] = run.rate(step)
        optimiser.zero_grad(set_to_none=True)
        found = loss_at(step)
        # An iterator's parts are computed one at a time: one's graph is gone before the next.
        for loss in [found] if isinstance(found, StepLoss) else found:
            engine.backward(loss.total)
            _note(seen, loss)
        # Once, of the sum: parts clipped one by one would be another step than the whole batch.
        nn.utils.clip_grad_norm_(moved, LARGEST_GRADIENT)
        optimiser.step()
        if average is not None:
            average.step(moved)
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            _tell(run, done, seen, engine, heard)
        heard.stepped(done)
        if done % settings.state_every == 0:
            engine.save(run, done, parts)
            heard.saved(done)


def _note(seen: Seen, loss: StepLoss) -> None:
    for key, value in loss.shown.items():
        samples = float(loss.samples[key]) if key in loss.samples else 1.0
        sums = seen.setdefault(key, [0.0, 0.0])
        sums[0] += samples * float(value.detach())
        sums[1] += samples


def _tell(run: Run, done: int, seen: Seen, engine: Engine, heard: Listeners) -> None:
    """The means since the last line, which are then forgotten."""
    # Asked by all processes, told by one: a rank that did not ask would keep the others waiting.
    sums, samples = (engine.mean({key: of[k] for key, of in seen.items()}) for k in range(2))
    means = {key: total / samples[key] for key, total in sums.items() if samples[key]}
    seen.clear()
    if engine.leads:
        log(run.name, done, **means)
    heard.logged(done, means)


def save(run: Run, done: int, parts: Mapping[str, Stateful]) -> None:
    """Write a resumable state whole or not at all."""
    run.state.parent.mkdir(parents=True, exist_ok=True)
    partial = run.state.with_suffix(".partial")
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": done, "key": run.key, **states}, partial)
    partial.replace(run.state)


def restore(run: Run, parts: Mapping[str, Stateful]) -> int:
    """Restore `save`'s parts in place; returns the step to go on from (0 without a file).

    Raises:
        ConfigError: the state is of a run with other settings.
    """
    if not run.state.is_file():
        return 0
    # Tensors and numbers alone: a state that was brought from elsewhere must run no code.
    state = torch.load(run.state, weights_only=True)
    require_own(run, state.get("key"))
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def require_own(run: Run, key: object) -> None:
    """Refuse another run's state.

    Raises:
        ConfigError: `key` is not this run's.
    """
    # The schedule depends on the length and the samples on the seed: going on with others would
    # give weights that no command can repeat.
    if key != run.key:
        raise ConfigError(
            f"{run.state} is of a run with other sizes, seed or steps; use them, or another --out"
        )


def log(stage: str, step: int, **values: float) -> None:
    """One line of JSON on standard output."""
    rounded = {key: round(value, 5) for key, value in values.items()}
    sys.stdout.write(json.dumps({"stage": stage, "step": step, **rounded}) + "\n")
    sys.stdout.flush()
