"""Rig files (`config/rigs/<rig>.yaml`): checked here, written by calibration or the simulator."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from mvista_core.documents import Document, parse_document
from mvista_core.errors import RigError
from mvista_core.files import replace_file
from mvista_core.records import (
    CameraCalibration,
    Intrinsics,
    RigCalibration,
    RigCheck,
    RigProvenance,
)

HINT = "not a rig file; see config/rigs/sim_cell.yaml"
LARGEST_IMAGE_PX = 100_000


def load_rig(path: Path | str, allow_failed: bool = False) -> RigCalibration:
    """Read and check a rig file.

    Raises:
        RigError: no such file, malformed, a pose that is not rigid, or a rig whose calibration
            failed (verdict other than "pass") unless `allow_failed`.
    """
    path = Path(path)
    if not path.is_file():
        raise RigError(f"no rig file at {path}; see config/rigs/ or run `mvista calibrate`")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RigError(f"{path} cannot be read: {error.strerror}") from None
    document = parse_document(text, str(path), RigError, HINT)
    rig = _parse(document, hashlib.sha256(text).hexdigest())
    if rig.verdict != "pass" and not allow_failed:
        raise RigError(f"{path}: calibration verdict is '{rig.verdict}', only 'pass' may be used")
    return rig


def save_rig(rig: RigCalibration, path: Path | str) -> None:
    """Write a rig file in one step (a crash leaves the old one); poses keep full precision.

    Raises:
        RigError: it cannot be written there.
    """
    document: dict[str, Any] = {
        "name": rig.name,
        "base_frame": rig.base_frame,
        "date": rig.date,
        "verdict": rig.verdict,
        "cameras": {camera.name: _camera_document(camera) for camera in rig.cameras},
    }
    if rig.provenance is not None:
        document["calibration"] = _provenance_document(rig.provenance)
    replace_file(path, yaml.safe_dump(document, sort_keys=False), RigError)


def _parse(document: Document, content_hash: str) -> RigCalibration:
    cameras = document["cameras"]
    if not cameras.entries():
        raise cameras.refuse("has no cameras")
    made = document.get("calibration")
    return RigCalibration(
        document["name"].text(),
        document["base_frame"].text(),
        tuple(_parse_camera(name, body) for name, body in cameras.entries().items()),
        document["date"].text(),
        document["verdict"].text(),
        content_hash,
        None if made is None else _parse_provenance(made),
    )


def _parse_camera(name: str, body: Document) -> CameraCalibration:
    covariance, others = body.get("covariance"), body.get("other_intrinsics")
    serial, depth = body.get("serial"), body.get("depth")
    offset_m = depth.get("offset_m") if depth is not None else None
    scale = depth.get("scale") if depth is not None else None
    return CameraCalibration(
        name,
        body["base_from_camera"].numbers(4, 4),
        parse_lens(body["intrinsics"]),
        "" if serial is None else serial.text(),
        None if covariance is None else covariance.numbers(6, 6),
        () if others is None else tuple(parse_lens(lens) for lens in others.items()),
        0.0 if offset_m is None else offset_m.number(),
        1.0 if scale is None else scale.number(),
    )


def parse_lens(body: Document) -> Intrinsics:
    """A lens as `lens_document` gives it: sizes whole, focal lengths above 0."""
    for key in ("fx_px", "fy_px"):
        if body[key].number() <= 0.0:
            raise body[key].refuse("is not above 0")
    distortion = body.get("distortion")
    return Intrinsics(
        body["width_px"].whole(1, LARGEST_IMAGE_PX),
        body["height_px"].whole(1, LARGEST_IMAGE_PX),
        body["fx_px"].number(),
        body["fy_px"].number(),
        body["cx_px"].number(),
        body["cy_px"].number(),
        () if distortion is None else tuple(d.number() for d in distortion.items()),
    )


def _parse_provenance(body: Document) -> RigProvenance:
    checks, versions = body.get("checks"), body.get("versions")
    return RigProvenance(
        body["board"].text(),
        body["method"].text(),
        ()
        if versions is None
        else tuple((name, version.text()) for name, version in versions.entries().items()),
        body["words"].text(),
        () if checks is None else tuple(_parse_check(check) for check in checks.items()),
    )


def _parse_check(check: Document) -> RigCheck:
    """A value and a limit may be NaN: a stage that could not answer has none."""
    unit, subject = check.get("unit"), check.get("subject")
    return RigCheck(
        check["name"].text(),
        check["value"].number(finite=False),
        check["limit"].number(finite=False),
        "" if unit is None else unit.text(),
        check["passed"].truth(),
        check["level"].text(),
        "" if subject is None else subject.text(),
    )


def _camera_document(camera: CameraCalibration) -> dict[str, Any]:
    document: dict[str, Any] = {
        "serial": camera.serial,
        "intrinsics": lens_document(camera.intrinsics),
        "base_from_camera": [[float(x) for x in row] for row in camera.base_from_camera],
    }
    if camera.covariance is not None:
        document["covariance"] = [[float(x) for x in row] for row in camera.covariance]
    if camera.other_intrinsics:
        document["other_intrinsics"] = [lens_document(lens) for lens in camera.other_intrinsics]
    if (camera.depth_offset_m, camera.depth_scale) != (0.0, 1.0):
        document["depth"] = {"offset_m": camera.depth_offset_m, "scale": camera.depth_scale}
    return document


def lens_document(lens: Intrinsics) -> dict[str, Any]:
    """What `parse_lens` reads: in rig, session and recording files, and at a camera's tap."""
    return {
        "width_px": lens.width_px,
        "height_px": lens.height_px,
        "fx_px": float(lens.fx_px),
        "fy_px": float(lens.fy_px),
        "cx_px": float(lens.cx_px),
        "cy_px": float(lens.cy_px),
        "distortion": [float(d) for d in lens.distortion],
    }


def _provenance_document(made: RigProvenance) -> dict[str, Any]:
    return {
        "board": made.board,
        "method": made.method,
        "versions": dict(made.versions),
        "words": made.words,
        "checks": [asdict(check) for check in made.checks],
    }
