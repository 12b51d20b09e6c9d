"""What a session must satisfy to be used; every message names camera, frame, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.board.pose import distortion
from mvista_calibration.records import Board, BoardView, DepthImage, SessionCamera
from mvista_calibration.session.layout import BoardShot, SessionHeader
from mvista_core.errors import CalibrationError
from mvista_core.records import Float32, Float64, Intrinsics
from mvista_core.timing import ns_to_seconds

DISTORTION_LENGTHS = (0, 4, 5, 8, 12, 14)
RADIAL_AND_TANGENTIAL = 8
"""Coefficients of `mvista_core.lens` and of ROS; the later ones of OpenCV must be zero."""
"""Accepted by count, not by the model's name: drivers publish plumb_bob with eight values."""

DEPTH_RATIO = (0.8, 1.25)
"""Depth over the board's distance from its size: a wrong unit is off by 10 or 1000, sensors are
within 3 %. Smaller disagreements (a misprinted board) are the gate's to find."""

LEAST_DEPTH_SAMPLES = 6
"""Corners with valid depth that make a ratio."""

FARTHEST_M = 20.0
"""Depth beyond this is no metre value of these cameras."""

LEAST_MIDDLE_M = 0.05
"""A median below this is of another unit: these cameras see nothing so near."""

LARGEST_APART_S = 5.0
"""Pictures of one shot: a recorded shot averages depth for some seconds, and a board that is held
stands no longer. Two that are farther apart are of different places."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A camera's name is part of its files' names."""


def check_header(header: SessionHeader, where: str) -> None:
    """Cameras' names, serials, lenses; poses. `where` is the file or the caller's words."""
    names = [camera.name for camera in header.cameras]
    if not names:
        raise CalibrationError(f"{where}: no cameras; list at least one")
    for kind, values in (
        ("name", names),
        ("serial", [camera.serial for camera in header.cameras if camera.serial]),
    ):
        value, count = Counter(values).most_common(1)[0] if values else ("", 0)
        if count > 1:
            raise CalibrationError(f"{where}: {count} cameras have the {kind} '{value}'; one each")
    for camera in header.cameras:
        if not NAME.fullmatch(camera.name):
            raise CalibrationError(
                f"{where}: a camera is named '{camera.name}'; files are named after it: letters, "
                "digits, '.', '_' and '-' only"
            )
        check_lens(camera.intrinsics, f"{where}: {camera.name}, intrinsics")
        check_lens(camera.depth_intrinsics, f"{where}: {camera.name}, depth_intrinsics")
    if header.base_from_board is not None:
        check_pose(header.base_from_board, f"{where}: base_from_board")


def check_lens(lens: Intrinsics, where: str) -> None:
    """K must fit the image size it claims: focal lengths alike, the axis near the middle."""
    width, height = lens.width_px, lens.height_px
    values = (lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px, *lens.distortion)
    if width < 1 or height < 1 or not np.isfinite(values).all():
        raise CalibrationError(f"{where}: {width}x{height} with {values}: not a camera")
    if len(lens.distortion) not in DISTORTION_LENGTHS:
        raise CalibrationError(
            f"{where}: {len(lens.distortion)} distortion coefficients; "
            f"allowed are {DISTORTION_LENGTHS}"
        )
    if any(lens.distortion[RADIAL_AND_TANGENTIAL:]):
        raise CalibrationError(
            f"{where}: coefficients {RADIAL_AND_TANGENTIAL + 1} and later of {lens.distortion} are "
            "thin prism and tilt, which nothing that reads a rig knows; calibrate the lens with "
            "eight (`mvista calibrate intrinsics`)"
        )
    off_x, off_y = lens.cx_px / width - 0.5, lens.cy_px / height - 0.5
    if max(abs(off_x), abs(off_y)) > 0.15:
        raise CalibrationError(
            f"{where}: K disagrees with the image size: principal point "
            f"({lens.cx_px:.1f}, {lens.cy_px:.1f}) of a {width}x{height} image lies "
            f"{max(abs(off_x), abs(off_y)):.0%} from its middle, at most 15 %; was K measured at "
            "another resolution? Scale it (`scale_intrinsics`) or give that of this mode"
        )
    ratio, view = lens.fx_px / lens.fy_px, lens.fx_px / width
    if not 0.9 < ratio < 1.11 or not 0.2 < view < 10.0:
        raise CalibrationError(
            f"{where}: K disagrees with the image size: fx {lens.fx_px:.1f}, fy {lens.fy_px:.1f} "
            f"for {width}x{height}; fx/fy must lie in 0.9 to 1.11 and fx/width in 0.2 to 10"
        )


def check_pose(pose: Float64, where: str) -> None:
    """A 4x4 rigid transform to 1e-4."""
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise CalibrationError(f"{where}: a pose is 4x4 finite numbers, not {pose.shape}")
    turn = pose[:3, :3]
    error = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if error > 1e-4 or np.linalg.det(turn) < 0 or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-9:
        raise CalibrationError(
            f"{where}: not a rigid transform (R R' differs from 1 by {error:.2g}, at most 0.0001; "
            f"det {np.linalg.det(turn):+.3f}): give a rotation matrix and metres, last row 0 0 0 1"
        )


def check_stamps(stamps_ns: Mapping[str, int], where: str) -> None:
    """Pictures of one shot belong together: stamps (0: not known) within `LARGEST_APART_S`."""
    known = {name: stamp for name, stamp in stamps_ns.items() if stamp > 0}
    if len(known) < 2:
        return
    first, last = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
    apart_s = ns_to_seconds(known[last] - known[first])
    if apart_s > LARGEST_APART_S:
        raise CalibrationError(
            f"{where}: {last}'s picture is {apart_s:.1f} s later than {first}'s, at most "
            f"{LARGEST_APART_S:g} s: are they of one shot, and stamped by one clock? Record the "
            "shot again, or delete it"
        )


def check_shot(header: SessionHeader, shot: BoardShot, number: int) -> None:
    """A shot about to be written: known cameras, sizes as their intrinsics say, depth in metres."""
    cameras = {camera.name: camera for camera in header.cameras}
    if not shot.images:
        raise CalibrationError(f"shot {number}: no images; give at least one camera's")
    for image in shot.images:
        where = f"{image.camera}, shot {number}"
        if image.camera not in cameras:
            raise CalibrationError(f"{where}: unknown camera; the session has {sorted(cameras)}")
        lens = cameras[image.camera].intrinsics
        shapes = ((lens.height_px, lens.width_px), (lens.height_px, lens.width_px, 3))
        if image.color.dtype != np.uint8 or image.color.shape not in shapes:
            raise CalibrationError(
                f"{where}: colour is {image.color.dtype} {image.color.shape}, its intrinsics say "
                f"uint8 {shapes[0]} or {shapes[1]}; use one mode of the camera throughout"
            )
        if image.depth_m is None and header.depth:
            raise CalibrationError(
                f"{where}: depth is missing; record it, or make the session with depth=False"
            )
        if image.depth_m is not None:
            check_depth_m(image.depth_m, cameras[image.camera], where)
    check_stamps({image.camera: image.stamp_ns for image in shot.images}, f"shot {number}")
    if shot.base_from_gripper is not None:
        check_pose(shot.base_from_gripper, f"shot {number}: base_from_gripper")


def check_depth_m(depth_m: Float32, camera: SessionCamera, where: str) -> None:
    """Depth about to be written: floating point metres of the right size."""
    lens = camera.depth_intrinsics
    if depth_m.shape != (lens.height_px, lens.width_px):
        raise CalibrationError(
            f"{where}: depth is {depth_m.shape}, its depth_intrinsics say "
            f"{(lens.height_px, lens.width_px)}"
        )
    if not np.issubdtype(depth_m.dtype, np.floating):
        raise CalibrationError(
            f"{where}: depth is {depth_m.dtype}; give float32 metres (raw millimetres times 0.001)"
        )
    valid = depth_m[np.isfinite(depth_m) & (depth_m != 0)]
    if valid.size and (valid.min() < 0 or np.median(valid) > FARTHEST_M):
        raise CalibrationError(
            f"{where}: depth from {valid.min():.3g} with median {np.median(valid):.3g} is in the "
            f"wrong unit: metres lie in 0 to {FARTHEST_M:.0f}; millimetres? Multiply by 0.001"
        )


def check_sizes(camera: SessionCamera, sizes: Mapping[str, tuple[int, int]]) -> None:
    """One resolution per camera, the one its K belongs to; `sizes` is (width, height) by file."""
    lens = camera.intrinsics
    claimed = (lens.width_px, lens.height_px)
    counts = Counter(sizes.values())
    if len(counts) > 1:
        usual = claimed if claimed in counts else counts.most_common(1)[0][0]
        odd = [file for file, size in sizes.items() if size != usual]
        size = sizes[odd[0]]
        raise CalibrationError(
            f"{camera.name}, {odd[0]}: mixed resolutions: {size[0]}x{size[1]}, but {counts[usual]} "
            f"of its {len(sizes)} frames are {usual[0]}x{usual[1]}; {len(odd)} such frames: record "
            "all shots in one mode, or delete those"
        )
    for file, size in sizes.items():
        if size != claimed:
            raise CalibrationError(
                f"{camera.name}, {file}: K disagrees with the image size: its intrinsics are of "
                f"{claimed[0]}x{claimed[1]}, the image is {size[0]}x{size[1]}; give the intrinsics "
                "of this mode in session.yaml (or scale them with `scale_intrinsics`)"
            )


def metres_from_stored(
    stored: NDArray[np.generic] | None, camera: SessionCamera, where: str, unit_m: float = 1e-3
) -> Float32:
    """Metres [H, W] of a stored 16-bit image in steps of `unit_m`, checked.

    Raises:
        CalibrationError: no file, not 16 bits of one channel, wrong size, or not millimetres.
    """
    if stored is None:
        raise CalibrationError(
            f"{where}: depth is missing or unreadable (or only a part of a picture); record the "
            "shot again, delete the shot, or set `depth: false` in session.yaml (the rig then "
            "rests on the board alone)"
        )
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise CalibrationError(
            f"{where}: depth is {stored.dtype} {stored.shape}; it must be a 16-bit gray PNG in "
            "millimetres (8 bits or colours are a picture of depth, not depth)"
        )
    lens = camera.depth_intrinsics
    if stored.shape != (lens.height_px, lens.width_px):
        raise CalibrationError(
            f"{where}: depth is {stored.shape[1]}x{stored.shape[0]}, depth_intrinsics say "
            f"{lens.width_px}x{lens.height_px}; give those of the depth image registered to colour"
        )
    steps = stored.astype(np.float64)
    valid = steps[steps > 0]
    if valid.size == 0:
        raise CalibrationError(f"{where}: depth is empty (all 0); check the depth stream")
    middle = float(np.median(valid))
    if middle * unit_m < LEAST_MIDDLE_M:
        raise CalibrationError(
            f"{where}: depth in the wrong unit: its median is {middle:.0f}, which would be "
            f"{middle * unit_m * 1e3:.0f} mm; store millimetres (metres times 1000), or say "
            "another unit by depth_unit_mm in shot.yaml"
        )
    return np.asarray(steps * unit_m, dtype=np.float32)


def check_depth_against_board(
    camera: SessionCamera, board: Board, views: Sequence[BoardView], images: Sequence[DepthImage]
) -> None:
    """Depth where the board is must be about what the board's size says, in each shot.

    Raises:
        CalibrationError: another unit, or no depth on the board in any shot.
    """
    depth_of = {image.shot: image.depth_m for image in images}
    checked, looked = 0, 0
    for view in views:
        if view.shot not in depth_of:
            continue
        looked += 1
        ratio = _depth_ratio(camera, board, view, depth_of[view.shot])
        if ratio is None:
            continue
        checked += 1
        if not DEPTH_RATIO[0] <= ratio <= DEPTH_RATIO[1]:
            raise CalibrationError(
                f"{camera.name}, shot {view.shot} ({view.source}): depth is {ratio:.3g} times the "
                f"board's distance ({DEPTH_RATIO[0]} to {DEPTH_RATIO[1]} allowed): "
                f"{_likely_cause(ratio)}"
            )
    # One shot's board may be too near or too far for depth; all of them are no accident.
    if looked and not checked:
        raise CalibrationError(
            f"{camera.name}: depth is missing on the board in all {looked} shots from shot "
            f"{views[0].shot} on; register depth to colour, and hold the board 0.3 to 3 m away"
        )


def _likely_cause(ratio: float) -> str:
    for factor in (1e-3, 1e-2, 0.1, 10.0, 100.0, 1e3):
        if 0.7 < ratio / factor < 1.4:
            return f"depth is in the wrong unit; it is stored in millimetres, divide by {factor:g}"
    return (
        "depth in the wrong unit, not registered to colour, or a board of another square size than "
        "session.yaml says; measure a square"
    )


def _depth_ratio(
    camera: SessionCamera, board: Board, view: BoardView, depth_m: Float32
) -> float | None:
    """Median of depth over distance at the corners, or None with too little valid depth."""
    lens, other = camera.intrinsics, camera.depth_intrinsics
    points = board.corners_m[view.corner_ids]
    found, turn, shift = cv2.solvePnP(
        points, view.corners_px, lens.matrix, distortion(lens), flags=cv2.SOLVEPNP_IPPE
    )
    if not found:
        return None
    in_camera = points @ cv2.Rodrigues(turn)[0].T + shift.reshape(3)
    pixels, _ = cv2.projectPoints(
        in_camera, np.zeros(3), np.zeros(3), other.matrix, distortion(other)
    )
    at = np.rint(pixels.reshape(-1, 2)).astype(int)
    inside = (at >= 0).all(axis=1) & (at < (other.width_px, other.height_px)).all(axis=1)
    measured = depth_m[at[inside, 1], at[inside, 0]]
    valid = measured > 0
    if valid.sum() < LEAST_DEPTH_SAMPLES:
        return None
    # Depth is z along the optical axis, and not the length of the ray.
    return float(np.median(measured[valid] / in_camera[inside][valid, 2]))
