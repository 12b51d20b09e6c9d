"""Which data sets there are to train on: every folder with a manifest, whoever made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.errors import ConfigError
from mvista_core.records import RigCalibration
from mvista_core.vantage import Vantage
from mvista_world.config import ModelConfig

MANIFEST = "manifest.json"
MAKERS = "`mvista dataset collect` and `mvista dataset convert --to training` make data sets"


@dataclass(frozen=True)
class DataSet:
    """A folder of shards by its manifest.

    `grounding`: first frames with several instructions each, else executed episodes. `templates`
    are their instructions. What an older manifest does not say is empty: the rig (also where every
    episode has cameras of its own), its cameras' names, the window (width, height, reduce), the
    frame times (s) and the joints. `vantage` is where the first camera's was filmed (`Vantage`).
    """

    folder: Path
    templates: tuple[str, ...]
    grounding: bool = False
    rig: str = ""
    rig_hash: str = ""
    cameras: tuple[str, ...] = ()
    window: tuple[int, ...] = ()
    frame_times_s: tuple[float, ...] = ()
    joint_names: tuple[str, ...] = ()
    vantage: Vantage | None = None

    def require_rig(self, rig: RigCalibration) -> None:
        """Refuse a data set that one rig recorded, and that is another one.

        Raises:
            ConfigError: it is.
        """
        # No hash: an older manifest, or cameras drawn for every episode, which shards state.
        if self.rig_hash and self.rig_hash != rig.content_hash:
            raise ConfigError(
                f"{self.folder} was recorded with rig '{self.rig}' ({self.rig_hash[:12]}), --rig "
                f"is '{rig.name}' ({rig.content_hash[:12]}); give the file it was recorded with"
            )

    def require_every_camera(self, rig: RigCalibration) -> None:
        """Refuse other views than the rig's, for what takes the rig's geometry view by view.

        Raises:
            ConfigError: some are missing, or in another order.
        """
        if self.rig_hash and self.cameras != rig.names:
            raise ConfigError(
                f"{self.folder} shows {list(self.cameras)}; the refiner takes all cameras of rig "
                f"'{rig.name}' in their order: {list(rig.names)}"
            )

    def require_shape(self, config: ModelConfig) -> None:
        """Refuse pictures, frame times, joints or a vantage that are not the model's.

        Raises:
            ConfigError: some are not.
        """
        window = config.window
        ours = (window.width_px, window.height_px, window.reduce)
        if self.window and self.window != ours:
            raise ConfigError(f"{self._shows(f'a window of {self.window}', ours)}")
        times = config.episode.frame_times_s.tolist()
        if self.frame_times_s and not _alike(self.frame_times_s, times):
            seen = f"{len(self.frame_times_s)} frames in {self.frame_times_s[-1]:g} s"
            raise ConfigError(self._shows(seen, f"{len(times)} in {times[-1]:g} s"))
        if self.joint_names and self.joint_names != config.joint_names:
            seen = f"joints {list(self.joint_names)}"
            raise ConfigError(self._shows(seen, list(config.joint_names)))
        if self.vantage and config.vantage and self.vantage != config.vantage:
            raise ConfigError(self._shows(f"films from {self.vantage}", config.vantage))

    def _shows(self, seen: str, wanted: object) -> str:
        return f"{self.folder} has {seen}, the model {wanted}; see --preset of both commands"


def find_data_sets(folder: Path) -> tuple[DataSet, ...]:
    """The folder itself where it has a manifest, else those in it that have one, by name.

    Raises:
        ConfigError: there is none, or a manifest is no data set's.
    """
    if (folder / MANIFEST).is_file():
        return (_read(folder),)
    found = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    if not found:
        raise ConfigError(
            f"no data set in {folder}: no {MANIFEST} there or one folder down; {MAKERS}, see --data"
        )
    return tuple(_read(path) for path in found)


def _read(folder: Path) -> DataSet:
    path = folder / MANIFEST
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    # Episodes and checkpoints have a manifest.json as well: theirs name no templates.
    templates = said.get("templates") if isinstance(said, dict) else None
    if not isinstance(templates, list) or not all(isinstance(text, str) for text in templates):
        raise ConfigError(f"{path} is no data set's: it names no 'templates'; {MAKERS}")
    try:
        return DataSet(
            folder,
            tuple(templates),
            bool(said.get("grounding", False)),
            str(said.get("rig", "")),
            str(said.get("rig_hash", "")),
            tuple(map(str, said.get("cameras", ()))),
            tuple(map(int, said.get("window", ()))),
            tuple(map(float, said.get("frame_times_s", ()))),
            tuple(map(str, said.get("joint_names", ()))),
            None if said.get("vantage") is None else Vantage(**said["vantage"]),
        )
    except (TypeError, ValueError, ConfigError) as error:
        raise ConfigError(f"{path} is no data set's: {error}; {MAKERS}") from None


def _alike(these: Sequence[float], those: Sequence[float]) -> bool:
    return len(these) == len(those) and bool(np.allclose(these, those, rtol=0, atol=1e-6))
