"""How a session lies on disk: the records that are written, and their YAML documents.

    session.yaml                    board, cameras in order (the first is the reference), workspace
    shots/<n>/<camera>.png          colour, at the camera's `intrinsics` (.jpg is read too)
    shots/<n>/<camera>_depth.png    16-bit, `depth_unit_mm`, 0 invalid, at `depth_intrinsics`
    shots/<n>/shot.yaml             stamps, depth frames averaged, gripper pose, joints
    scene/<camera>_depth.png        the cell without the board, as above
    scene/scene.yaml                depth frames averaged
    detections/<key>.json           what was found in an image, by its content (detections.py)

A shot is written beside and then takes its place whole. `shot.yaml` marks a shot: a folder without
it is not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mvista_calibration.records import DEFAULT_WORKSPACE, Board, SessionCamera, WorkspaceBox
from mvista_core.documents import Document, read_document
from mvista_core.errors import CalibrationError
from mvista_core.files import replace_file
from mvista_core.records import Float32, Float64, UInt8
from mvista_core.rig import lens_document, parse_lens

FORMAT = 1
"""Of session.yaml; readers refuse others."""

HINT = "calibration/README.md shows one"

DEPTH_UNIT_MM = 0.1
"""Of depth that is written: the mean of many frames is known to less than a millimetre. 16 bits
reach 6.5 m then, farther than these cameras see. Files without `depth_unit_mm` have 1 mm."""

LEAST_UNIT_MM, LARGEST_UNIT_MM = 0.01, 10.0
MOST_FRAMES = 100_000
MOST_SQUARES = 1000
LATEST_NS = 2**63 - 1


@dataclass(frozen=True)
class SessionHeader:
    """All that is known before the first shot; `depth` says whether depth is recorded at all."""

    name: str
    board: Board
    cameras: tuple[SessionCamera, ...]
    workspace: WorkspaceBox = DEFAULT_WORKSPACE
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
class BoardShot:
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
    depth_unit_m: float = 1e-3


def shot_folder(folder: Path, shot: int) -> Path:
    """Where a shot is written."""
    return folder / "shots" / f"{shot:04d}"


def is_number(name: str) -> bool:
    """Whether a folder's name is a shot's number."""
    # `isdigit` alone takes superscripts and the digits of other scripts; `int` stops at some.
    return name.isascii() and name.isdigit()


def shot_folders(folder: Path) -> dict[int, Path]:
    """Whole shots by number, in order; `CalibrationError` when two have the same number."""
    found: dict[int, Path] = {}
    for file in sorted((folder / "shots").glob("*/shot.yaml")):
        name = file.parent.name
        if not is_number(name):
            continue
        if int(name) in found:
            raise CalibrationError(
                f"{folder}: shots/{found[int(name)].name} and shots/{name} have one number; "
                "rename one of them"
            )
        found[int(name)] = file.parent
    return dict(sorted(found.items()))


def read_yaml(path: Path) -> Document:
    """The document in `path`; `CalibrationError` when it is missing or not YAML."""
    if not path.exists():
        raise CalibrationError(
            f"no {path.name} in {path.parent}: record a session with `mvista calibrate collect`, "
            "or write one beside your images as calibration/README.md shows"
        )
    return read_document(path, CalibrationError, HINT)


def write_yaml(path: Path, document: Any) -> None:
    """Write whole or not at all."""
    replace_file(path, yaml.safe_dump(document, sort_keys=False), CalibrationError)


def header_document(header: SessionHeader) -> dict[str, Any]:
    board, box = header.board, header.workspace
    return {
        "format": FORMAT,
        "name": header.name,
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
                "intrinsics": lens_document(camera.intrinsics),
                "depth_intrinsics": lens_document(camera.depth_intrinsics),
            }
            for camera in header.cameras
        ],
        "workspace": {
            "lower_m": [float(x) for x in box.lower_m],
            "upper_m": [float(x) for x in box.upper_m],
        },
        "warm_up_minutes": float(header.warm_up_minutes),
        "base_from_board": _pose_document(header.base_from_board),
        "depth": header.depth,
    }


def parse_header(path: Path) -> SessionHeader:
    """Read session.yaml; a key missing or of the wrong kind is named."""
    document = read_yaml(path)
    stated = document["format"].value
    # In Python True equals 1: without the second look `format: true` would pass.
    if stated != FORMAT or isinstance(stated, bool):
        raise document["format"].refuse(f"is another one: this version reads {FORMAT}")
    box, minutes = document.get("workspace"), document.get("warm_up_minutes")
    pose, depth = document.get("base_from_board"), document.get("depth")
    return SessionHeader(
        document["name"].text(),
        _parse_board(document["board"]),
        tuple(_parse_camera(body) for body in document["cameras"].items()),
        DEFAULT_WORKSPACE if box is None else _parse_box(box),
        0.0 if minutes is None else minutes.number(),
        None if pose is None else pose.numbers(4, 4),
        True if depth is None else depth.truth(),
    )


def shot_document(shot: BoardShot) -> dict[str, Any]:
    return {
        "stamps_ns": {image.camera: int(image.stamp_ns) for image in shot.images},
        "depth_frames": {
            image.camera: int(image.depth_frames)
            for image in shot.images
            if image.depth_m is not None
        },
        "depth_unit_mm": DEPTH_UNIT_MM,
        "base_from_gripper": _pose_document(shot.base_from_gripper),
        "joints": {name: float(value) for name, value in shot.joints},
    }


def parse_shot(path: Path) -> ShotNotes:
    """Read shot.yaml or scene.yaml."""
    document = read_yaml(path)
    if document.value is None:
        return ShotNotes()
    stamps, frames = document.get("stamps_ns"), document.get("depth_frames")
    pose, joints = document.get("base_from_gripper"), document.get("joints")
    unit = document.get("depth_unit_mm")
    unit_mm = 1.0 if unit is None else unit.number()
    if unit is not None and not LEAST_UNIT_MM <= unit_mm <= LARGEST_UNIT_MM:
        raise unit.refuse(f"is {unit_mm:g}, not within {LEAST_UNIT_MM} to {LARGEST_UNIT_MM}")
    return ShotNotes(
        {} if stamps is None else {n: v.whole(0, LATEST_NS) for n, v in stamps.entries().items()},
        {} if frames is None else {n: v.whole(1, MOST_FRAMES) for n, v in frames.entries().items()},
        None if pose is None else pose.numbers(4, 4),
        () if joints is None else tuple((n, v.number()) for n, v in joints.entries().items()),
        unit_mm * 1e-3,
    )


def _parse_board(body: Document) -> Board:
    """`scale_bar_mm: [measured, nominal]` may stand in for `measured_scale`."""
    stated, bar, legacy = (body.get(key) for key in ("measured_scale", "scale_bar_mm", "legacy"))
    scale = 1.0 if stated is None else stated.number()
    if bar is not None:
        measured, nominal = bar.numbers(2)
        if nominal <= 0:
            raise bar.refuse("must be [measured, nominal] lengths above 0")
        scale = float(measured / nominal)
    dictionary = body.get("dictionary")
    return Board(
        body["squares_x"].whole(3, MOST_SQUARES),
        body["squares_y"].whole(3, MOST_SQUARES),
        body["square_m"].number(),
        body["marker_m"].number(),
        Board.dictionary if dictionary is None else dictionary.text(),
        None if legacy is None else legacy.truth(),
        scale,
    )


def _parse_camera(body: Document) -> SessionCamera:
    lens = parse_lens(body["intrinsics"])
    depth, serial = body.get("depth_intrinsics"), body.get("serial")
    return SessionCamera(
        body["name"].text(),
        lens,
        lens if depth is None else parse_lens(depth),
        "" if serial is None else serial.text(),
    )


def _parse_box(body: Document) -> WorkspaceBox:
    lower, upper = body["lower_m"].numbers(3), body["upper_m"].numbers(3)
    if not (lower < upper).all():
        raise body.refuse("must have lower_m below upper_m in all three")
    return WorkspaceBox((*lower.tolist(),), (*upper.tolist(),))


def _pose_document(pose: Float64 | None) -> list[list[float]] | None:
    # Plain floats: `safe_dump` refuses NumPy's.
    return None if pose is None else [[float(x) for x in row] for row in pose]
