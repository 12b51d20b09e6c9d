"""Puts a checkpoint folder together from what was trained, with its manifest of sha256."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from mvista_core import weights
from mvista_core.camera_range import CameraRange, FixedCameras, TrainedCameras
from mvista_core.errors import ConfigError
from mvista_world.checkpoint import DESCRIBED
from mvista_world.config_file import save_config
from mvista_world.described import halved
from mvista_world.gate import GATE_FILE
from mvista_world.motion_reader import READER
from mvista_world.refine import REFINER
from mvista_world.retouch import RETOUCHER
from mvista_world.training.request import TrainingRequest

NETWORKS = ("codec", "trajectory", "generator", "text")


def run(asked: TrainingRequest) -> None:
    """Assemble `asked.checkpoint`; reader, refiner and retoucher join where there are any.

    Weights are stored as float16: half the folder, and finer than the bfloat16 they run in where
    the processor multiplies that.
    """
    folder = asked.checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{network}.safetensors" for network in NETWORKS]
    for name in names:
        save_file(halved(load_file(asked.out / name)), folder / name)
    own = {"reader": READER, "refine": REFINER, "retouch": RETOUCHER}
    beside = [asked.out / folder / name for folder, files in own.items() for name in files.names]
    copied = [asked.out / "tokenizer.json", *(path for path in beside if path.is_file())]
    for path in copied:
        shutil.copyfile(path, folder / path.name)
    cameras = cameras_of(asked.video_folders(), asked)
    save_config(asked.config, asked.templates(), folder / "config.json", cameras)
    # The limits there were fitted to the weights that these replace, and what reads, refines or
    # retouches them to others' futures: no manifest would list it, and it would be loaded.
    left = {GATE_FILE, *DESCRIBED} - {path.name for path in copied}
    for name in left:
        (folder / name).unlink(missing_ok=True)
    names += [path.name for path in copied] + ["config.json"]
    weights.write_manifest(folder, names)


def cameras_of(folders: Sequence[Path], asked: TrainingRequest) -> TrainedCameras:
    """From where views can be asked: the range that the data sets' cameras were drawn in, or the
    places of `asked.rig`'s cameras where none were.

    Raises:
        ConfigError: data sets of two ranges: a checkpoint states one.
    """
    stated = []
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        document = manifest.get("camera_range")
        if document is not None and document not in stated:
            stated.append(document)
    if len(stated) > 1:
        raise ConfigError(
            f"{[str(folder) for folder in folders]} were collected in {len(stated)} ranges of "
            f"cameras, a checkpoint states one: {stated}"
        )
    if stated:
        return CameraRange.parse(stated[0])
    window = asked.config.window
    return FixedCameras.of(
        [camera.base_from_camera for camera in asked.rig.cameras],
        [window.intrinsics(camera.intrinsics) for camera in asked.rig.cameras],
    )
