"""Steps of a solver that leave out most of the network: diffusers' First Block Cache.

The first block is computed at every step. Where what it adds differs by less than a share
`threshold` (of means of absolute values) from what it added at the last step that was computed
whole, that step's joint effect of the other blocks is added again instead of being computed. An
approximation: `mvista bench speed` has its error curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry

from mvista_core.errors import ConfigError
from mvista_world.block import MultiViewBlock
from mvista_world.generator import MultiViewGenerator
from mvista_world.speed import Speed

# What diffusers has to know of a block that is not its own: tokens come first, and nothing else
# comes out.
TransformerBlockRegistry.register(MultiViewBlock, TransformerBlockMetadata())


@contextmanager
def cached_steps(generator: MultiViewGenerator, threshold: float) -> Iterator[None]:
    """For one run of a solver; 0 is without. What is kept, and the hooks, end with it.

    Raises:
        ConfigError: under autograd, where a block that is not computed has no gradient; with
            compiled blocks, which are one graph each (`check_step_cache`).
    """
    if threshold == 0.0:
        yield
        return
    if torch.is_grad_enabled():
        raise ConfigError(
            f"step_cache {threshold} under autograd: blocks that are left out have no gradient; "
            "call with torch.no_grad(), or with 0"
        )
    check_step_cache(threshold, generator.speed)
    generator.backbone.enable_cache(FirstBlockCacheConfig(threshold))
    try:
        yield
    finally:
        generator.backbone.disable_cache()


def check_step_cache(threshold: float, speed: Speed) -> None:
    """Refuse what no run of a solver could do, before there is one.

    Raises:
        ConfigError: blocks are compiled.
    """
    if threshold and speed.compiled:
        raise ConfigError(
            f"step_cache {threshold} with compiled blocks: one graph of a block cannot be left out "
            "by what it finds; switch one of the two off"
        )


def cache_of(generator: MultiViewGenerator, asked: str) -> AbstractContextManager[None]:
    """Round an evaluation: what was kept for one set of conditions is not used for another."""
    if not generator.backbone.is_cache_enabled:
        return nullcontext()
    kept: AbstractContextManager[None] = generator.backbone.cache_context(asked)
    return kept
