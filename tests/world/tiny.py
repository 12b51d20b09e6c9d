"""A world model of a few thousand weights, seeded: the real networks, only small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from mvista_core import weights
from mvista_core.arm import load_arm
from mvista_core.imaging import ModelWindow
from mvista_core.ports import Progress
from mvista_core.records import CameraFrame, JointState, Observation, RigCalibration
from mvista_core.rig import load_rig
from mvista_world.cameras import window_cameras
from mvista_world.codec import StackedCodec
from mvista_world.config import (
    CodecConfig,
    CrossModalityConfig,
    CrossViewConfig,
    ModelConfig,
    OptimisationConfig,
    SamplerConfig,
    TextConfig,
    TrajectoryConfig,
    TransformerConfig,
)
from mvista_world.config_file import save_config
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.layout import clean_mask
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import ViewCameras

M = TypeVar("M", bound=nn.Module)
CONFIG_FOLDER = Path(__file__).parents[2] / "config"
RIG = load_rig(CONFIG_FOLDER / "rigs/sim_cell.yaml")
ARM = load_arm(CONFIG_FOLDER / "arms/piper.yaml")
TEMPLATES = ("touch the {red|green} cube", "open the drawer")

CONFIG = ModelConfig(
    "test",
    window=ModelWindow(48, 32, 2),
    frame_count=5,
    codec=CodecConfig(latent_channels=8, width=8),
    transformer=TransformerConfig(2, 2, 16, 48, 32),
    cross_modality=CrossModalityConfig(8, 2),
    cross_view=CrossViewConfig(8, 2),
    text=TextConfig(hidden=16, layers=1, heads=2, max_tokens=6),
    trajectory=TrajectoryConfig(
        action_count=32, action_rate_hz=10.0, stages=2, channels=4, width=8
    ),
    sampler=SamplerConfig(steps=3),
    optimisation=OptimisationConfig(head_draws=3),
)


def awake(module: M, seed: int = 0) -> M:
    """Every weight moved off its initial value, so that zero-initialised parts take part."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return module


def make_generator(awakened: bool = True) -> MultiViewGenerator:
    torch.manual_seed(0)
    generator = MultiViewGenerator(CONFIG).eval().requires_grad_(False)
    if awakened:
        awake(generator)
    return generator


def make_conditions(batch: int, views: int, seed: int = 1) -> Conditions:
    rng = torch.Generator().manual_seed(seed)
    text = torch.randn(batch, CONFIG.text.max_tokens, CONFIG.text.hidden, generator=rng)
    text[:, -2:] = 0.0
    z = CONFIG.trajectory
    told = torch.randn(batch, views, 13, generator=rng)
    cameras = replace(make_cameras(batch, views), embedding=told)
    return Conditions(text, cameras, torch.randn(batch, z.tokens, z.channels, generator=rng))


def make_cameras(batch: int, views: int) -> ViewCameras:
    """The rig's cameras, another first one in each sample."""
    poses, intrinsics = window_cameras(RIG.cameras, CONFIG.window)
    order = [[(first + k) % len(poses) for k in range(views)] for first in range(batch)]
    return ViewCameras.of(poses[None], intrinsics[None], CONFIG).pick(0, order)


def make_latents(batch: int, views: int, modalities: int = 2, seed: int = 2) -> torch.Tensor:
    """[B, C, T, V*h, M*w]."""
    rows, columns = CONFIG.latent_size
    shape = (
        batch,
        CONFIG.codec.latent_channels,
        CONFIG.latent_frames,
        views * rows,
        modalities * columns,
    )
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def source_mask(views: int, modalities: int = 2) -> torch.Tensor:
    """Token mask [L]: the first frame of the first view is known."""
    known = torch.zeros(views, CONFIG.latent_frames, dtype=torch.bool)
    known[0, 0] = True
    return clean_mask(known, CONFIG.token_grid, modalities)


def write_checkpoint(
    folder: Path, config: ModelConfig = CONFIG, templates: tuple[str, ...] = TEMPLATES
) -> Path:
    """A checkpoint folder of random weights, as `mvista train pack` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    tokenizer = build_tokenizer(templates)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    trajectory = TrajectoryVae(config.trajectory, len(config.joint_names))
    trajectory.mean.copy_(torch.from_numpy(ARM.home))
    trajectory.std.fill_(0.1)
    codec, text = StackedCodec(config.codec), InstructionEncoder(config.text, tokenizer)
    generator = awake(MultiViewGenerator(config))
    if generator.arm_points is not None:
        generator.arm_points.know(ARM, trajectory)
    modules: dict[str, nn.Module] = {
        "codec": codec,
        "text": text,
        "generator": generator,
        "trajectory": trajectory,
    }
    for name, module in modules.items():
        save_file(
            {k: v.contiguous() for k, v in module.state_dict().items()},
            folder / f"{name}.safetensors",
        )
    save_config(config, templates, folder / "config.json")
    names = [*(f"{name}.safetensors" for name in modules), "tokenizer.json", "config.json"]
    weights.write_manifest(folder, names)
    return folder


def make_observation(
    instruction: str, rig: RigCalibration = RIG, cameras: tuple[str, ...] = ("cam1",)
) -> Observation:
    rng = np.random.default_rng(0)
    frames = []
    for name in cameras:
        intrinsics = rig.camera(name).intrinsics
        shape = (intrinsics.height_px, intrinsics.width_px)
        color = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        depth_m = rng.uniform(0.4, 1.5, shape).astype(np.float32)
        frames.append(CameraFrame(color, depth_m, intrinsics, 0, name))
    joints = JointState(ARM.joint_names, ARM.home, np.zeros_like(ARM.home), 0)
    return Observation(tuple(frames), joints, rig.content_hash, instruction)


def noting(stages: list[str]) -> Progress:
    """Goes on, and notes each stage that it hears of."""

    def progress(stage: str, fraction: float) -> bool:
        stages.append(stage)
        return True

    return progress


def write_episodes(
    folder: Path, count: int = 40, config: ModelConfig = CONFIG, seed: int = 4
) -> Path:
    """Data sets `touch` (videos) and `grounding` (scenes of two instructions) of smooth noise."""
    rng = np.random.default_rng(seed)
    t, h, w = config.frame_count, config.window.height_px, config.window.width_px
    sentences = ("touch the red cube", "touch the green cube")
    for name, frames, words in (("touch", (t,), ()), ("grounding", (), (2,))):
        (folder / name).mkdir(parents=True)
        shape = (count, len(RIG.cameras), *frames, h, w)
        row = np.array(sentences)
        arrays: dict[str, Any] = {
            "color": rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
            "depth_mm": rng.integers(400, 1500, shape, dtype=np.uint16),
            "actions": smooth_actions(rng, (count, *words)),
            "initial": np.tile(ARM.home.astype(np.float32), (count, 1)),
        }
        if words:
            arrays["instructions"] = np.tile(row, (count, 1))
        else:
            arrays["instruction"] = np.tile(row[0], count)
        np.savez(folder / name / "shard-00000.npz", **arrays)
        said = {"templates": ["touch the {red|green} cube"], "grounding": bool(words)}
        (folder / name / "manifest.json").write_text(json.dumps(said))
    return folder


def smooth_actions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Joint curves float32 [*shape, L, J] from home to a random pose near it."""
    count = CONFIG.trajectory.action_count
    ease = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, count + 1) / count)
    ends = rng.normal(0.0, 0.15, (*shape, 1, len(ARM.home)))
    return (ARM.home + ends * ease[:, None]).astype(np.float32)
