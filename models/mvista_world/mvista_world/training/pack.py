"""Puts a checkpoint folder together from what was trained, with its manifest of sha256."""

from __future__ import annotations

import shutil

from safetensors.torch import load_file, save_file

from mvista_core import weights
from mvista_world.config_file import save_config
from mvista_world.refine import REFINER_FILES
from mvista_world.training.request import TrainingRequest

NETWORKS = ("codec", "trajectory", "generator", "text")


def run(asked: TrainingRequest) -> None:
    """Assemble `asked.checkpoint`; the refiner joins where there is one.

    Weights are stored as float16: half the folder, and finer than the bfloat16 they run in where
    the processor multiplies that.
    """
    folder = asked.checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{network}.safetensors" for network in NETWORKS]
    for name in names:
        tensors = load_file(asked.out / name)
        half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file(half, folder / name)
    refiner = [asked.out / "refine" / name for name in REFINER_FILES]
    copied = [asked.out / "tokenizer.json", *(path for path in refiner if path.is_file())]
    for path in copied:
        shutil.copyfile(path, folder / path.name)
    save_config(asked.config, asked.templates(), folder / "config.json")
    names += [path.name for path in copied] + ["config.json"]
    weights.write_manifest(folder, names)
