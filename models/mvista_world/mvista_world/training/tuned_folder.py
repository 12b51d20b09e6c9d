"""What fine-tuning leaves: a whole model folder, or adapters with what was trained beside them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from mvista_core import weights
from mvista_world.assemble import from_start
from mvista_world.config_file import save_config
from mvista_world.folder import (
    ADDITIONS,
    BACKBONE_KEYS,
    TRAJECTORY,
    TRANSFORMER,
    generator_weights,
    is_added,
)
from mvista_world.lora import FILE, LORA, LoraFacts, is_adapter, write_adapters
from mvista_world.shards import FORMATS, write_shards
from mvista_world.training.pack import cameras_of
from mvista_world.training.ranks import Ranks
from mvista_world.training.request import TrainingRequest
from mvista_world.training.tuning import Tuning

MODEL = "model"
Tensors = Iterator[tuple[str, torch.Tensor]]


def write_tuned(
    tensors: Tensors,
    asked: TrainingRequest,
    start: Path,
    tuning: Tuning,
    trajectory: Path,
    ranks: Ranks,
) -> Path:
    """Write `out/model` or (LoRA) `out/lora`, whole or not at all, in the numbers of `start`.

    `tensors` are the generator's by key; every process iterates over them, the first one writes.
    """
    name = LORA if tuning.lora_rank else MODEL
    final, partial = asked.out / name, asked.out / f"{name}.partial"
    if not ranks.leads:
        for _ in tensors:
            pass
        return final
    shutil.rmtree(partial, ignore_errors=True)
    if tuning.lora_rank:
        _write_lora(tensors, asked, start, tuning, trajectory, partial)
    else:
        _write_model(tensors, asked, start, trajectory, partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return final


def _write_model(
    tensors: Tensors, asked: TrainingRequest, start: Path, trajectory: Path, out: Path
) -> None:
    stored = generator_weights(start)
    added: dict[str, torch.Tensor] = {}

    def backbone() -> Tensors:
        # Additions come between the blocks, and are small: they are kept while shards are written.
        for key, tensor in tensors:
            stored_as = tensor.to(FORMATS[stored[key].number])
            if is_added(key):
                added[key] = stored_as
            else:
                yield key.removeprefix(BACKBONE_KEYS), stored_as

    cameras = cameras_of(asked.video_folders(), asked)
    # `added` is read after the backbone is written, and full then.
    from_start(
        out,
        start,
        asked.config,
        asked.templates(),
        cameras,
        backbone(),
        _late(added),
        trajectory,
    )


def _late(tensors: dict[str, torch.Tensor]) -> Tensors:
    yield from tensors.items()


def _write_lora(
    tensors: Tensors,
    asked: TrainingRequest,
    start: Path,
    tuning: Tuning,
    trajectory: Path,
    out: Path,
) -> None:
    stored = generator_weights(start)
    adapters: dict[str, torch.Tensor] = {}
    added: dict[str, torch.Tensor] = {}
    for key, tensor in tensors:
        if is_adapter(key):
            adapters[key] = tensor
        elif is_added(key):
            added[key] = tensor.to(FORMATS[stored[key].number])
    out.mkdir(parents=True)
    base = weights.part_identity(start, TRANSFORMER)
    write_adapters(adapters, LoraFacts(base, tuning.lora_rank, tuning.lora_alpha), out)
    names = write_shards(added.items(), out, ADDITIONS)
    shutil.copyfile(trajectory, out / f"{TRAJECTORY}.safetensors")
    cameras = cameras_of(asked.video_folders(), asked)
    save_config(asked.config, asked.templates(), out / weights.CONFIG, cameras)
    weights.write_manifest(out, [*names, FILE, f"{TRAJECTORY}.safetensors", weights.CONFIG])
