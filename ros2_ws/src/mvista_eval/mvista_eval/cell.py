"""The shipped simulated cell that trials run in, and what their rows depend on in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mvista_bringup.paths import config_file
from mvista_core import weights
from mvista_core.arm import load_arm
from mvista_core.records import RigCalibration
from mvista_eval.trials import sum_of_files
from mvista_sim.rigs import RigDraw
from mvista_world.checkpoint import Checkpoint, load_checkpoint
from mvista_world.choices import MethodChoices
from mvista_world.config import ModelConfig

IN_RANGE, HELD_OUT = DRAWN = ("in range", "held out")
"""Rigs drawn by seed where training draws them, or where it never does (`mvista_sim.rigs`)."""
DRAWN_CAMERAS = 4


def rig_file() -> Path:
    """Where its cameras are."""
    return config_file("rigs", "sim_cell.yaml")


def arm_file() -> Path:
    """Its arm."""
    return config_file("arms", "piper.yaml")


def cell_settings(checkpoint: Path | None = None) -> dict[str, str]:
    """Settings of a study in this cell, with a checkpoint's weights where they count.

    Raises:
        WeightsError: the checkpoint is not whole.
    """
    found = {"rig": sum_of_files(rig_file()), "arm": sum_of_files(arm_file())}
    return found if checkpoint is None else {**found, "weights": weights.verify(checkpoint)}


def drawn_rig(
    drawn: str, seed: int, config: ModelConfig, cameras: int = DRAWN_CAMERAS
) -> RigCalibration:
    """The rig that a seed draws, one of `DRAWN`, for the window of a checkpoint.

    Raises:
        RigError: none was found.
    """
    draw = RigDraw(load_arm(arm_file()), config.window, drawn == HELD_OUT)
    return draw.rig(seed, cameras)


def rig_name(drawn: str, rig: Path) -> str:
    """Whose cameras a table is of: one of `DRAWN`, or a rig file's."""
    return f"drawn, {drawn}" if drawn else rig.stem


@cache
def loaded(checkpoint: Path, choices: MethodChoices) -> Checkpoint:
    """This process's copy of a checkpoint, for planners of several rigs."""
    return load_checkpoint(checkpoint, choices=choices)


def quiet(stage: str, fraction: float) -> bool:
    """Progress that nobody hears: go on."""
    return True
