"""A run of fine-tuning, small: a folder in the real layout, episodes, a profile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml
from accelerate.state import AcceleratorState

from mvista_world.assemble import make_random
from mvista_world.cameras import window_cameras
from mvista_world.compute import choose
from mvista_world.encode import source_mask
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.presets import wan22_ti2v_5b
from mvista_world.text_cache import encode_folder
from mvista_world.training import recipes
from mvista_world.training.request import TrainingRequest
from mvista_world.views import ViewCameras
from tests.world.tiny import ARM, RIG, TEMPLATES, write_episodes
from tests.world.wan_folder import SMALL

CONFIG = replace(SMALL, name=wan22_ti2v_5b().name)
SHORT: dict[str, Any] = {
    "steps": 20,
    "batch": 2,
    "micro_batch": 1,
    "learning_rate": 1e-3,
    "warmup": 5,
    "average": 0.9,
    "state_every": 12,
    "log_every": 4,
    "picture_every": 0,
}


@dataclass(frozen=True)
class Place:
    """Where it all lies."""

    root: Path

    @property
    def start(self) -> Path:
        return self.root / "start"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def request(self, out: str, **changed: Any) -> TrainingRequest:
        """To train from `start` on `data`, into a folder of its own, on the processor."""
        profile = self.root / f"{out}.yaml"
        settings = {key: changed.pop(key) for key in list(changed) if key in {*SHORT, *FIELDS}}
        profile.write_text(yaml.safe_dump({**SHORT, **settings}))
        asked = TrainingRequest(
            wan22_ti2v_5b(),
            self.data,
            self.root / out,
            self.root / "checkpoint",
            RIG,
            ARM,
            threads=1,
            start=self.start,
            device="cpu",
            profile=profile,
        )
        return replace(asked, **changed)


FIELDS = ("lora_rank", "lora_alpha", "optimiser", "checkpointing", "view_counts")


def make_place(root: Path) -> Place:
    """A float32 folder whose words are encoded, and two shards, of two episodes and of one."""
    place = Place(root)
    make_random(place.start, CONFIG, TEMPLATES, 0, "fp32", home=tuple(ARM.home))
    encode_folder(place.start)
    for seed, count in enumerate((2, 1)):
        write_episodes(place.root / f"{seed}", count, CONFIG, seed)
    place.data.mkdir()
    shutil.move(place.root / "0" / "touch", place.data / "touch")
    second = place.root / "1" / "touch" / "shard-00000.npz"
    shutil.move(second, place.data / "touch" / "shard-00001.npz")
    return place


@contextmanager
def in_float32() -> Iterator[None]:
    """What runs are held to one another by is finer than bf16, which some processors choose; the
    precision is accelerate's for the whole process, which forgets it before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with mock.patch("mvista_world.compute.native_bf16", return_value=""):
            yield
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def train(asked: TrainingRequest) -> None:
    """As the command does."""
    torch.set_num_threads(1)
    recipes.run("generator", asked)


def train_in_float32(asked: TrainingRequest) -> None:
    """... in a process of its own."""
    with in_float32():
        train(asked)


def as_rank(rank: int, world: int, port: int) -> None:
    """Say what `torchrun` says."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def velocity_of(generator: MultiViewGenerator, views: int = 2) -> torch.Tensor:
    """What it answers to random latents, words, cameras and a motion."""
    config = generator.config
    rng = torch.Generator().manual_seed(8)
    rows, columns = config.latent_size
    channels = config.codec.latent_channels
    x = torch.randn(1, channels, config.latent_frames, views * rows, 2 * columns, generator=rng)
    poses, k = window_cameras(RIG.cameras, config.window)
    cameras = ViewCameras.of(poses[None], k[None], config).pick(0, [list(range(views))])
    z = config.trajectory
    text = torch.randn(1, 8, config.text.hidden, generator=rng)
    told = Conditions(text, cameras, torch.randn(1, z.tokens, z.channels, generator=rng))
    mask = source_mask(views, config, choose("fp32"))
    return generator(x, torch.tensor([0.6]), mask, told).velocity
