"""The generator of a folder of Wan's size as it is trained: what of it moves, in which numbers, and
how it is split among processes (FSDP2, a block at a time)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.training_utils import EMAModel
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.folder import TRANSFORMER, generator_weights, is_added
from mvista_world.generator import MultiViewGenerator
from mvista_world.lora import add_adapters, is_adapter, plain_key, start_from_adapters
from mvista_world.parts import weight_number
from mvista_world.shards import load_into
from mvista_world.text import TextEncoder
from mvista_world.training.ranks import Ranks
from mvista_world.training.tuning import Tuning

T = TypeVar("T")


class KnownWords:
    """Features of every instruction of the data, read once: a `TextEncoder` without one.

    What was never encoded is refused when it is made, not in the middle of a run.
    """

    def __init__(self, encoder: TextEncoder, sentences: Sequence[str], device: torch.device):
        self._device = device
        self._features = {text: encoder([text])[0].cpu() for text in sentences}

    def __call__(self, instructions: Sequence[str]) -> torch.Tensor:
        """[B, n, hidden]."""
        return torch.stack([self._features[text] for text in instructions]).to(self._device)


class Tuned(nn.Module):
    """What is trained, with the words that it is told. All work on its weights is done within its
    forward, where FSDP has them at hand."""

    def __init__(self, generator: MultiViewGenerator, text: TextEncoder) -> None:
        super().__init__()
        self.generator = generator
        self.text = text
        # `generator.Speaking`'s probe and decoder: no recipe of this size has them.
        self.goal = nn.Identity()
        self.trajectory = None

    def forward(self, work: Callable[[Tuned], T]) -> T:
        return work(self)


def number_of(
    config: ModelConfig, tuning: Tuning, compute: Compute
) -> Callable[[str], torch.dtype]:
    """In which numbers a weight is held: float32 what is trained, the rest as in a planner."""

    def number(key: str) -> torch.dtype:
        if not tuning.lora_rank or is_added(key) or is_adapter(key):
            return torch.float32
        return weight_number(config, compute, plain_key(key))

    return number


def shaped(config: ModelConfig, tuning: Tuning) -> MultiViewGenerator:
    """The generator without memory, what is trained marked: for arithmetic."""
    with init_empty_weights():
        generator = MultiViewGenerator(config)
    return mark_trained(generator, tuning, shapes_only=True)


def load_tuned(
    start: Path, config: ModelConfig, tuning: Tuning, compute: Compute, adapter: Path | None = None
) -> MultiViewGenerator:
    """The generator of a folder on its device, what is trained marked.

    Raises:
        WeightsError: it is not whole or does not fit; an earlier `adapter` of other layers.
    """
    with init_empty_weights():
        generator = MultiViewGenerator(config)
    what = f"{start / TRANSFORMER} and additions"
    numbers = number_of(config, tuning, compute)
    load_into(generator, generator_weights(start), compute.device, numbers, what)
    # Buffers (the rotary table) are made with the module, on the processor.
    generator.to(compute.device)
    mark_trained(generator, tuning)
    if adapter is not None:
        start_from_adapters(generator, adapter)
    if tuning.checkpointing:
        generator.backbone.enable_gradient_checkpointing()
    return generator


def mark_trained(
    generator: MultiViewGenerator, tuning: Tuning, shapes_only: bool = False
) -> MultiViewGenerator:
    """Say of each weight whether the run moves it; adapters, where it has some, are put in."""
    if tuning.lora_rank:
        add_adapters(generator, tuning.lora_rank, tuning.lora_alpha, shapes_only)
    for key, parameter in generator.named_parameters():
        parameter.requires_grad_(not tuning.lora_rank or is_added(key) or is_adapter(key))
    return generator.train()


def split(networks: Tuned, ranks: Ranks, compute: Compute) -> None:
    """Share the weights out, a block at a time and then the rest; one process keeps them whole."""
    if ranks.world == 1:
        return
    mesh = init_device_mesh(compute.device.type, (ranks.world,))
    for block in networks.generator.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(networks, mesh=mesh)


def whole_weights(networks: Tuned, average: EMAModel | None) -> Iterator[tuple[str, torch.Tensor]]:
    """The generator's tensors by its keys (adapters by their `plain_key`s), on the processor, one
    after another: the average of what is trained, if one is kept. All processes have to iterate.
    """
    shadows: Iterator[torch.Tensor] = iter(average.shadow_params if average is not None else ())
    for key, parameter in networks.generator.named_parameters():
        own = parameter.detach()
        tensor = next(shadows) if average is not None and parameter.requires_grad else own
        # All processes give their part: one that left a key out would keep the others waiting.
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        yield plain_key(key), whole.detach().cpu()
