"""What a planner is loaded from: one verified checkpoint folder, its networks frozen.

Knows the files and where the networks compute; knows nothing of rigs, arms and requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mvista_core import weights
from mvista_core.camera_range import TrainedCameras
from mvista_core.errors import ConfigError, WeightsError
from mvista_world.choices import MethodChoices
from mvista_world.codec import StackedCodec, VideoCodec
from mvista_world.compiled import apply_speed
from mvista_world.compute import Compute, choose
from mvista_world.config import ModelConfig
from mvista_world.config_file import load_config, stated_cameras
from mvista_world.folder import BACKBONE, PARTS, recognise
from mvista_world.gate import load_limits
from mvista_world.generator import MultiViewGenerator
from mvista_world.motion_reader import READER, MotionReader, load_reader
from mvista_world.offload import check_offload
from mvista_world.parts import TINY_KINDS, LoadedNetworks, frozen, is_wan, load_networks
from mvista_world.refine import REFINER, ResidualRefiner, load_refiner
from mvista_world.retouch import RETOUCHER, Retoucher, load_retoucher
from mvista_world.speed import AS_USUAL, RESIDENT, Running
from mvista_world.text import InstructionEncoder, TextEncoder, load_tokenizer
from mvista_world.trajectory import TrajectoryVae

M = TypeVar("M", bound=nn.Module)
DESCRIBED = (*READER.names, *REFINER.names, *RETOUCHER.names)
"""Files of what a folder may have beside its generator."""


@dataclass(frozen=True)
class Checkpoint:
    """The frozen networks of one folder, what they were made for, and where they compute.

    `sha256` is that of the manifest, which names every file's: it identifies the whole.
    `trained_cameras` are where views can be asked from, `gate_limits` what a plan is held to
    (empty: none were fitted). `reader`, `refiner` and `retoucher` are None in a folder without.
    """

    config: ModelConfig
    templates: tuple[str, ...]
    sha256: str
    trained_cameras: TrainedCameras
    gate_limits: Mapping[str, float]
    codec: VideoCodec
    text: TextEncoder
    generator: MultiViewGenerator
    trajectory: TrajectoryVae
    reader: MotionReader | None
    refiner: ResidualRefiner | None
    retoucher: Retoucher | None
    compute: Compute

    def held_bytes(self) -> dict[str, int]:
        """Weights on `compute.device` by part; what waits elsewhere is not among them."""
        parts = {
            "generator": self.generator,
            "vae": self.codec,
            "text": self.text,
            "trajectory": self.trajectory,
            "reader": self.reader,
            "refiner": self.refiner,
            "retoucher": self.retoucher,
        }
        # Blocks that wait beside a card have their parameters on "meta" between two forwards.
        return {
            name: sum(p.nbytes for p in module.parameters() if p.device.type != "meta")
            for name, module in parts.items()
            if isinstance(module, nn.Module)
        }


def load_checkpoint(
    folder: Path,
    compute: Compute | None = None,
    choices: MethodChoices | None = None,
    running: Running = AS_USUAL,
) -> Checkpoint:
    """Verify and load a checkpoint folder; `compute` None chooses by what the processor can,
    `choices` None leaves the method to its config.

    Raises:
        WeightsError: missing, truncated or altered files, or one that does not fit its config.
        ConfigError: a config that does not fit, or asks for networks that this loader has not; a
            way of running that this machine has not.
    """
    compute = compute or choose()
    check_offload(running, compute)
    layout = recognise(folder)
    if layout == BACKBONE:
        raise WeightsError(
            f"{folder} is Wan2.2-TI2V-5B as published: it imagines one view from words and knows "
            "no arm; `mvista model make-random --backbone` makes a folder to train from it"
        )
    sha = weights.verify(folder)
    config, templates = load_config(folder / "config.json")
    config = (choices or MethodChoices()).applied_to(config)
    refiner = load_refiner(folder) if REFINER.are_in(folder) else None
    load = load_networks if layout == PARTS else _load_flat
    found = load(folder, config, compute, running.offload)
    # Written out, attention holds all L x L scores: that pays at a few hundred tokens only.
    if compute.explicit_attention and not is_wan(config):
        found.generator.use_explicit_attention()
    has_reader = READER.are_in(folder)
    reader = load_reader(folder, config).to(compute.device) if has_reader else None
    retoucher = load_retoucher(folder, config.window) if RETOUCHER.are_in(folder) else None
    for beside in (refiner, retoucher):
        if beside is not None:
            beside.to(compute.device)
    codec = found.codec
    apply_speed(running, found.generator, codec, compute)
    if isinstance(codec, StackedCodec):
        codec = codec.channels_last()
    return Checkpoint(
        config,
        templates,
        sha,
        stated_cameras(folder / "config.json"),
        # They name the manifest's sum, and so cannot be listed in it.
        load_limits(folder, sha),
        codec,
        found.text,
        found.generator,
        found.trajectory,
        reader,
        refiner,
        retoucher,
        compute,
    )


def _load_flat(folder: Path, config: ModelConfig, compute: Compute, offload: str) -> LoadedNetworks:
    if (config.codec.kind, config.text.kind) != TINY_KINDS:
        raise ConfigError(
            f"config '{config.name}' wants codec '{config.codec.kind}' and text "
            f"'{config.text.kind}'; a folder of one file per network holds {TINY_KINDS} (preset "
            "tiny); Wan's own are in transformer/, vae/ and text_cache/ (`mvista model`)"
        )
    text = InstructionEncoder(config.text, load_tokenizer(folder))
    if offload != RESIDENT:
        raise ConfigError(
            f"offload '{offload}' is for folders in parts; {folder} is one file per network, and "
            "small: `mvista model convert` makes the other layout"
        )
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    return LoadedNetworks(
        _frozen(StackedCodec(config.codec), folder / "codec.safetensors", compute),
        _frozen(text, folder / "text.safetensors", compute),
        _frozen(MultiViewGenerator(config), folder / "generator.safetensors", compute),
        _frozen(trajectory, folder / "trajectory.safetensors", compute),
    )


def _frozen(module: M, path: Path, compute: Compute) -> M:
    """The module with the weights of a file, as `parts.frozen` makes it."""
    try:
        # Packed as float16 and copied into the module's own float32, unlike `shards.load_into`.
        module.load_state_dict(load_file(path))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise WeightsError(f"{path} does not fit its config.json: {error}") from None
    return frozen(module, compute)
