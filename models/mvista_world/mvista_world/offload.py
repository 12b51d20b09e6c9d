"""A backbone larger than the card: blocks wait in this machine's memory (accelerate's hooks)."""

from __future__ import annotations

import torch
from accelerate import cpu_offload

from mvista_core.errors import ConfigError
from mvista_world.block import MultiViewBlock
from mvista_world.compute import Compute
from mvista_world.generator import MultiViewGenerator
from mvista_world.speed import BLOCKS, OFFLOADS, RESIDENT, Running


def check_offload(running: Running, compute: Compute) -> None:
    """Refuse what cannot be before a weight is read.

    Raises:
        ConfigError: no such offload, or one that does not go with the device or with `Speed`.
    """
    if running.offload not in OFFLOADS:
        raise ConfigError(f"offload '{running.offload}' is none of {list(OFFLOADS)}")
    if running.offload == RESIDENT:
        return
    if compute.on_processor:
        raise ConfigError(
            f"offload '{BLOCKS}' moves weights between a card and this machine's memory; device "
            f"'{compute.device}' computes there already: take offload '{RESIDENT}', or a card"
        )
    if running.speed.compiled:
        raise ConfigError(
            f"offload '{BLOCKS}' and compiled blocks do not go together: a graph holds the weights "
            "that it was compiled with; switch one off"
        )


def offload_blocks(generator: MultiViewGenerator, device: torch.device) -> None:
    """All but the blocks to the device; each block follows for its forward, and leaves again.

    Eq. 11 computes blocks again in its backward pass instead of keeping all that were brought.
    """
    # Set aside first: `to` would move them too, onto the card that they do not fit on.
    blocks = generator.backbone.blocks
    generator.backbone.blocks = torch.nn.ModuleList()
    generator.to(device)
    generator.backbone.blocks = blocks
    for block in blocks:
        # Whole before its forward: `layer_norm` reads weights of modules that are never called.
        cpu_offload(block, device, preload_module_classes=[MultiViewBlock.__name__])
    generator.backbone.enable_gradient_checkpointing()
