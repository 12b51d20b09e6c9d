"""Writes folders in the `PARTS` layout: from a flat one, from random weights, from a backbone."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file

from mvista_core import weights
from mvista_core.camera_range import TrainedCameras
from mvista_core.errors import ConfigError, WeightsError
from mvista_core.files import make_folder
from mvista_world import random_weights
from mvista_world.checkpoint import DESCRIBED
from mvista_world.config import ModelConfig, StyleConfig
from mvista_world.config_file import load_config, save_config, stated_cameras
from mvista_world.folder import (
    ADDITIONS,
    BACKBONE,
    BACKBONE_KEYS,
    DIFFUSION,
    FLAT,
    INDEX,
    PARTS,
    SCHEDULER,
    TRAJECTORY,
    TRANSFORMER,
    TRANSFORMERS,
    VAE,
    is_added,
    recognise,
)
from mvista_world.generator import style_into_blocks
from mvista_world.lora import check_base, merged_backbone
from mvista_world.parts import is_wan
from mvista_world.refine import RefineConfig, ResidualRefiner, save_refiner
from mvista_world.shards import read_tensors, stored_weights, write_shards
from mvista_world.solvers import unipc_config
from mvista_world.text_cache import ENCODER, TIED, TOKENIZER, encoder_identity
from mvista_world.text_cache import FOLDER as TEXT_CACHE
from mvista_world.trajectory import TrajectoryVae
from mvista_world.wan import (
    check_transformer,
    check_vae,
    config_of,
    transformer_config,
    vae_config,
)

SPREAD_RAD = 0.05
"""How far random trajectories move the joints: a standard deviation."""
CARD = "MODEL_CARD.md"
NUMBERS = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large a stand-in is; the defaults are Wan2.2-TI2V-5B's own but for one layer of text.

    `depth` layers of `heads` x 128 channels, `vae_width` channels at the autoencoder's first
    level, text features `text_width` wide, `frames` pictures.
    """

    depth: int = 30
    heads: int = 24
    vae_width: int = 160
    text_width: int = 4096
    text_layers: int = 1
    frames: int = 33

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The config at these sizes.

        Raises:
            ConfigError: what does not fit together.
        """
        if min(dataclasses.astuple(self)) < 1 or self.text_width % 64 or self.vae_width % 5:
            raise ConfigError(
                f"{self}: sizes are 1 or more, text_width a multiple of 64, vae_width of 5"
            )
        dim = 128 * self.heads
        transformer = dataclasses.replace(
            config.transformer,
            num_layers=self.depth,
            num_attention_heads=self.heads,
            ffn_dim=14336 * self.heads // 24,
        )
        style = StyleConfig(min(512, dim), min(4, self.heads))
        text = dataclasses.replace(
            config.text,
            hidden=self.text_width,
            layers=self.text_layers,
            heads=self.text_width // 64,
        )
        codec = dataclasses.replace(config.codec, width=self.vae_width)
        return dataclasses.replace(
            config,
            transformer=transformer,
            style=style,
            text=text,
            codec=codec,
            frame_count=self.frames,
        )


def convert(flat: Path, out: Path) -> str:
    """A `FLAT` folder in the `PARTS` layout, its tensors bit for bit; returns the manifest's sum.

    Raises:
        WeightsError: `flat` is not whole, or in another layout. ConfigError: `out` has something.
    """
    if recognise(flat) != FLAT:
        raise WeightsError(f"{flat} has its parts in folders already")
    weights.verify(flat)
    config, templates = load_config(flat / weights.CONFIG)
    _new(out)
    generator = load_file(flat / "generator.safetensors")
    style_into_blocks(generator)
    own = {k.removeprefix(BACKBONE_KEYS): v for k, v in generator.items() if not is_added(k)}
    write_shards(own.items(), out / TRANSFORMER, DIFFUSION)
    write_shards(((k, v) for k, v in generator.items() if is_added(k)), out, ADDITIONS)
    for name, folder, stem in (
        ("codec", VAE, DIFFUSION),
        ("text", ENCODER, TRANSFORMERS),
        ("trajectory", "", TRAJECTORY),
    ):
        write_shards(load_file(flat / f"{name}.safetensors").items(), out / folder, stem)
    (out / TOKENIZER).mkdir()
    shutil.copyfile(flat / "tokenizer.json", out / TOKENIZER / "tokenizer.json")
    for name in (*DESCRIBED, CARD):
        if (flat / name).is_file():
            shutil.copyfile(flat / name, out / name)
    _write_json(out / VAE / "config.json", "StackedCodec", dataclasses.asdict(config.codec))
    _write_json(
        out / ENCODER / "config.json", "InstructionEncoder", dataclasses.asdict(config.text)
    )
    return _finish(out, config, templates)


def make_random(
    out: Path,
    config: ModelConfig,
    templates: Sequence[str],
    seed: int = 0,
    precision: str = "bf16",
    backbone: Path | None = None,
    home: Sequence[float] | None = None,
) -> str:
    """The layout of Wan's size with seeded random weights, shard by shard; the manifest's sum.

    `backbone` is a published Wan2.2-TI2V-5B folder whose transformer, autoencoder and text encoder
    are taken (linked where the disk allows) instead of random ones; what is added to it is then as
    training starts. `home` [J] is the pose around which random trajectories move.

    Raises:
        ConfigError: a config that is not of Wan's codec and text, a precision that is none of
            "bf16" and "fp32", or `out` has something.
        WeightsError: `backbone` is not Wan2.2-TI2V-5B, or not whole.
    """
    if not is_wan(config):
        raise ConfigError(f"config '{config.name}' has no Wan backbone; see `mvista train`")
    if precision not in NUMBERS:
        raise ConfigError(f"precision '{precision}' is none of {sorted(NUMBERS)}")
    number = NUMBERS[precision]
    if backbone is not None:
        config = _sizes_of(backbone, config)
    _new(out)
    if backbone is None:
        config = _random_parts(out, config, templates, seed, number)
    else:
        for name in (TRANSFORMER, VAE, ENCODER, TOKENIZER):
            _take(backbone / name, out / name)
    identity = encoder_identity(out)
    config = dataclasses.replace(
        config, text=dataclasses.replace(config.text, encoder_sha256=identity)
    )
    added = random_weights.additions(config, seed + 1, number, awake=backbone is None)
    write_shards(added, out, ADDITIONS)
    torch.manual_seed(seed + 2)
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    trajectory.std.fill_(SPREAD_RAD)
    if home is not None:
        trajectory.mean.copy_(torch.tensor(home))
    write_shards(trajectory.state_dict().items(), out, TRAJECTORY)
    # Untrained it gives the prior back to the bit: the stage runs and corrects nothing.
    save_refiner(ResidualRefiner(RefineConfig()), out)
    return _finish(out, config, templates)


def from_start(
    out: Path,
    start: Path,
    config: ModelConfig,
    templates: Sequence[str],
    cameras: TrainedCameras | None,
    backbone: Iterable[tuple[str, torch.Tensor]],
    added: Iterable[tuple[str, torch.Tensor]],
    trajectory: Path,
) -> str:
    """A folder as `start` is, with another backbone (by its own keys), other additions and the
    TCN-VAE of `trajectory`; what did not change is linked where the disk allows. Its manifest's
    sum. `cameras` are those it was trained on, None for those that `start` states.

    Raises:
        ConfigError: `out` has something.
    """
    _new(out)
    # No gate.json among it: its limits are of the weights of `start`.
    for name in (VAE, ENCODER, TOKENIZER, TEXT_CACHE):
        _take(start / name, out / name)
    for name in DESCRIBED:
        if (start / name).is_file():
            shutil.copyfile(start / name, out / name)
    write_shards(backbone, out / TRANSFORMER, DIFFUSION)
    write_shards(added, out, ADDITIONS)
    shutil.copyfile(trajectory, out / f"{TRAJECTORY}.safetensors")
    stated = cameras or stated_cameras(start / weights.CONFIG)
    return _finish(out, config, templates, stated)


def merge(base: Path, adapted: Path, out: Path) -> str:
    """`base` with the adapters and additions of a LoRA folder in it; the manifest's sum.

    Raises:
        WeightsError: one of them is not whole, or the adapters are of another backbone.
        ConfigError: `out` has something.
    """
    if recognise(base) != PARTS:
        raise WeightsError(f"{base} has no transformer/ of its own to merge into")
    weights.verify(base)
    weights.verify(adapted)
    check_base(adapted, base)
    config, templates = load_config(adapted / weights.CONFIG)
    return from_start(
        out,
        base,
        config,
        templates,
        stated_cameras(adapted / weights.CONFIG),
        merged_backbone(base, adapted),
        read_tensors(stored_weights(adapted, ADDITIONS)),
        adapted / f"{TRAJECTORY}.safetensors",
    )


def _random_parts(
    out: Path, config: ModelConfig, templates: Sequence[str], seed: int, number: torch.dtype
) -> ModelConfig:
    """transformer/, vae/, text_encoder/ and tokenizer/ of random weights."""
    backbone = random_weights.random_backbone(config, seed, number)
    write_shards(backbone, out / TRANSFORMER, DIFFUSION)
    described = vae_config(config.codec)
    with init_empty_weights():
        vae = AutoencoderKLWan.from_config(described)
    write_shards(random_weights.random_module(vae, seed + 3), out / VAE, DIFFUSION)
    (out / VAE / "config.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    encoder = random_weights.random_text_encoder(config.text, templates, seed + 4)
    # One of the two names: safetensors refuses tensors that share memory.
    own = {key: value for key, value in encoder.state_dict().items() if key != TIED[0]}
    write_shards(own.items(), out / ENCODER, TRANSFORMERS)
    encoder.config.to_json_file(out / ENCODER / "config.json")
    (out / TOKENIZER).mkdir()
    random_weights.unigram(templates).save(str(out / TOKENIZER / "tokenizer.json"))
    return config


def _sizes_of(folder: Path, config: ModelConfig) -> ModelConfig:
    """The config with a published folder's sizes, which `make_random` then adds to."""
    kind = recognise(folder)
    if kind != BACKBONE:
        raise WeightsError(f"{folder} is a checkpoint ({kind}), not Wan2.2-TI2V-5B as published")
    config = config_of(folder, config)
    check_transformer(folder / TRANSFORMER / "config.json", config)
    check_vae(folder / VAE / "config.json", config.codec)
    return config


def _take(source: Path, target: Path) -> None:
    """A folder's files; weights are linked where both lie on one disk, not there twice."""
    for path in sorted(source.rglob("*")):
        if not path.is_file():
            continue
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Settings are copied: they are written anew, and a link would write the other's too.
        if path.suffix == ".safetensors":
            with suppress(OSError):
                os.link(path.resolve(), place)
                continue
        shutil.copyfile(path, place)


def _new(out: Path) -> None:
    # The manifest lists whatever lies in a folder, so a stranger's file would become a part.
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} has something in it; name a folder that is not there yet")
    make_folder(out, ConfigError)


def _finish(
    out: Path,
    config: ModelConfig,
    templates: Sequence[str],
    cameras: TrainedCameras | None = None,
) -> str:
    """Configs of the parts, and the manifest of all that a planner reads."""
    wan = is_wan(config)
    _write_json(out / TRANSFORMER / "config.json", "", transformer_config(config))
    sampler = config.sampler
    scheduler = "UniPCMultistepScheduler"
    settings = unipc_config(sampler.shift)
    if sampler.solver == "euler":
        scheduler, settings = "FlowMatchEulerDiscreteScheduler", {"shift": sampler.shift}
    (out / SCHEDULER).mkdir(exist_ok=True)
    _write_json(out / SCHEDULER / "scheduler_config.json", scheduler, settings)
    index = {
        TRANSFORMER: ["diffusers", "WanTransformer3DModel"],
        VAE: ["diffusers", "AutoencoderKLWan"] if wan else ["mvista_world", "StackedCodec"],
        SCHEDULER: ["diffusers", scheduler],
        ENCODER: ["transformers", "UMT5EncoderModel"]
        if wan
        else ["mvista_world", "InstructionEncoder"],
        TOKENIZER: ["transformers", "T5TokenizerFast" if wan else "PreTrainedTokenizerFast"],
        # diffusers' pipelines give known tokens the time zero only where this is set.
        "expand_timesteps": True,
    }
    _write_json(out / INDEX, "WanImageToVideoPipeline" if wan else "WorldModelPlanner", index)
    save_config(config, templates, out / weights.CONFIG, cameras)
    # An encoder is not needed where the words are cached, and 11 GB: a folder is whole without.
    apart = (ENCODER, TOKENIZER, TEXT_CACHE) if wan else ()
    names = [
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).parts[0] not in (*apart, CARD, weights.MANIFEST)
    ]
    return weights.write_manifest(out, names)


def _write_json(path: Path, class_name: str, settings: dict[str, Any]) -> None:
    named = {"_class_name": class_name, **settings} if class_name else settings
    path.write_text(json.dumps(named, indent=1), encoding="utf-8")
