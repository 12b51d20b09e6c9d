"""Cameras that a view is asked from: a place on a sphere round the table, or a whole rig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvista_core.camera_range import direction
from mvista_core.errors import ConfigError
from mvista_core.geometry import look_at, rotation_angle_rad
from mvista_core.records import CameraCalibration, Float64, RigCalibration
from mvista_world.cameras import look_at_point

LOWEST_DEG, HIGHEST_DEG = 5.0, 85.0
"""Of pitch: neither beside the table nor straight above, where "up" is undefined."""
NEAREST_M, FARTHEST_M = 0.3, 2.0
TRAINED = "trained_"
"""Before the name of a trained camera that the asked rig lacks."""


@dataclass(frozen=True)
class Viewpoint:
    """Where a camera stands that looks at the rig's look-at point (Eq. 6), upright."""

    azimuth_deg: float
    pitch_deg: float
    distance_m: float

    def __str__(self) -> str:
        return f"azimuth {self.azimuth_deg:g}, pitch {self.pitch_deg:g}, {self.distance_m:g} m"


STANDARD = (
    Viewpoint(22.0, 46.0, 0.74),
    Viewpoint(0.0, 46.0, 0.74),
    Viewpoint(44.0, 46.0, 0.74),
    Viewpoint(90.0, 46.0, 0.74),
    Viewpoint(22.0, 30.0, 0.74),
    Viewpoint(22.0, 46.0, 1.0),
)
"""The shipped rig's cam2, then one thing changed at a time."""


def viewpoints_of(texts: Sequence[str]) -> tuple[Viewpoint, ...]:
    """Each by `parse_viewpoint`; "standard" stands for `STANDARD`."""
    found: list[Viewpoint] = []
    for text in texts:
        found.extend(STANDARD if text == "standard" else (parse_viewpoint(text),))
    return tuple(found)


def parse_viewpoint(text: str) -> Viewpoint:
    """ "AZIMUTH,PITCH,DISTANCE" in degrees and metres.

    Raises:
        ConfigError: not three numbers, or out of range.
    """
    try:
        azimuth_deg, pitch_deg, distance_m = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--camera {text}: three numbers with commas between are wanted, azimuth and pitch in "
            "degrees and distance in metres, e.g. 44,46,0.74; or 'standard'"
        ) from None
    ranges = (
        ("azimuth", azimuth_deg, -180.0, 180.0, "degrees"),
        ("pitch", pitch_deg, LOWEST_DEG, HIGHEST_DEG, "degrees"),
        ("distance", distance_m, NEAREST_M, FARTHEST_M, "m"),
    )
    for name, value, low, high, unit in ranges:
        if not low <= value <= high:
            raise ConfigError(
                f"--camera {text}: {name} {value:g} is not in {low:g}..{high:g} {unit}"
            )
    return Viewpoint(azimuth_deg, pitch_deg, distance_m)


def moved_to(rig: RigCalibration, camera: str, viewpoint: Viewpoint) -> RigCalibration:
    """The rig with one camera elsewhere, its lens kept.

    Raises:
        ConfigError: another camera of the rig stands there already.
    """
    pose = _pose_at(rig, viewpoint)
    for other in rig.cameras:
        if other.name != camera and _same_place(other.base_from_camera, pose):
            raise ConfigError(
                f"--camera at {viewpoint}: '{other.name}' of rig '{rig.name}' stands there already"
            )
    moved = replace(rig.camera(camera), base_from_camera=pose, covariance=None)
    cameras = tuple(moved if one.name == camera else one for one in rig.cameras)
    made = f"{rig.content_hash} with {camera} at {viewpoint}"
    return replace(rig, cameras=cameras, content_hash=made, provenance=None)


def camera_at(rig: RigCalibration, name: str, viewpoint: Viewpoint, lens: str) -> CameraCalibration:
    """A camera that is not the rig's, with the lens of the one named `lens`.

    Raises:
        RigError: the rig has no such camera.
    """
    pose = _pose_at(rig, viewpoint)
    return CameraCalibration(name, pose, rig.camera(lens).intrinsics)


def _pose_at(rig: RigCalibration, viewpoint: Viewpoint) -> Float64:
    centre = look_at_point(_poses(rig.cameras))
    aside = direction(viewpoint.azimuth_deg, viewpoint.pitch_deg)
    return look_at(centre + viewpoint.distance_m * aside, centre)


def beside_trained(
    asked: RigCalibration, trained: RigCalibration, names: Sequence[str]
) -> tuple[RigCalibration, dict[str, str]]:
    """(a rig of the asked cameras and of those trained ones that stand elsewhere, which camera of
    it is a trained one's).

    So one run of the cell films both.
    """
    cameras, found = list(asked.cameras), {}
    for name in names:
        camera = trained.camera(name)
        same = [c.name for c in asked.cameras if _same_view(c, camera)]
        found[name] = same[0] if same else f"{TRAINED}{name}"
        if not same:
            cameras.append(replace(camera, name=found[name]))
    return replace(asked, cameras=tuple(cameras)), found


def nearest_camera(
    asked: CameraCalibration, others: Sequence[CameraCalibration], centre_m: Float64
) -> str:
    """Which of the others is the fewest degrees away, seen from `centre_m`; never the asked one.

    Raises:
        ConfigError: there is none that stands elsewhere.
    """
    elsewhere = [c for c in others if not _same_view(c, asked)]
    if not elsewhere:
        raise ConfigError(f"no trained camera stands elsewhere than '{asked.name}'")
    direction = _direction(asked, centre_m)
    return max(elsewhere, key=lambda other: float(direction @ _direction(other, centre_m))).name


def _direction(camera: CameraCalibration, centre_m: Float64) -> Float64:
    away = camera.base_from_camera[:3, 3] - centre_m
    return np.asarray(away / np.linalg.norm(away))


def _poses(cameras: Sequence[CameraCalibration]) -> Float64:
    return np.stack([camera.base_from_camera for camera in cameras])


def _same_view(one: CameraCalibration, other: CameraCalibration) -> bool:
    same = _same_place(one.base_from_camera, other.base_from_camera)
    return same and one.intrinsics == other.intrinsics


def _same_place(one: Float64, other: Float64) -> bool:
    """Within a millimetre and a twentieth of a degree: no picture tells them apart."""
    apart_m = np.linalg.norm(one[:3, 3] - other[:3, 3])
    return bool(apart_m < 1e-3 and rotation_angle_rad(one[:3, :3].T @ other[:3, :3]) < 1e-3)
