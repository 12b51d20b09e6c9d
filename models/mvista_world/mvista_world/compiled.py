"""Blocks by torch.compile, and diffusers' tiles: what of `Speed` is set up once, at loading."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from mvista_core.errors import ConfigError
from mvista_world.codec import VideoCodec, WanCodec
from mvista_world.compute import Compute
from mvista_world.generator import MultiViewGenerator
from mvista_world.speed import BLOCKS, Running
from mvista_world.step_cache import check_step_cache

SHAPES = 32
"""So many shapes of a block (views of a run, samples of a batch) are compiled before it is refused:
each is one graph of fixed sizes."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def apply_speed(
    running: Running, generator: MultiViewGenerator, codec: VideoCodec, compute: Compute
) -> None:
    """Set up what is asked for, once.

    Raises:
        ConfigError: what this machine, or this model, has not.
    """
    speed = running.speed
    if running.offload == BLOCKS:
        # Keys and values are made outside of a block's forward, where its weights are away.
        speed = replace(speed, kept_context=False)
    check_step_cache(generator.config.sampler.step_cache, speed)
    generator.speed = speed
    if speed.compiled:
        apply_blocks(generator, compute)
    if speed.tiled_decoding:
        if not isinstance(codec, WanCodec):
            raise ConfigError(
                "tiled_decoding: tiles are AutoencoderKLWan's; this model's autoencoder has none"
            )
        codec.vae.enable_tiling()


def apply_blocks(generator: MultiViewGenerator, compute: Compute) -> None:
    """`compile_blocks`, where there is what it takes.

    Raises:
        ConfigError: there is not.
    """
    if reason := why_not_compiled(compute):
        raise ConfigError(f"compiled blocks: {reason}; switch 'compiled' off")
    compile_blocks(generator)


def why_not_compiled(compute: Compute) -> str:
    """What is missing to compile for this device; "" where nothing is."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        return f"no C++ compiler '{compiler}' on PATH (apt-get install g++, or set CXX)"
    if not compute.on_processor and find_spec("triton") is None:
        return "no triton beside torch, which generates the card's kernels (pip install triton)"
    return ""


def compile_blocks(generator: MultiViewGenerator, backend: str = "inductor") -> None:
    """Every block as one graph of fixed shapes. What was compiled is kept on disk for the next
    start (`TORCHINDUCTOR_CACHE_DIR`; unless set, below the user's own cache)."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault(CACHE, str(home / "mvista" / "compiled"))
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, SHAPES)
    generator.backbone.compile_repeated_blocks(fullgraph=True, dynamic=False, backend=backend)
