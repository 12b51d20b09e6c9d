"""How a session lies on disk: the records that are written, and their YAML documents.

    session.yaml                    board, cameras in order (the first is the reference), workspace
    shots/<n>/<camera>.png          colour, at the camera's `intrinsics` (.jpg is read too)
    shots/<n>/<camera>_depth.png    16-bit, millimetres, 0 invalid, at `depth_intrinsics`
    shots/<n>/shot.yaml             stamps, depth frames averaged, gripper pose, joints
    scene/<camera>_depth.png        the cell without the board, as above
    scene/scene.yaml                depth frames averaged

`shot.yaml` is written last: a folder without it is half a shot and is not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mvista_calibration.records import Board, SessionCamera, Workspace
from mvista_core.errors import CalibrationError
from mvista_core.records import Float32, Float64, Intrinsics, UInt8

FORMAT = 1
"""Of session.yaml; readers refuse others."""

DEFAULT_WORKSPACE = Workspace((0.05, -0.3, 0.0), (0.65, 0.3, 0.3))
"""The demo cell's table in front of the arm, base frame."""


@dataclass(frozen=True)
class SessionSettings:
    """All that is known before the first shot; `depth` says whether depth is recorded at all."""

    name: str
    board: Board
    cameras: tuple[SessionCamera, ...]
    workspace: Workspace = DEFAULT_WORKSPACE
    warm_up_minutes: float = 0.0
    base_from_board: Float64 | None = None
    depth: bool = True


@dataclass(frozen=True)
class ShotImage:
    """One camera in one shot: colour uint8 RGB [H, W, 3] or gray [H, W], depth float32 m or None.

    `depth_m` is the mean of `depth_frames` images of the standing board, 0 where invalid.
    """

    camera: str
    color: UInt8
    depth_m: Float32 | None
    stamp_ns: int
    depth_frames: int = 1


@dataclass(frozen=True)
class Shot:
    """The board at one place, seen by some or all cameras, and where the arm says it held it.

    `joints` are (name, rad or m), kept so that another kinematic model can be tried later.
    """

    images: tuple[ShotImage, ...]
    base_from_gripper: Float64 | None = None
    joints: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ShotNotes:
    """What shot.yaml (or scene.yaml) holds."""

    stamps_ns: dict[str, int] = field(default_factory=dict)
    depth_frames: dict[str, int] = field(default_factory=dict)
    base_from_gripper: Float64 | None = None
    joints: tuple[tuple[str, float], ...] = ()


def shot_folder(folder: Path, shot: int) -> Path:
    return folder / "shots" / f"{shot:04d}"


def read_yaml(path: Path) -> Any:
    """The document in `path`; `CalibrationError` when it is missing or not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CalibrationError(
            f"no {path.name} in {path.parent}: record a session with `mvista calibrate collect`, "
            "or write one beside your images as calibration/README.md shows"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}") from None


def write_yaml(path: Path, document: Any) -> None:
    """Write whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    part.replace(path)


def settings_document(settings: SessionSettings) -> dict[str, Any]:
    board, box = settings.board, settings.workspace
    return {
        "format": FORMAT,
        "name": settings.name,
        "board": {
            "squares_x": board.squares_x,
            "squares_y": board.squares_y,
            "square_m": float(board.square_m),
            "marker_m": float(board.marker_m),
            "dictionary": board.dictionary,
            "legacy": board.legacy,
            "measured_scale": float(board.measured_scale),
        },
        "cameras": [
            {
                "name": camera.name,
                "serial": camera.serial,
                "intrinsics": _lens_document(camera.intrinsics),
                "depth_intrinsics": _lens_document(camera.depth_intrinsics),
            }
            for camera in settings.cameras
        ],
        "workspace": {
            "lower_m": [float(x) for x in box.lower_m],
            "upper_m": [float(x) for x in box.upper_m],
        },
        "warm_up_minutes": float(settings.warm_up_minutes),
        "base_from_board": _pose_document(settings.base_from_board),
        "depth": settings.depth,
    }


def parse_settings(path: Path) -> SessionSettings:
    """Read session.yaml; a key missing or of the wrong kind is named."""
    document = read_yaml(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise CalibrationError(f"{path}: format is {found}, this version reads {FORMAT}")
    try:
        box = document.get("workspace")
        return SessionSettings(
            str(document["name"]),
            _parse_board(document["board"]),
            tuple(_parse_camera(body) for body in document["cameras"]),
            DEFAULT_WORKSPACE if box is None else _parse_box(box),
            float(document.get("warm_up_minutes", 0.0)),
            _parse_pose(document.get("base_from_board")),
            bool(document.get("depth", True)),
        )
    except KeyError as error:
        raise CalibrationError(
            f"{path}: {error} is missing; calibration/README.md lists all"
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{path}: {error}; calibration/README.md shows one") from None


def shot_document(shot: Shot) -> dict[str, Any]:
    return {
        "stamps_ns": {image.camera: int(image.stamp_ns) for image in shot.images},
        "depth_frames": {
            image.camera: int(image.depth_frames)
            for image in shot.images
            if image.depth_m is not None
        },
        "base_from_gripper": _pose_document(shot.base_from_gripper),
        "joints": {name: float(value) for name, value in shot.joints},
    }


def parse_shot(path: Path) -> ShotNotes:
    """Read shot.yaml or scene.yaml."""
    document = read_yaml(path) or {}
    try:
        return ShotNotes(
            {str(name): int(stamp) for name, stamp in (document.get("stamps_ns") or {}).items()},
            {str(name): int(n) for name, n in (document.get("depth_frames") or {}).items()},
            _parse_pose(document.get("base_from_gripper")),
            tuple((str(n), float(v)) for n, v in (document.get("joints") or {}).items()),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{path}: {error}; calibration/README.md shows one") from None


def _lens_document(lens: Intrinsics) -> dict[str, Any]:
    return {
        "width_px": lens.width_px,
        "height_px": lens.height_px,
        "fx_px": float(lens.fx_px),
        "fy_px": float(lens.fy_px),
        "cx_px": float(lens.cx_px),
        "cy_px": float(lens.cy_px),
        "distortion": [float(d) for d in lens.distortion],
    }


def _parse_lens(body: dict[str, Any]) -> Intrinsics:
    fx_px, fy_px, cx_px, cy_px = (float(body[f"{key}_px"]) for key in ("fx", "fy", "cx", "cy"))
    distortion = tuple(float(d) for d in body.get("distortion") or ())
    width_px, height_px = int(body["width_px"]), int(body["height_px"])
    return Intrinsics(width_px, height_px, fx_px, fy_px, cx_px, cy_px, distortion)


def _parse_board(body: dict[str, Any]) -> Board:
    """`scale_bar_mm: [measured, nominal]` may stand in for `measured_scale`."""
    scale = float(body.get("measured_scale", 1.0))
    if body.get("scale_bar_mm") is not None:
        measured, nominal = (float(length) for length in body["scale_bar_mm"])
        scale = measured / nominal
    return Board(
        int(body["squares_x"]),
        int(body["squares_y"]),
        float(body["square_m"]),
        float(body["marker_m"]),
        str(body.get("dictionary", Board.dictionary)),
        None if body.get("legacy") is None else bool(body["legacy"]),
        scale,
    )


def _parse_camera(body: dict[str, Any]) -> SessionCamera:
    lens = _parse_lens(body["intrinsics"])
    depth = body.get("depth_intrinsics")
    return SessionCamera(
        str(body["name"]),
        lens,
        lens if depth is None else _parse_lens(depth),
        str(body.get("serial") or ""),
    )


def _parse_box(body: dict[str, Any]) -> Workspace:
    lower, upper = (np.array(body[key], dtype=np.float64) for key in ("lower_m", "upper_m"))
    if lower.shape != (3,) or upper.shape != (3,) or not (lower < upper).all():
        raise ValueError(f"workspace must have lower_m below upper_m, three values each: {body}")
    return Workspace((*lower.tolist(),), (*upper.tolist(),))


def _pose_document(pose: Float64 | None) -> list[list[float]] | None:
    return None if pose is None else [[float(x) for x in row] for row in pose]


def _parse_pose(rows: Any) -> Float64 | None:
    return None if rows is None else np.array(rows, dtype=np.float64)
