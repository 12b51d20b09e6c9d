"""Rig files (`config/rigs/<rig>.yaml`): checked here, written by calibration or the simulator."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mvista_core.errors import RigError
from mvista_core.records import CameraCalibration, Intrinsics, RigCalibration


def load_rig(path: Path | str, allow_failed: bool = False) -> RigCalibration:
    """Read and check a rig file.

    Raises:
        RigError: no such file, malformed, a pose that is not rigid, or a rig whose calibration
            failed (verdict other than "pass") unless `allow_failed`.
    """
    path = Path(path)
    if not path.is_file():
        raise RigError(f"no rig file at {path}; see config/rigs/ or run `mvista calibrate`")
    text = path.read_bytes()
    try:
        document = yaml.safe_load(text)
        rig = _parse(document, hashlib.sha256(text).hexdigest())
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        message = f"{path}: not a rig file ({error!r}); see config/rigs/sim_cell.yaml"
        raise RigError(message) from None
    if rig.verdict != "pass" and not allow_failed:
        raise RigError(f"{path}: calibration verdict is '{rig.verdict}', only 'pass' may be used")
    return rig


def save_rig(rig: RigCalibration, path: Path | str) -> None:
    """Write a rig file; poses keep full precision."""
    cameras = {camera.name: _camera_document(camera) for camera in rig.cameras}
    document = {
        "name": rig.name,
        "base_frame": rig.base_frame,
        "date": rig.date,
        "verdict": rig.verdict,
        "cameras": cameras,
    }
    Path(path).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _parse(document: dict[str, Any], content_hash: str) -> RigCalibration:
    cameras = tuple(_parse_camera(name, body) for name, body in document["cameras"].items())
    if not cameras:
        raise ValueError("no cameras")
    return RigCalibration(
        str(document["name"]),
        str(document["base_frame"]),
        cameras,
        str(document["date"]),
        str(document["verdict"]),
        content_hash,
    )


def _parse_camera(name: str, body: dict[str, Any]) -> CameraCalibration:
    i = body["intrinsics"]
    covariance = body.get("covariance")
    return CameraCalibration(
        name,
        np.array(body["base_from_camera"], dtype=np.float64),
        Intrinsics(
            int(i["width_px"]),
            int(i["height_px"]),
            float(i["fx_px"]),
            float(i["fy_px"]),
            float(i["cx_px"]),
            float(i["cy_px"]),
            tuple(float(d) for d in i.get("distortion", ())),
        ),
        str(body.get("serial", "")),
        None if covariance is None else np.array(covariance, dtype=np.float64),
    )


def _camera_document(camera: CameraCalibration) -> dict[str, Any]:
    i = camera.intrinsics
    document: dict[str, Any] = {
        "serial": camera.serial,
        "intrinsics": {
            "width_px": i.width_px,
            "height_px": i.height_px,
            "fx_px": i.fx_px,
            "fy_px": i.fy_px,
            "cx_px": i.cx_px,
            "cy_px": i.cy_px,
            "distortion": list(i.distortion),
        },
        "base_from_camera": [[float(x) for x in row] for row in camera.base_from_camera],
    }
    if camera.covariance is not None:
        document["covariance"] = [[float(x) for x in row] for row in camera.covariance]
    return document
