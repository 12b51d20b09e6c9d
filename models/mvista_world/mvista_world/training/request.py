"""What `mvista train` was asked for. Light to import: the command reads it to answer `--help`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.records import RigCalibration
from mvista_world.config import ModelConfig
from mvista_world.training.data_sets import DataSet, find_data_sets


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

    `data` is a data set, or a folder of data sets; `rig` the one that they were recorded with.
    `checkpoint` is the folder that `pack` writes and `priors` reads; `start` one to go on from;
    `steps` None leaves the length to the recipe. `recipe` is of generator and refine
    (`curriculum.TRAINING`, `refine.RECIPES`; None: as shipped weights of this preset were trained),
    `without` of the generator (`curriculum.Extras`); `held_out` takes both as the generator did.
    `renew` is what of `config.RENEWABLE` begins anew, `batch` the samples of a generator's step of
    several views (other kinds of step in proportion; None: the recipe's).
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
    recipe: str | None = None
    without: tuple[str, ...] = ()
    device: str = "auto"
    profile: Path | None = None
    lora: int | None = None
    adapter: Path | None = None
    renew: tuple[str, ...] = ()
    batch: int | None = None

    def data_sets(self) -> tuple[DataSet, ...]:
        """All there are, checked against the rig and the model.

        Raises:
            ConfigError: none, one of another rig, or one that the model cannot take.
        """
        found = find_data_sets(self.data)
        for one in found:
            one.require_rig(self.rig)
            one.require_shape(self.config)
        return found

    def video_sets(self) -> tuple[DataSet, ...]:
        """Those of executed episodes.

        Raises:
            ConfigError: there is none; see `data_sets`.
        """
        found = tuple(one for one in self.data_sets() if not one.grounding)
        if not found:
            raise ConfigError(f"no executed episodes in {self.data}, grounding scenes alone")
        return found

    def video_folders(self) -> list[Path]:
        """Where executed episodes lie; see `video_sets`."""
        return [one.folder for one in self.video_sets()]

    def grounding_folders(self) -> list[Path]:
        """Where grounding scenes lie: nowhere, if there are none."""
        return [one.folder for one in self.data_sets() if one.grounding]

    def templates(self) -> tuple[str, ...]:
        """Instructions of executed episodes, once each."""
        return tuple(dict.fromkeys(text for one in self.video_sets() for text in one.templates))

    def applied_to(self, settings: S) -> S:
        """A recipe's settings with the seed and the length that were asked for."""
        steps = settings.steps if self.steps is None else self.steps
        changed: S = replace(settings, seed=self.seed, steps=steps)  # type: ignore[type-var]
        return changed
