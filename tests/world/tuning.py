"""A run of fine-tuning, small: a folder in the real layout, episodes, a profile."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from mvista_world.assemble import make_random
from mvista_world.config import wan22_ti2v_5b
from mvista_world.text_cache import encode_folder
from mvista_world.training import recipes
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import ARM, RIG, TEMPLATES, write_episodes
from tests.world.wan_folder import SMALL

CONFIG = replace(SMALL, name=wan22_ti2v_5b().name)
SHORT: dict[str, Any] = {
    "steps": 20,
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 1e-3,
    "warmup": 5,
    "average": 0.9,
    "state_every": 8,
    "log_every": 5,
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
    """A float32 folder whose words are encoded, and ten episodes."""
    place = Place(root)
    make_random(place.start, CONFIG, TEMPLATES, 0, "fp32", home=tuple(ARM.home))
    encode_folder(place.start)
    write_episodes(place.data, 10, CONFIG)
    return place


def train(asked: TrainingRequest) -> None:
    """As the command does."""
    torch.set_num_threads(1)
    recipes.run("generator", asked)


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
