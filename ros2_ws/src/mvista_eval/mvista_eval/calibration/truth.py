"""A rig against the `truth.yaml` that the simulator writes beside a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_calibration.records import DEFAULT_WORKSPACE
from mvista_core.documents import read_document
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64, RigCalibration

GRID = 5


@dataclass(frozen=True)
class Truth:
    """What was true: `base_from_camera` [C, 4, 4], and the file that says so."""

    base_from_camera: Float64
    file: Path


def load_truth(truth_file: Path) -> Truth:
    """The truth beside a simulated session.

    Raises:
        ConfigError: no such file, or another one's.
    """
    document = read_document(truth_file, ConfigError, "`mvista calibrate simulate` writes one")
    return Truth(document["base_from_camera"].numbers(-1, 4, 4), truth_file)


def errors_mm(rig: RigCalibration, truth: Truth) -> dict[str, float]:
    """RMS over the workspace's grid of where each camera puts a point of the robot's frame, mm.

    Raises:
        ConfigError: the truth is of another rig.
    """
    true = truth.base_from_camera
    if len(true) != len(rig.cameras):
        raise ConfigError(f"{truth.file} has {len(true)} cameras, rig '{rig.name}' {rig.names}")
    box = DEFAULT_WORKSPACE
    sides = np.linspace(box.lower_m, box.upper_m, GRID, axis=-1)
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    errors = {}
    for camera, pose in zip(rig.cameras, true, strict=True):
        placed = transform_points(camera.base_from_camera @ invert(pose), points)
        apart = np.sqrt(((placed - points) ** 2).sum(axis=1).mean())
        errors[camera.name] = round(float(apart) * 1e3, 3)
    return errors


def errors_in_words(rig: RigCalibration, truth: Truth) -> str:
    """The same in one line. Raises as `errors_mm`."""
    said = ", ".join(f"{name} {error:.2f}" for name, error in errors_mm(rig, truth).items())
    return f"against the truth (mm over the workspace): {said}"
