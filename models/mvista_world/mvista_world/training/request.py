"""What `mvista train` was asked for. Light to import: the command reads it to answer `--help`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.records import RigCalibration
from mvista_world.config import ModelConfig

VIDEO_SHARES = {"touch": 0.6, "drawer": 0.2, "orange": 0.2}
"""Video data sets by folder, and how often the generator sees each (our choice): the task with
four answers to one scene needs most. Where one is missing, the others share its place."""
GROUNDING = "grounding"


class Settings(Protocol):
    """Settings of one training run."""

    @property
    def seed(self) -> int: ...

    @property
    def steps(self) -> int: ...


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class TrainingRequest:
    """Folders, model and length of one run of `mvista train`.

    `checkpoint` is the folder that `pack` writes and `priors` reads; `start` one to go on from;
    `steps` None leaves the length to the recipe. `recipe` is of generator and refine
    (`curriculum.TRAINING`, `refine.RECIPES`), `without` of the generator (`curriculum.Extras`).
    """

    config: ModelConfig
    data: Path
    out: Path
    checkpoint: Path
    rig: RigCalibration
    arm: ArmModel
    seed: int = 0
    steps: int | None = None
    resume: bool = True
    threads: int = 2
    start: Path | None = None
    recipe: str = "tiny"
    without: tuple[str, ...] = ()

    def video_folders(self) -> list[Path]:
        """The video data sets that are there, in the order of `VIDEO_SHARES`.

        Raises:
            ConfigError: there is none.
        """
        found = [self.data / name for name in VIDEO_SHARES if (self.data / name).is_dir()]
        if not found:
            raise ConfigError(
                f"no data set under {self.data}: none of {list(VIDEO_SHARES)}; "
                "run `mvista dataset collect`, see --data"
            )
        return found

    def applied_to(self, settings: S) -> S:
        """A recipe's settings with the seed and the length that were asked for."""
        steps = settings.steps if self.steps is None else self.steps
        changed: S = replace(settings, seed=self.seed, steps=steps)  # type: ignore[type-var]
        return changed
