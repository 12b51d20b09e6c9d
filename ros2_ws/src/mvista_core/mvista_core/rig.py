"""Rig files (`config/rigs/<rig>.yaml`): checked here, written by calibration or the simulator."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mvista_core.errors import RigError
from mvista_core.records import (
    CameraCalibration,
    Intrinsics,
    RigCalibration,
    RigCheck,
    RigProvenance,
)


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
    """Write a rig file in one step (a crash leaves the old one); poses keep full precision."""
    document: dict[str, Any] = {
        "name": rig.name,
        "base_frame": rig.base_frame,
        "date": rig.date,
        "verdict": rig.verdict,
        "cameras": {camera.name: _camera_document(camera) for camera in rig.cameras},
    }
    if rig.provenance is not None:
        document["calibration"] = _provenance_document(rig.provenance)
    path = Path(path)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    beside.replace(path)


def _parse(document: dict[str, Any], content_hash: str) -> RigCalibration:
    cameras = tuple(_parse_camera(name, body) for name, body in document["cameras"].items())
    if not cameras:
        raise ValueError("no cameras")
    made = document.get("calibration")
    return RigCalibration(
        str(document["name"]),
        str(document["base_frame"]),
        cameras,
        str(document["date"]),
        str(document["verdict"]),
        content_hash,
        None if made is None else _parse_provenance(made),
    )


def _parse_camera(name: str, body: dict[str, Any]) -> CameraCalibration:
    covariance = body.get("covariance")
    depth = body.get("depth", {})
    return CameraCalibration(
        name,
        np.array(body["base_from_camera"], dtype=np.float64),
        _parse_lens(body["intrinsics"]),
        str(body.get("serial", "")),
        None if covariance is None else np.array(covariance, dtype=np.float64),
        tuple(_parse_lens(lens) for lens in body.get("other_intrinsics", ())),
        float(depth.get("offset_m", 0.0)),
        float(depth.get("scale", 1.0)),
    )


def _parse_lens(i: dict[str, Any]) -> Intrinsics:
    return Intrinsics(
        int(i["width_px"]),
        int(i["height_px"]),
        float(i["fx_px"]),
        float(i["fy_px"]),
        float(i["cx_px"]),
        float(i["cy_px"]),
        tuple(float(d) for d in i.get("distortion", ())),
    )


def _parse_provenance(body: dict[str, Any]) -> RigProvenance:
    checks = tuple(
        RigCheck(
            str(check["name"]),
            float(check["value"]),
            float(check["limit"]),
            str(check["unit"]),
            bool(check["passed"]),
            str(check["level"]),
            str(check.get("subject", "")),
        )
        for check in body.get("checks", ())
    )
    versions = tuple((str(k), str(v)) for k, v in body.get("versions", {}).items())
    return RigProvenance(
        str(body["board"]), str(body["method"]), versions, str(body["words"]), checks
    )


def _camera_document(camera: CameraCalibration) -> dict[str, Any]:
    document: dict[str, Any] = {
        "serial": camera.serial,
        "intrinsics": _lens_document(camera.intrinsics),
        "base_from_camera": [[float(x) for x in row] for row in camera.base_from_camera],
    }
    if camera.covariance is not None:
        document["covariance"] = [[float(x) for x in row] for row in camera.covariance]
    if camera.other_intrinsics:
        document["other_intrinsics"] = [_lens_document(lens) for lens in camera.other_intrinsics]
    if (camera.depth_offset_m, camera.depth_scale) != (0.0, 1.0):
        document["depth"] = {"offset_m": camera.depth_offset_m, "scale": camera.depth_scale}
    return document


def _lens_document(i: Intrinsics) -> dict[str, Any]:
    return {
        "width_px": i.width_px,
        "height_px": i.height_px,
        "fx_px": i.fx_px,
        "fy_px": i.fy_px,
        "cx_px": i.cx_px,
        "cy_px": i.cy_px,
        "distortion": list(i.distortion),
    }


def _provenance_document(made: RigProvenance) -> dict[str, Any]:
    return {
        "board": made.board,
        "method": made.method,
        "versions": dict(made.versions),
        "words": made.words,
        "checks": [asdict(check) for check in made.checks],
    }
