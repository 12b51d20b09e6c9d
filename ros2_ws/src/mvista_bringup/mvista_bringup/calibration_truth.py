"""A rig against the `truth.yaml` that the simulator writes beside a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from mvista_calibration.session_layout import DEFAULT_WORKSPACE
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64, RigCalibration

GRID = 5


def errors_mm(rig: RigCalibration, truth_file: Path) -> dict[str, float]:
    """RMS over the workspace's grid of where each camera puts a point of the robot's frame, mm.

    Raises:
        ConfigError: no such file, or another one's.
    """
    if not truth_file.is_file():
        raise ConfigError(f"no truth at {truth_file}; `mvista calibrate simulate` writes one")
    document = yaml.safe_load(truth_file.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or "base_from_camera" not in document:
        raise ConfigError(f"{truth_file} has no base_from_camera: it is no truth.yaml")
    true: Float64 = np.array(document["base_from_camera"])
    if len(true) != len(rig.cameras):
        raise ConfigError(f"{truth_file} has {len(true)} cameras, rig '{rig.name}' {rig.names}")
    box = DEFAULT_WORKSPACE
    sides = np.linspace(box.lower_m, box.upper_m, GRID, axis=-1)
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    errors = {}
    for camera, pose in zip(rig.cameras, true, strict=True):
        placed = transform_points(camera.base_from_camera @ invert(pose), points)
        apart = np.sqrt(((placed - points) ** 2).sum(axis=1).mean())
        errors[camera.name] = round(float(apart) * 1e3, 3)
    return errors
