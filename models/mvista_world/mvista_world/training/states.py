"""The state of a run that many processes share: each writes its own part, and any number of them
goes on from it. A folder per state, renamed when it is whole: a kill leaves the one before."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers.training_utils import EMAModel
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from mvista_core.errors import ConfigError
from mvista_world.training.loop import Run, Stateful, require_own
from mvista_world.training.ranks import Ranks

ABOUT = "run.json"
AVERAGED = "average_steps"


class Together:
    """`loop.Engine` of one or many processes whose weights may be sharded."""

    def __init__(self, ranks: Ranks, backward: Callable[[torch.Tensor], object]) -> None:
        self._ranks = ranks
        self._backward = backward

    @property
    def leads(self) -> bool:
        return self._ranks.leads

    def backward(self, loss: torch.Tensor) -> None:
        self._backward(loss)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        return self._ranks.mean(values)

    def save(self, run: Run, done: int, parts: Mapping[str, Stateful]) -> None:
        """See `loop.Engine`."""
        folder = _states(run)
        whole, partial = folder / f"step-{done:09d}", folder / f"step-{done:09d}.partial"
        if self.leads:
            folder.mkdir(parents=True, exist_ok=True)
            # A kill while a state was written leaves its folder; no other process writes one now.
            for left in folder.glob("*.partial"):
                shutil.rmtree(left)
            partial.mkdir()
        self._ranks.wait()
        with _quietly():
            save_shards(_tensors(parts), checkpoint_id=partial, no_dist=not dist.is_initialized())
        self._ranks.wait()
        if self.leads:
            average = parts.get("average")
            steps = average.optimization_step if isinstance(average, EMAModel) else 0
            # `_whole` knows a state by this file: written once every process's part is there.
            about = {"step": done, "key": run.key, AVERAGED: steps}
            (partial / ABOUT).write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(whole, ignore_errors=True)
            partial.rename(whole)
            # After the rename: a kill in between leaves two, and the newer one is gone on from.
            # Farther ones too: of a run that --restart left, which would be gone on from else.
            for other in _whole(folder):
                if other != whole:
                    shutil.rmtree(other)
        self._ranks.wait()

    def restore(self, run: Run, parts: Mapping[str, Stateful]) -> int:
        """See `loop.Engine`."""
        found = _whole(_states(run))
        if not found:
            return 0
        try:
            about = json.loads((found[-1] / ABOUT).read_text(encoding="utf-8"))
            # Before any tensor is read: what they are read into are the run's own weights.
            require_own(run, about.get("key"))
            tensors = _tensors(parts)
            with _quietly():
                load_shards(tensors, checkpoint_id=found[-1], no_dist=not dist.is_initialized())
        except (OSError, ValueError, KeyError, CheckpointException) as error:
            raise ConfigError(
                f"{found[-1]} cannot be gone on from ({error}); remove it, or take --restart"
            ) from None
        model, optimiser = parts["model"], parts["optimiser"]
        assert isinstance(model, nn.Module) and isinstance(optimiser, torch.optim.Optimizer)
        set_optimizer_state_dict(model, optimiser, tensors["optimiser"])
        average = parts.get("average")
        if isinstance(average, EMAModel):
            average.optimization_step = int(about[AVERAGED])
        return int(about["step"])


@contextmanager
def _quietly() -> Iterator[None]:
    """One process is what was meant: torch warns of it at every state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _states(run: Run) -> Path:
    return run.state.with_suffix(".states")


def _whole(folder: Path) -> list[Path]:
    """Whole states, the newest last."""
    return sorted(path.parent for path in folder.glob(f"step-?????????/{ABOUT}"))


def _tensors(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """What a state holds, by names that do not depend on how it is sharded; tensors of model and
    average are the live ones, which are filled in place. What is frozen is in the start folder."""
    model, optimiser = parts["model"], parts["optimiser"]
    assert isinstance(model, nn.Module) and isinstance(optimiser, torch.optim.Optimizer)
    moved = {key: p for key, p in model.named_parameters() if p.requires_grad}
    state: dict[str, Any] = {
        "model": {key: parameter.detach() for key, parameter in moved.items()},
        # By parameters' names; an optimiser's own state_dict only counts them.
        "optimiser": get_optimizer_state_dict(model, optimiser),
    }
    average = parts.get("average")
    if isinstance(average, EMAModel):
        state["average"] = dict(zip(moved, average.shadow_params, strict=True))
    return state
