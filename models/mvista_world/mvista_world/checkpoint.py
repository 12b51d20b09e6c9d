"""What a planner is loaded from: one verified checkpoint folder, its networks frozen.

Knows the files and where the networks compute; knows nothing of rigs, arms and requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mvista_core import weights
from mvista_core.camera_range import SIM_CELL, TrainedCameras, trained_cameras
from mvista_core.errors import ConfigError, WeightsError
from mvista_world.choices import MethodChoices
from mvista_world.codec import StackedCodec, VideoCodec
from mvista_world.compute import Compute, choose
from mvista_world.config import TRAINED_CAMERAS, ModelConfig, load_config
from mvista_world.gate import load_limits
from mvista_world.generator import MultiViewGenerator
from mvista_world.refine import REFINER_FILES, ResidualRefiner, load_refiner
from mvista_world.text import InstructionEncoder, load_tokenizer
from mvista_world.trajectory import TrajectoryVae

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """The frozen networks of one folder, what they were made for, and where they compute.

    `sha256` is that of the manifest, which names every file's: it identifies the whole.
    `trained_cameras` are where views can be asked from, `gate_limits` what a plan is held to
    (empty: none were fitted). `refiner` is None in a folder without one.
    """

    config: ModelConfig
    templates: tuple[str, ...]
    sha256: str
    trained_cameras: TrainedCameras
    gate_limits: Mapping[str, float]
    codec: VideoCodec
    text: InstructionEncoder
    generator: MultiViewGenerator
    trajectory: TrajectoryVae
    refiner: ResidualRefiner | None
    compute: Compute


def load_checkpoint(
    folder: Path, compute: Compute | None = None, choices: MethodChoices | None = None
) -> Checkpoint:
    """Verify and load a checkpoint folder; `compute` None chooses by what the processor can,
    `choices` None leaves the method to its config.

    Raises:
        WeightsError: missing, truncated or altered files, or one that does not fit its config.
        ConfigError: a config that does not fit, or asks for networks that this loader has not.
    """
    sha = weights.verify(folder)
    config, templates = load_config(folder / "config.json")
    config = (choices or MethodChoices()).applied_to(config)
    has_refiner = (folder / REFINER_FILES[0]).is_file()
    refiner = load_refiner(folder) if has_refiner else None
    compute = compute or choose()
    _refuse_foreign_networks(config)
    codec = _frozen(StackedCodec(config.codec), folder / "codec.safetensors", compute)
    text = InstructionEncoder(config.text, load_tokenizer(folder))
    text = _frozen(text, folder / "text.safetensors", compute)
    generator = MultiViewGenerator(config)
    generator = _frozen(generator, folder / "generator.safetensors", compute)
    if compute.explicit_attention:
        generator.use_explicit_attention()
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    trajectory = _frozen(trajectory, folder / "trajectory.safetensors", compute)
    if refiner is not None:
        refiner.to(compute.device)
    return Checkpoint(
        config,
        templates,
        sha,
        stated_cameras(folder / "config.json"),
        load_limits(folder, sha),
        codec.channels_last(),
        text,
        generator,
        trajectory,
        refiner,
        compute,
    )


def stated_cameras(path: Path) -> TrainedCameras:
    """From where `save_config`'s file says that views can be asked.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8")).get(TRAINED_CAMERAS)
    except (ValueError, AttributeError, OSError) as error:
        raise ConfigError(f"{path}: not a model config ({error!r})") from None
    # Checkpoints of before these were stated were trained on the cell's own.
    return SIM_CELL if document is None else trained_cameras(document)


def _refuse_foreign_networks(config: ModelConfig) -> None:
    if (config.codec.kind, config.text.kind) != ("stacked2d", "bert"):
        raise ConfigError(
            f"config '{config.name}' wants codec '{config.codec.kind}' and text "
            f"'{config.text.kind}'; checkpoint folders hold 'stacked2d' and 'bert' (preset tiny)"
        )


def _frozen(module: M, path: Path, compute: Compute) -> M:
    """The module with the weights of a file, in evaluation mode, on the device, without gradients.

    Eq. 11 differentiates with respect to z alone: a frozen weight costs no gradient memory.
    """
    try:
        module.load_state_dict(load_file(path))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise WeightsError(f"{path} does not fit its config.json: {error}") from None
    return module.eval().requires_grad_(False).to(compute.device)
