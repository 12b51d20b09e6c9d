"""The answer as files: rig file, camera_info and static transforms for ROS, a URDF snippet."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from mvista_calibration.records import Board, Calibration, SessionCamera
from mvista_calibration.solve.uncertainty import camera_covariance
from mvista_core.errors import CalibrationError, RigError
from mvista_core.files import make_folder, replace_file
from mvista_core.geometry import invert, pose_from, quaternion_xyzw, rpy_rad
from mvista_core.lens import ros_distortion
from mvista_core.records import (
    CameraCalibration,
    Float64,
    Intrinsics,
    RigCalibration,
    RigCheck,
    RigProvenance,
)
from mvista_core.rig import load_rig, save_rig

LINK_FROM_OPTICAL = pose_from(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3)
)
"""REP-103: a driver's `<cam>_link` looks along x; its optical frame along z."""
PACKAGES = ("numpy", "scipy", "opencv-contrib-python-headless", "open3d-cpu")
PREVIEW_WIDTH_PX = 320


def rig_of(
    calibration: Calibration,
    name: str,
    date: str,
    base_frame: str = "piper_base",
    stream_width_px: int | None = None,
) -> RigCalibration:
    """The rig record of an answer.

    `intrinsics` are those at `stream_width_px` (None: depth's resolution); colour at full size and
    previews of 320 px follow as other resolutions where they divide evenly. Without a robot the
    base frame is the reference camera's own.
    """
    base = calibration.base_from_reference
    frame = base_frame if base is not None else f"{calibration.cameras[0].name}_optical"
    base_from_reference = np.eye(4) if base is None else base
    bias = {entry.camera: entry for entry in calibration.depth_bias}
    cameras = []
    for index, camera in enumerate(calibration.cameras):
        stream, others = _resolutions(camera, stream_width_px)
        known = bias.get(camera.name)
        pose = base_from_reference @ calibration.rig.pose(camera.name)
        cameras.append(
            CameraCalibration(
                camera.name,
                _on_manifold(pose),
                stream,
                camera.serial,
                camera_covariance(calibration, index),
                others,
                0.0 if known is None else known.offset_m,
                1.0 if known is None else known.scale,
            )
        )
    verdict = calibration.verdict
    checks = tuple(
        RigCheck(c.name, c.value, c.limit, c.unit, c.passed, c.level, c.subject)
        for c in verdict.checks
    )
    made = RigProvenance(
        describe_board(calibration.board), calibration.rig.stage, _versions(), verdict.words, checks
    )
    said = "pass" if verdict.passed else "fail"
    return RigCalibration(name, frame, tuple(cameras), date, said, provenance=made)


def save_calibration(rig: RigCalibration, folder: Path, rig_file: Path | None = None) -> Path:
    """Write the rig file and what ROS wants beside it into `folder`; returns the rig file.

    `rig_file` (config/rigs/<rig>.yaml) is where the rig file goes if the rig passed; a failed one
    stays in `folder`.

    Raises:
        CalibrationError: `rig_file` was asked for and the rig failed: nothing was put there.
    """
    make_folder(folder / "camera_info", CalibrationError)
    for camera in rig.cameras:
        for lens in (camera.intrinsics, *camera.other_intrinsics):
            size = f"{lens.width_px}x{lens.height_px}"
            _write(
                folder / "camera_info" / f"{camera.name}_{size}.yaml",
                camera_info(camera.name, lens),
            )
    _write(folder / "static_tf.yaml", {"transforms": static_transforms(rig)})
    replace_file(folder / "cameras.urdf.xacro", urdf_snippet(rig), CalibrationError)
    kept = folder / f"{rig.name}.yaml"
    save_rig(rig, kept)
    if rig_file is None:
        return kept
    if rig.verdict != "pass":
        words = rig.provenance.words if rig.provenance else ""
        raise CalibrationError(
            f"{rig_file} was {_untouched(rig_file)}: this calibration failed. {words} "
            f"What it found lies in {folder}"
        )
    make_folder(rig_file.parent, CalibrationError)
    try:
        save_rig(rig, rig_file)
    except RigError as error:
        raise CalibrationError(f"{error}. The rig lies in {kept}") from None
    return rig_file


def camera_info(name: str, lens: Intrinsics) -> dict[str, Any]:
    """As camera_calibration_parsers writes it."""
    model, coefficients = ros_distortion(lens.distortion)
    # One camera by itself: nothing is rectified, and the projection is K.
    k = lens.matrix
    return {
        "image_width": lens.width_px,
        "image_height": lens.height_px,
        "camera_name": name,
        "camera_matrix": _matrix(k),
        "distortion_model": model,
        "distortion_coefficients": _matrix(np.array([coefficients])),
        "rectification_matrix": _matrix(np.eye(3)),
        "projection_matrix": _matrix(np.hstack([k, np.zeros((3, 1))])),
    }


def static_transforms(
    rig: RigCalibration, link_from_optical: Float64 = LINK_FROM_OPTICAL
) -> list[dict[str, Any]]:
    """base -> `<cam>_link`, so that the driver's own tree (link -> optical) stays single-rooted."""
    transforms = []
    for camera in rig.cameras:
        base_from_link = camera.base_from_camera @ invert(link_from_optical)
        transforms.append(
            {
                "parent": rig.base_frame,
                "child": f"{camera.name}_link",
                "translation_m": [float(x) for x in base_from_link[:3, 3]],
                "rotation_xyzw": [float(x) for x in quaternion_xyzw(base_from_link[:3, :3])],
            }
        )
    return transforms


def urdf_snippet(rig: RigCalibration, link_from_optical: Float64 = LINK_FROM_OPTICAL) -> str:
    """Fixed joints base -> `<cam>_link`, rpy as URDF has it (extrinsic x, y, z)."""
    lines = ['<robot xmlns:xacro="http://www.ros.org/wiki/xacro">']
    for camera in rig.cameras:
        pose = camera.base_from_camera @ invert(link_from_optical)
        xyz = " ".join(f"{x:.6f}" for x in pose[:3, 3])
        rpy = " ".join(f"{x:.6f}" for x in rpy_rad(pose[:3, :3]))
        lines += [
            f'  <link name="{camera.name}_link"/>',
            f'  <joint name="{rig.base_frame}_to_{camera.name}_link" type="fixed">',
            f'    <parent link="{rig.base_frame}"/><child link="{camera.name}_link"/>',
            f'    <origin xyz="{xyz}" rpy="{rpy}"/>',
            "  </joint>",
        ]
    return "\n".join([*lines, "</robot>", ""])


def describe_board(board: Board) -> str:
    """One line that says which board it was."""
    legacy = {None: "pattern unknown", True: "legacy pattern", False: "new pattern"}[board.legacy]
    return (
        f"ChArUco {board.squares_x}x{board.squares_y}, squares {board.square_m * 1e3:g} mm, "
        f"markers {board.marker_m * 1e3:g} mm, {board.dictionary}, {legacy}, scale bar measured "
        f"{board.measured_scale:g} of nominal"
    )


def check_stream_width(camera: SessionCamera, stream_width_px: int | None) -> int:
    """The width that a rig file's lens is for; `CalibrationError` where it cannot be."""
    full = camera.intrinsics
    wanted = camera.depth_intrinsics.width_px if stream_width_px is None else stream_width_px
    if wanted < 1 or full.width_px % wanted or full.height_px * wanted % full.width_px:
        raise CalibrationError(
            f"{camera.name}: a stream {wanted} px wide does not divide "
            f"{full.width_px}x{full.height_px} evenly"
        )
    return wanted


def _resolutions(
    camera: SessionCamera, stream_width_px: int | None
) -> tuple[Intrinsics, tuple[Intrinsics, ...]]:
    full = camera.intrinsics
    widths = sorted({full.width_px, camera.depth_intrinsics.width_px, PREVIEW_WIDTH_PX})
    wanted = check_stream_width(camera, stream_width_px)
    others = tuple(
        full.scaled(width / full.width_px)
        for width in widths
        if width != wanted
        and full.width_px % width == 0
        and full.height_px * width % full.width_px == 0
    )
    return full.scaled(wanted / full.width_px), others


def _on_manifold(pose: Float64) -> Float64:
    """Products of many poses drift off SE(3) in the last digits; the rig file is checked for it."""
    return pose_from(Rotation.from_matrix(pose[:3, :3]).as_matrix(), pose[:3, 3])


def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not from a package index"))
    return tuple(found)


def _untouched(path: Path) -> str:
    if not path.exists():
        return "not written"
    try:
        return f"left as it was (verdict {load_rig(path, allow_failed=True).verdict})"
    except RigError:
        return "left as it was"


def _matrix(values: Float64) -> dict[str, Any]:
    rows, columns = values.shape
    return {"rows": rows, "cols": columns, "data": [float(x) for x in values.ravel()]}


def _write(path: Path, document: dict[str, Any] | Sequence[Any]) -> None:
    replace_file(path, yaml.safe_dump(document, sort_keys=False), CalibrationError)
