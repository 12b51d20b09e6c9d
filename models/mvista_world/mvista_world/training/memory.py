"""What a fine-tuning run holds on each card: arithmetic from shapes, before a byte is loaded.

Weights, gradients, optimiser and average are exact (a test counts them on real tensors, sharded
ones too). Activations are an upper estimate, by the token, of what autograd keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import nn

from mvista_core.errors import ConfigError
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.training.tuned import number_of, shaped
from mvista_world.training.tuning import Tuning

STEP_BYTES = 4
"""An optimiser counts each parameter's steps in a float32."""
KEPT_D, KEPT_FFN, KEPT_MODALITY, KEPT_VIEW = 30, 2, 30, 13
"""Numbers that autograd keeps of one token in one block, in units of d, of the feed-forward width,
of cross-modality's width, and of cross-view's for each sample and other view: upper bounds of what
is counted in float32, where most is."""
RESERVED = 3 << 29
"""1.5 GiB: the CUDA context, the libraries' work spaces, what the allocator cannot use."""


@dataclass(frozen=True)
class Budget:
    """Bytes on one card. `gathered` is what FSDP holds whole for a while: the weights outside the
    blocks, and two blocks' with one's gradients; `reserved` is the card's own."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    gathered: int
    activations: int
    reserved: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def parts(self) -> dict[str, int]:
        """By name; those that take nothing are left out."""
        found = {field.name: int(getattr(self, field.name)) for field in fields(self)}
        return {name: size for name, size in found.items() if size}


def budget_of(config: ModelConfig, tuning: Tuning, processes: int, compute: Compute) -> Budget:
    """Of the process that holds most: the first."""
    generator = shaped(config, tuning)
    number = number_of(config, tuning, compute)
    own = {key: _share(p, processes) for key, p in generator.named_parameters()}
    moved = {key for key, p in generator.named_parameters() if p.requires_grad}
    # 4 bytes: what is trained is float32 (`number_of`), whatever the forward computes in.
    gradients = sum(4 * own[key].numel() for key in moved)
    return Budget(
        weights=sum(number(key).itemsize * part.numel() for key, part in own.items()),
        gradients=gradients,
        optimiser=sum(_optimiser(tuning.optimiser, own[key]) for key in moved),
        average=gradients if tuning.average else 0,
        gathered=_gathered(generator, number) if processes > 1 else 0,
        activations=activation_bytes(config, tuning, compute)
        + _narrowed(generator, number, compute),
        reserved=0 if compute.on_processor else RESERVED,
    )


def _share(parameter: torch.Tensor, processes: int) -> torch.Tensor:
    """The first process's part, as FSDP2 cuts it: along the first side."""
    # `chunk` rounds up: no other process holds more than the first.
    return parameter if processes == 1 else parameter.chunk(processes)[0]


def _optimiser(name: str, parameter: torch.Tensor) -> int:
    """AdamW has two moments; Adafactor a row and a column of each matrix, or one of a vector."""
    count = parameter.numel()
    if name == "adamw":
        return STEP_BYTES + 8 * count
    if parameter.ndim < 2:
        return STEP_BYTES + 4 * count
    return STEP_BYTES + 4 * (count // parameter.shape[-1] + count // parameter.shape[-2])


def _narrowed(generator: nn.Module, number: Callable[[str], torch.dtype], compute: Compute) -> int:
    """The copies in the computing format of one block's wider weights, which its own backward pass
    keeps."""
    size = compute.dtype.itemsize
    return sum(
        size * parameter.numel()
        for key, parameter in generator.named_parameters()
        if ".blocks.0." in key and number(key).itemsize > size
    )


def _gathered(generator: nn.Module, number: Callable[[str], torch.dtype]) -> int:
    # Blocks are alike, so the first stands for each. FSDP fetches the next one while one computes,
    # and a gradient is whole until it is reduced.
    block = rest = block_gradients = rest_gradients = 0
    for key, parameter in generator.named_parameters():
        size = number(key).itemsize * parameter.numel()
        gradient = 4 * parameter.numel() if parameter.requires_grad else 0
        if ".blocks." not in key:
            rest, rest_gradients = rest + size, rest_gradients + gradient
        elif ".blocks.0." in key:
            block, block_gradients = block + size, block_gradients + gradient
    return 2 * block + block_gradients + rest + rest_gradients


def activation_bytes(config: ModelConfig, tuning: Tuning, compute: Compute) -> int:
    """At most, of `micro_batch` samples of as many views as a step may have."""
    views = max(tuning.view_counts)
    tokens = views * config.latent_frames * config.token_grid[0] * config.row_tokens
    t, modality, view = config.transformer, config.cross_modality, config.cross_view
    each = KEPT_D * config.inner_dim + KEPT_FFN * t.ffn_dim
    if modality is not None:
        each += KEPT_MODALITY * modality.width
    if view is not None:
        # Eq. 8 samples K points on a token's line in every other view.
        each += KEPT_VIEW * view.width * view.samples * (views - 1)
    inside = 4 * tokens * each
    # Checkpointing keeps what goes into each block, and the inside of the one computed again.
    before = t.num_layers * tokens * config.inner_dim * compute.dtype.itemsize
    kept = before + inside if tuning.checkpointing else t.num_layers * inside
    return tuning.micro_batch * kept


def check_card(budget: Budget, free: int, device: str) -> None:
    """Refuse at the start what would fail in the first step; `free` 0 is not known.

    Raises:
        ConfigError: with what is needed by part, what there is, and what takes less.
    """
    if not free or budget.total <= free:
        return
    raise ConfigError(
        f"training takes {_gib(budget.total)} GiB ({_words(budget.parts)}), {device} has "
        f"{_gib(free)} GiB free: free it, train with --lora, a smaller micro_batch or average 0 "
        "(--profile), or on more cards (torchrun); docs/training.md has the arithmetic"
    )


def _words(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
