"""What a model folder is and holds, read from headers; and whether every part of it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan

from mvista_core import weights
from mvista_core.errors import InstructionError
from mvista_core.instructions import expand
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.config import FUSION, ModelConfig
from mvista_world.config_file import load_config
from mvista_world.folder import (
    BACKBONE,
    BACKBONE_KEYS,
    DIFFUSION,
    FLAT,
    TRAJECTORY,
    TRANSFORMER,
    TRANSFORMERS,
    VAE,
    backbone_weights,
    generator_weights,
    is_added,
    recognise,
)
from mvista_world.generator import make_backbone
from mvista_world.motion_reader import READER
from mvista_world.parts import is_wan, load_text
from mvista_world.presets import wan22_ti2v_5b
from mvista_world.refine import REFINER
from mvista_world.retouch import RETOUCHER
from mvista_world.shards import Stored, check_fits, stored_weights
from mvista_world.text import NO_WORDS
from mvista_world.text_cache import ENCODER, FOLDER
from mvista_world.wan import check_transformer, check_vae, config_of, read_json

KINDS = ("style", *FUSION, "instruction_gate", "head")
"""What is added to the backbone and counted by itself; the rest is "tokens"."""


@dataclass(frozen=True)
class Part:
    """Parameters, bytes on disk and number formats of one part of a model."""

    name: str
    parameters: int
    size: int
    numbers: tuple[str, ...]

    @staticmethod
    def of(name: str, stored: Mapping[str, Stored]) -> Part:
        tensors = stored.values()
        return Part(
            name,
            sum(tensor.count for tensor in tensors),
            sum(tensor.size for tensor in tensors),
            tuple(sorted({tensor.number for tensor in tensors})),
        )


@dataclass(frozen=True)
class ModelFacts:
    """A folder's layout, config and parts; `sentences` of its templates, `encoded` of them on
    disk (all, where the encoder is a part of the model)."""

    folder: Path
    layout: str
    config: ModelConfig
    parts: tuple[Part, ...]
    sentences: tuple[str, ...] = ()
    encoded: int = 0

    @property
    def parameters(self) -> int:
        """Of what a planner holds: all but umT5."""
        apart = ENCODER if is_wan(self.config) else ""
        return sum(part.parameters for part in self.parts if part.name != apart)


def read_facts(folder: Path) -> ModelFacts:
    """From configs and headers alone: no tensor is read.

    Raises:
        WeightsError, ConfigError: it is no model folder, or a file of it is not whole.
    """
    layout = recognise(folder)
    if layout == BACKBONE:
        config = config_of(folder, wan22_ti2v_5b())
        parts = [Part.of("backbone", backbone_weights(folder)), *_beside(folder)]
        return ModelFacts(folder, layout, config, tuple(parts))
    weights.check_complete(folder)
    config, templates = load_config(folder / weights.CONFIG)
    if layout == FLAT:
        stored = stored_weights(folder, "generator")
        parts = _generator_parts(stored)
        for name in ("codec", "text", "trajectory"):
            parts.append(Part.of(name, stored_weights(folder, name)))
    else:
        parts = _generator_parts(generator_weights(folder))
        parts += [Part.of(TRAJECTORY, stored_weights(folder, TRAJECTORY)), *_beside(folder)]
    for files in (READER, REFINER, RETOUCHER):
        if files.are_in(folder):
            stem = Path(files.weights).stem
            parts.append(Part.of(stem, stored_weights(folder, stem)))
    sentences = tuple(text for template in templates for text in expand(template))
    if config.sampler.guided:
        sentences = (*sentences, NO_WORDS)
    encoded = len(sentences)
    if is_wan(config):
        encoded -= len(_not_encoded(folder, config, sentences))
    return ModelFacts(folder, layout, config, tuple(parts), sentences, encoded)


def verify(folder: Path) -> ModelFacts:
    """Every sum, key, shape, statistic and cached text of a folder; returns what it holds.

    Raises:
        WeightsError, ConfigError: naming what is wrong, what is wanted and where to get it.
        InstructionError: a sentence of the templates was never encoded.
    """
    facts = read_facts(folder)
    if facts.layout != BACKBONE:
        # Loading is the check: nothing else knows better what a planner would refuse.
        # bf16 stays mapped: no tensor of ten gigabytes is copied to be looked at.
        load_checkpoint(folder, choose("bf16" if is_wan(facts.config) else "fp32"))
        missing = _not_encoded(folder, facts.config, facts.sentences) if facts.sentences else []
        if missing and is_wan(facts.config):
            raise InstructionError(
                f"{folder / FOLDER} lacks {len(missing)} of {len(facts.sentences)} sentences "
                f'("{missing[0]}"); `mvista text encode {folder}` makes them'
            )
        return facts
    check_transformer(folder / TRANSFORMER / "config.json", facts.config)
    check_vae(folder / VAE / "config.json", facts.config.codec)
    with init_empty_weights():
        backbone = make_backbone(facts.config)
        vae = AutoencoderKLWan.from_config(read_json(folder / VAE / "config.json"))
    # What is published has none of ours, which would count as missing keys.
    for block in backbone.blocks:
        block.style = block.cross_modality = block.cross_view = None
    stored = stored_weights(folder / TRANSFORMER, DIFFUSION)
    check_fits(backbone, stored, str(folder / TRANSFORMER))
    check_fits(vae, stored_weights(folder / VAE, DIFFUSION), str(folder / VAE))
    return facts


def _generator_parts(stored: Mapping[str, Stored]) -> list[Part]:
    own = {key: tensor for key, tensor in stored.items() if not is_added(key)}
    kinds: dict[str, dict[str, Stored]] = {name: {} for name in (*KINDS, "tokens")}
    for key in stored.keys() - own.keys():
        words = key.removeprefix(BACKBONE_KEYS).split(".")
        kind = next((name for name in KINDS if name in words), "tokens")
        kinds[kind][key] = stored[key]
    return [
        Part.of("backbone", own),
        *(Part.of(name, found) for name, found in kinds.items() if found),
    ]


def _beside(folder: Path) -> list[Part]:
    """vae/ and, where it is, text_encoder/."""
    parts = [Part.of(VAE, stored_weights(folder / VAE, DIFFUSION))]
    if (folder / ENCODER).is_dir():
        parts.append(Part.of(ENCODER, stored_weights(folder / ENCODER, TRANSFORMERS)))
    return parts


def _not_encoded(folder: Path, config: ModelConfig, sentences: tuple[str, ...]) -> list[str]:
    """Sentences without features on disk; damaged ones raise."""
    if not is_wan(config):
        return []
    text, missing = load_text(folder, config, choose("fp32")), []
    for sentence in sentences:
        try:
            with torch.no_grad():
                text([sentence])
        except InstructionError:
            missing.append(sentence)
    return missing
