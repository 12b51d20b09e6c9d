"""The two layouts of a checkpoint folder, and what stands in one that is neither.

`parts` is diffusers' own, for every size: `transformer/`, `vae/`, `text_encoder/`, `tokenizer/` and
`scheduler/` as Wan2.2-TI2V-5B has them, and ours beside: `additions.safetensors` (all that the
generator has beside the backbone), `trajectory.safetensors`, the refiner, `config.json` and the
manifest. `flat` is what `mvista train pack` writes: one file per network.
"""

from __future__ import annotations

import re
from pathlib import Path

from mvista_core.errors import WeightsError
from mvista_core.weights import MANIFEST
from mvista_world.shards import Stored, stored_weights
from mvista_world.wan import GET, read_json, refuse_foreign

FLAT, PARTS, BACKBONE = "flat", "parts", "backbone"
TRANSFORMER, VAE, SCHEDULER = "transformer", "vae", "scheduler"
INDEX = "model_index.json"
DIFFUSION, TRANSFORMERS = "diffusion_pytorch_model", "model"
"""Stems of weight files, of diffusers and of transformers."""
ADDITIONS, TRAJECTORY = "additions", "trajectory"
BACKBONE_KEYS = "backbone."
ADDED = re.compile(r"backbone\.blocks\.\d+\.(cross_modality|cross_view|style)\.")
"""Keys within the backbone's blocks that are no backbone's."""


def recognise(folder: Path) -> str:
    """Which layout a folder has: `FLAT`, `PARTS`, or `BACKBONE` (Wan2.2-TI2V-5B as published).

    Raises:
        WeightsError: it is none of them: nothing there, another model, another format.
    """
    if not folder.is_dir():
        raise WeightsError(f"no checkpoint at {folder}: {MANIFEST} is missing, as is the folder")
    refuse_foreign(folder)
    transformer = folder / TRANSFORMER / "config.json"
    if (folder / MANIFEST).is_file():
        return PARTS if transformer.parent.is_dir() else FLAT
    if not transformer.is_file():
        raise WeightsError(
            f"no checkpoint at {folder}: {MANIFEST} is missing, and {TRANSFORMER}/config.json too; "
            f"see models/checkpoints/, train one with `mvista train`, or get a backbone with {GET}"
        )
    kind = read_json(transformer).get("_class_name")
    if kind != "WanTransformer3DModel":
        raise WeightsError(f"{transformer} is a {kind}; wanted is Wan2.2-TI2V-5B, {GET}")
    return BACKBONE


def is_added(key: str) -> bool:
    """Whether a key of the generator's is what stands beside the backbone."""
    return not key.startswith(BACKBONE_KEYS) or bool(ADDED.match(key))


def backbone_weights(folder: Path) -> dict[str, Stored]:
    """The backbone's tensors of a folder, by the generator's keys.

    Raises:
        WeightsError: see `shards`.
    """
    stored = stored_weights(folder / TRANSFORMER, DIFFUSION)
    return {BACKBONE_KEYS + key: tensor for key, tensor in stored.items()}


def generator_weights(folder: Path) -> dict[str, Stored]:
    """All of the generator's tensors of a `PARTS` folder.

    Raises:
        WeightsError: see `shards`.
    """
    return {**backbone_weights(folder), **stored_weights(folder, ADDITIONS)}
