"""The recipe of each network: which data, how long, and how the checkpoint is put together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.records import RigCalibration
from mvista_core.timing import SystemClock
from mvista_world import weights
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.config import ModelConfig, save_config
from mvista_world.generator import MultiViewGenerator
from mvista_world.probe import load_probe
from mvista_world.refine import RefineConfig
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.training import codec, data, generator, priors, refine, trajectory
from mvista_world.trajectory import TrajectoryVae

VIDEO = ("touch", "drawer", "orange")
GROUNDING = "grounding"
HELD_OUT = 32
REFINE_STEPS = 1000
WARM_UNTIL = 100


@dataclass(frozen=True)
class Recipe:
    """What `mvista train` was asked for; `start` is a checkpoint folder to go on from."""

    config: ModelConfig
    data: Path
    out: Path
    rig: RigCalibration
    arm: ArmModel
    seed: int
    steps: int | None
    resume: bool
    threads: int
    start: Path | None = None

    def video_folders(self) -> list[Path]:
        """The video data sets that are there, `touch` first."""
        return [self.data / name for name in VIDEO if (self.data / name).is_dir()]


def run(network: str, recipe: Recipe, checkpoint: Path) -> None:
    """Train one network, or `pack` what was trained into a checkpoint folder."""
    torch.set_num_threads(recipe.threads)
    jobs: dict[str, Callable[[], object]] = {
        "codec": lambda: train_codec(recipe),
        "trajectory": lambda: train_trajectory(recipe),
        "generator": lambda: train_generator(recipe),
        "priors": lambda: make_priors(recipe, checkpoint),
        "refine": lambda: train_refine(recipe),
        "pack": lambda: pack(recipe, checkpoint),
    }
    if network not in jobs:
        raise ConfigError(f"no network '{network}'; there are {sorted(jobs)}")
    jobs[network]()


def train_codec(recipe: Recipe) -> None:
    """The video autoencoder; started from a checkpoint, it is that checkpoint's, unchanged."""
    if recipe.start is not None:
        autoencoder = StackedCodec(recipe.config.codec)
        _load(autoencoder, recipe.start / "codec.safetensors")
        recipe.out.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.contiguous() for k, v in autoencoder.state_dict().items()}
        save_file(tensors, recipe.out / "codec.safetensors")
        return
    training = codec.CodecTraining(seed=recipe.seed)
    if recipe.steps is not None:
        training = replace(training, steps=recipe.steps)
    codec.train_codec(recipe.video_folders(), recipe.out, recipe.config, training, recipe.resume)


def train_trajectory(recipe: Recipe) -> None:
    """The TCN-VAE, on executed episodes and on the plans of grounding scenes."""
    training = trajectory.TrajectoryTraining(seed=recipe.seed)
    if recipe.steps is not None:
        training = replace(training, steps=recipe.steps)
    folders = [*recipe.video_folders(), recipe.data / GROUNDING]
    trajectory.train_trajectory(
        folders, recipe.out, recipe.config, training, recipe.arm, recipe.resume
    )


def train_generator(recipe: Recipe) -> None:
    """Generator and instruction encoder, on cached latents.

    Started from a checkpoint, they know their words already: the first two phases are short.
    """
    torch.manual_seed(recipe.seed)
    training = generator.GeneratorTraining(seed=recipe.seed)
    if recipe.steps is not None:
        training = replace(training, steps=recipe.steps)
    networks = new_networks(recipe)
    if recipe.start is not None:
        training = replace(training, ground_until=WARM_UNTIL, one_until=WARM_UNTIL)
        for name in ("generator", "text"):
            _load(getattr(networks, name), recipe.start / f"{name}.safetensors")
    sources = load_sources(recipe)
    generator.train_generator(networks, sources, recipe.out, training, recipe.resume)


def make_priors(recipe: Recipe, checkpoint: Path) -> None:
    """`out/refine/priors.npz`: what a packed checkpoint infers and imagines on training scenes;
    `--steps` is the number of scenes of each data set."""
    settings = priors.PriorSettings(seed=recipe.seed)
    if recipe.steps is not None:
        settings = replace(settings, per_folder=recipe.steps)
    planner = load_probe(checkpoint, recipe.rig, recipe.arm, SystemClock())
    path = recipe.out / "refine" / "priors.npz"
    priors.make_priors(planner, recipe.video_folders(), recipe.rig, recipe.arm, settings, path)


def train_refine(recipe: Recipe) -> None:
    """The residual refiner into `out/refine`; real priors join where `priors.npz` lies there."""
    out = recipe.out / "refine"
    real = out / "priors.npz"
    refine.train_refiner(
        recipe.video_folders(),
        out,
        RefineConfig(),
        REFINE_STEPS if recipe.steps is None else recipe.steps,
        recipe.seed,
        recipe.resume,
        rig=recipe.rig,
        arm=recipe.arm,
        priors=real if real.is_file() else None,
    )


def _load(module: nn.Module, path: Path) -> None:
    """Raises ConfigError where a checkpoint's weights are of another shape."""
    try:
        module.load_state_dict(load_file(path))
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"cannot start from {path}: {error}; see --start") from None


def new_networks(recipe: Recipe) -> generator.Networks:
    """Seeded fresh generator and instruction encoder; the tokenizer is written beside them."""
    tokenizer = build_tokenizer(data.templates(recipe.video_folders()))
    recipe.out.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(recipe.out / "tokenizer.json"))
    model = MultiViewGenerator(recipe.config)
    if choose().explicit_attention:
        model.use_explicit_attention()
    return generator.Networks(model, InstructionEncoder(recipe.config.text, tokenizer))


def load_sources(recipe: Recipe) -> generator.Sources:
    """Frozen autoencoders, and every data set's latents (the last of each held out)."""
    config, out = recipe.config, recipe.out
    autoencoder = StackedCodec(config.codec).channels_last()
    autoencoder.load_state_dict(load_file(out / "codec.safetensors"))
    autoencoder.eval()
    vae = TrajectoryVae(config.trajectory, len(config.joint_names))
    vae.load_state_dict(load_file(out / "trajectory.safetensors"))
    sha = weights.sha256_of(out / "codec.safetensors")

    def latents(folder: Path) -> data.LatentSet:
        whole = data.load_latents([folder], out / "latents", autoencoder, config, sha)
        return whole.split(HELD_OUT)[0]

    video = [latents(folder) for folder in recipe.video_folders()]
    return generator.make_sources(
        video, latents(recipe.data / GROUNDING), vae, recipe.rig, recipe.arm, config
    )


def pack(recipe: Recipe, checkpoint: Path) -> None:
    """Assemble the checkpoint folder and its manifest of sha256.

    Weights are stored as float16: they run under bfloat16 autocast, and it halves the folder.
    """
    checkpoint.mkdir(parents=True, exist_ok=True)
    names = [f"{n}.safetensors" for n in ("codec", "trajectory", "generator", "text")]
    for name in names:
        tensors = load_file(recipe.out / name)
        half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
        save_file(half, checkpoint / name)
    copied = [recipe.out / "tokenizer.json"]
    copied += sorted((recipe.out / "refine").glob("refine.[sj]*"))
    for path in copied:
        shutil.copyfile(path, checkpoint / path.name)
    save_config(recipe.config, data.templates(recipe.video_folders()), checkpoint / "config.json")
    names += [path.name for path in copied] + ["config.json"]
    weights.write_manifest(checkpoint, names)
