"""The shipped simulated cell that trials run in, and what their rows depend on in it."""

from __future__ import annotations

from pathlib import Path

from mvista_bringup.paths import config_file
from mvista_core import weights
from mvista_eval.trials import sum_of_files


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


def quiet(stage: str, fraction: float) -> bool:
    """Progress that nobody hears: go on."""
    return True
