"""Networks of a `PARTS` folder (`folder`): made without memory, filled from the mapped files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn

from mvista_core.errors import ConfigError
from mvista_core.machine import available_memory
from mvista_world.codec import StackedCodec, VideoCodec, WanCodec
from mvista_world.compute import BESIDE, Compute
from mvista_world.config import ModelConfig
from mvista_world.folder import (
    DIFFUSION,
    TRAJECTORY,
    TRANSFORMER,
    TRANSFORMERS,
    VAE,
    generator_weights,
    is_added,
)
from mvista_world.generator import MultiViewGenerator
from mvista_world.offload import offload_blocks
from mvista_world.shards import load_into, stored_weights
from mvista_world.speed import RESIDENT
from mvista_world.text import InstructionEncoder, TextEncoder, load_tokenizer
from mvista_world.text_cache import ENCODER, TOKENIZER, CachedText
from mvista_world.trajectory import TrajectoryVae
from mvista_world.wan import check_transformer, check_vae, read_json

M = TypeVar("M", bound=nn.Module)
TINY_KINDS, WAN_KINDS = ("stacked2d", "bert"), ("wan", "umt5")
"""Which codec goes with which instruction encoder."""
KEPT_WIDE = frozenset(WanTransformer3DModel._keep_in_fp32_modules)
"""Parts of the backbone that diffusers keeps in float32 in a bf16 model."""


@dataclass(frozen=True)
class LoadedNetworks:
    """The frozen networks of a checkpoint folder, on their device."""

    codec: VideoCodec
    text: TextEncoder
    generator: MultiViewGenerator
    trajectory: TrajectoryVae


def load_networks(
    folder: Path, config: ModelConfig, compute: Compute, offload: str = RESIDENT
) -> LoadedNetworks:
    """Load a folder in the `PARTS` layout, in `weight_number`s; `offload` is one of `OFFLOADS`.

    Raises:
        WeightsError: anything missing, damaged, or of another model.
        ConfigError: a codec and an instruction encoder that do not go together, or not enough
            memory for what is held.
    """
    if is_wan(config):
        on_device, waiting = split_bytes(needed_bytes(folder, config, compute), config, offload)
        check_room(on_device, compute.free_bytes(), str(compute.device))
        check_room(waiting, available_memory(), "this machine")
    trajectory = _made(
        TrajectoryVae(config.trajectory, len(config.joint_names)), folder, TRAJECTORY, compute
    )
    return LoadedNetworks(
        load_codec(folder, config, compute),
        load_text(folder, config, compute),
        load_generator(folder, config, compute, offload),
        trajectory,
    )


def is_wan(config: ModelConfig) -> bool:
    """Whether the config is of Wan's own autoencoder and text encoder.

    Raises:
        ConfigError: of neither theirs nor `tiny`'s.
    """
    kinds = (config.codec.kind, config.text.kind)
    if kinds not in (TINY_KINDS, WAN_KINDS):
        raise ConfigError(
            f"config '{config.name}' wants codec '{kinds[0]}' with text '{kinds[1]}'; there are "
            f"{TINY_KINDS} and {WAN_KINDS}"
        )
    return kinds == WAN_KINDS


def needed_bytes(folder: Path, config: ModelConfig, compute: Compute) -> dict[str, int]:
    """Bytes of weights that a planner holds, by part, from the headers.

    Raises:
        WeightsError: see `shards`.
    """
    # In the numbers they are held in, not those of the file: bf16 halves a folder of float32.
    parts = {
        "generator": {
            key: (tensor, weight_number(config, compute, key))
            for key, tensor in generator_weights(folder).items()
        },
        VAE: {
            key: (tensor, torch.float32)
            for key, tensor in stored_weights(folder / VAE, DIFFUSION).items()
        },
    }
    return {
        name: sum(tensor.count * number.itemsize for tensor, number in found.values())
        for name, found in parts.items()
    }


def split_bytes(
    needed: Mapping[str, int], config: ModelConfig, offload: str
) -> tuple[dict[str, int], dict[str, int]]:
    """`needed_bytes` of the device, and of this machine's memory beside it.

    Of blocks that wait beside it the device holds one: a backbone's weights are nearly all theirs,
    and blocks are alike.
    """
    if offload == RESIDENT:
        return dict(needed), {}
    whole = needed["generator"]
    one = -(-whole // config.transformer.num_layers)
    return {**needed, "generator": one}, {"generator": whole}


def check_room(needed: Mapping[str, int], free: int, device: str) -> None:
    """Refuse at the start what would fail in the middle of a plan; `free` 0 is not known.

    Raises:
        ConfigError: with what is needed by part, and what there is.
    """
    total = sum(needed.values())
    if not free or total <= free:
        return
    raise ConfigError(
        f"weights take {in_gib(needed)}, {device} has {free / 2**30:.1f} GiB "
        "free: take precision bf16, offload 'blocks' on a card, free the device, or another one"
    )


def in_gib(sizes: Mapping[str, int]) -> str:
    """In words: "12.0 GiB (generator 10.0, vae 2.0)"."""
    parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in sizes.items())
    return f"{sum(sizes.values()) / 2**30:.1f} GiB ({parts})"


def weight_number(config: ModelConfig, compute: Compute, key: str) -> torch.dtype:
    """In which numbers a weight of the generator is held.

    A small model keeps float32 and computes in `compute`'s by autocast. Of Wan's size the weights
    themselves are bf16, but for what diffusers keeps in float32.
    """
    if not is_wan(config) or (not KEPT_WIDE.isdisjoint(key.split(".")) and not is_added(key)):
        return torch.float32
    return compute.dtype


def load_generator(
    folder: Path, config: ModelConfig, compute: Compute, offload: str = RESIDENT
) -> MultiViewGenerator:
    """Backbone and additions, key by key; `offload` is one of `OFFLOADS`.

    Raises:
        WeightsError: see `load_networks`.
    """
    if is_wan(config):
        check_transformer(folder / TRANSFORMER / "config.json", config)
    # Only parameters are without memory: the rotary table is a buffer that no file holds.
    with init_empty_weights():
        generator = MultiViewGenerator(config)
    load_into(
        generator,
        generator_weights(folder),
        compute.device if offload == RESIDENT else BESIDE,
        lambda key: weight_number(config, compute, key),
        f"{folder / TRANSFORMER} and additions",
    )
    if offload == RESIDENT:
        return frozen(generator, compute)
    # Not `frozen`, which would bring the waiting blocks to the card.
    generator.eval().requires_grad_(False)
    offload_blocks(generator, compute.device)
    return generator


def load_codec(folder: Path, config: ModelConfig, compute: Compute) -> VideoCodec:
    """The video autoencoder of `vae/`, in float32.

    Raises:
        WeightsError: see `load_networks`.
    """
    if not is_wan(config):
        return _made(StackedCodec(config.codec), folder / VAE, DIFFUSION, compute)
    described = folder / VAE / "config.json"
    check_vae(described, config.codec)
    with init_empty_weights():
        vae = AutoencoderKLWan.from_config(read_json(described))
    return frozen(WanCodec(_made(vae, folder / VAE, DIFFUSION, compute)), compute)


def load_text(folder: Path, config: ModelConfig, compute: Compute) -> TextEncoder:
    """What turns instructions into features; for "umt5" those on disk, and no encoder."""
    if is_wan(config):
        return CachedText(folder, config.text, compute.device, torch.float32)
    encoder = InstructionEncoder(config.text, load_tokenizer(folder / TOKENIZER))
    return _made(encoder, folder / ENCODER, TRANSFORMERS, compute)


def _made(module: M, folder: Path, stem: str, compute: Compute) -> M:
    """A module filled from `folder`/`stem`, in float32."""
    stored = stored_weights(folder, stem)
    load_into(module, stored, compute.device, lambda key: torch.float32, str(folder / stem))
    return frozen(module, compute)


def frozen(module: M, compute: Compute) -> M:
    """In evaluation mode, on the device, without gradients.

    Eq. 11 differentiates with respect to z alone: a frozen weight costs no gradient memory.
    """
    return module.eval().requires_grad_(False).to(compute.device)
