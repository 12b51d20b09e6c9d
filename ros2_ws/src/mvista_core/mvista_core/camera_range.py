"""Where round the workspace cameras may be, and which of those places training never sees.

One definition for all: data are collected inside `TRAINED`, evaluation draws what it holds out, and
a checkpoint states what it was trained on (`document`): such a range, or the few cameras of a rig
that never moved (`FixedCameras`). A planner refuses what lies outside (`why_outside`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ConfigError
from mvista_core.records import Float64, Intrinsics

LARGEST_GAP_DEG = 90.0
"""App. A, "Training View Selection": every view of a sample has another one within this angle."""


@dataclass(frozen=True)
class CameraPlace:
    """Where one camera is from the workspace's centre, as seen from above: azimuth 0 along base x.

    `aim_m` is how far its optical axis passes from the centre (behind it: the distance itself);
    roll is 0 with a level horizon, about the optical axis.
    """

    azimuth_deg: float
    pitch_deg: float
    distance_m: float
    roll_deg: float
    aim_m: float


def place_of(
    base_from_camera: NDArray[np.floating], centre_m: tuple[float, float, float]
) -> CameraPlace:
    """A pose [4, 4] as seen from a workspace's centre (base frame)."""
    pose = np.asarray(base_from_camera, dtype=np.float64)
    right, forward, eye = pose[:3, 0], pose[:3, 2], pose[:3, 3]
    x, y, z = away = eye - np.array(centre_m)
    distance = float(np.linalg.norm(away))
    level = np.cross(forward, [0.0, 0.0, 1.0])
    roll = np.arctan2(right @ np.cross(forward, level), right @ level)
    aside = away + max(-away @ forward, 0.0) * forward
    return CameraPlace(
        float(np.rad2deg(np.arctan2(y, x))),
        float(np.rad2deg(np.arctan2(z, np.hypot(x, y)))),
        distance,
        float(np.rad2deg(roll)),
        float(np.linalg.norm(aside)),
    )


def direction(azimuth_deg: float, pitch_deg: float) -> Float64:
    """From the workspace's centre to a camera (`CameraPlace`): a unit vector [3], base axes."""
    azimuth, pitch = np.deg2rad([azimuth_deg, pitch_deg])
    level = np.cos(pitch)
    return np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(pitch)])


@dataclass(frozen=True)
class CameraRange:
    """Bounds (both included) of cameras round `centre_m` in the base frame, and what is held out.

    `focal_px` is fx in the model's window. Held out of training are the azimuths and the pitches
    strictly inside their two bounds, and distances over `far_m`.
    """

    centre_m: tuple[float, float, float]
    pitch_deg: tuple[float, float]
    distance_m: tuple[float, float]
    roll_deg: tuple[float, float]
    aim_m: float
    focal_px: tuple[float, float]
    held_out_azimuth_deg: tuple[float, float]
    held_out_pitch_deg: tuple[float, float]
    far_m: float

    def place(self, base_from_camera: NDArray[np.floating]) -> CameraPlace:
        """A pose [4, 4] from the workspace's centre."""
        return place_of(base_from_camera, self.centre_m)

    def why_outside(self, base_from_camera: NDArray[np.floating], window: Intrinsics) -> str:
        """Why no camera like this one was trained on, with number and range; "" where some were."""
        return self.why_beyond(base_from_camera, window) or self.why_held_out(base_from_camera)

    def why_beyond(self, base_from_camera: NDArray[np.floating], window: Intrinsics) -> str:
        """Why neither training nor evaluation has such cameras; "" where one of them has."""
        at = self.place(base_from_camera)
        for name, value, (least, most), unit in (
            ("pitch", at.pitch_deg, self.pitch_deg, "deg"),
            ("distance", at.distance_m, self.distance_m, "m"),
            ("roll", at.roll_deg, self.roll_deg, "deg"),
            ("distance of the optical axis", at.aim_m, (0.0, self.aim_m), "m"),
        ):
            if not least <= value <= most:  # NaN is not
                return f"{name} {value:.3g} {unit}{self._allowed(least, most, unit)}"
        least, most = self.focal_px
        if not least <= window.fx_px <= most:
            return (
                f"focal length {window.fx_px:.4g} px of the model's window is outside {least:g} to "
                f"{most:g} px"
            )
        return ""

    def why_held_out(self, base_from_camera: NDArray[np.floating]) -> str:
        """What of this place was kept from training; "" where nothing was."""
        at = self.place(base_from_camera)
        for name, value, (least, most) in (
            ("azimuth", at.azimuth_deg, self.held_out_azimuth_deg),
            ("pitch", at.pitch_deg, self.held_out_pitch_deg),
        ):
            if least < value < most:
                return (
                    f"{name} {value:.3g} deg lies within {least:g} to {most:g} deg, which was held "
                    "out of training"
                )
        if at.distance_m > self.far_m:
            allowed = self._allowed(self.distance_m[0], self.far_m, "m")
            return f"distance {at.distance_m:.3g} m{allowed}; what is farther was held out"
        return ""

    def document(self) -> dict[str, Any]:
        """For a JSON file; `parse` reads it."""
        return asdict(self)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> CameraRange:
        """What `document` gave, from JSON.

        Raises:
            ConfigError: a field is missing, unknown or no number.
        """
        try:
            fields = {
                key: tuple(float(x) for x in value)
                if isinstance(value, list | tuple)
                else float(value)
                for key, value in document.items()
            }
            return cls(**fields)  # type: ignore[arg-type]
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"not a range of cameras ({error}): {document}") from None

    def _allowed(self, least: float, most: float, unit: str) -> str:
        return f" is outside {least:g} to {most:g} {unit}, from {list(self.centre_m)} m"


@dataclass(frozen=True)
class FixedCameras:
    """Cameras that stood in the same places in every episode; their places round `centre_m`.

    `focal_px` are their least and largest fx in the model's window. What is nearer to one of them
    than the `SAME_*` bounds counts as that one.
    """

    centre_m: tuple[float, float, float]
    places: tuple[CameraPlace, ...]
    focal_px: tuple[float, float]

    @classmethod
    def of(
        cls, poses: Sequence[NDArray[np.floating]], windows: Sequence[Intrinsics]
    ) -> FixedCameras:
        """Of poses [4, 4] and the lenses of the model's window, round `TRAINED`'s centre."""
        focal = [lens.fx_px for lens in windows]
        centre = TRAINED.centre_m
        places = tuple(place_of(pose, centre) for pose in poses)
        return cls(centre, places, (min(focal), max(focal)))

    def why_outside(self, base_from_camera: NDArray[np.floating], window: Intrinsics) -> str:
        """Why this is none of the cameras, with number and bound; "" where it is one."""
        at = place_of(base_from_camera, self.centre_m)
        offsets = min((_offsets(at, place) for place in self.places), key=_farthest)
        for offset in offsets:
            if not offset.share <= 1.0:  # NaN is not
                return (
                    f"{offset.name} {offset.value:.3g} {offset.unit} is not within "
                    f"{offset.bound:g} {offset.unit} of {offset.trained:.3g} {offset.unit}, the "
                    f"nearest of the {len(self.places)} fixed cameras "
                    f"(azimuths {', '.join(f'{p.azimuth_deg:.0f}' for p in self.places)} deg, "
                    f"from {list(self.centre_m)} m)"
                )
        least, most = (
            self.focal_px[0] * (1 - SAME_FOCAL),
            self.focal_px[1] * (1 + SAME_FOCAL),
        )
        if not least <= window.fx_px <= most:
            return (
                f"focal length {window.fx_px:.4g} px of the model's window is outside {least:.4g} "
                f"to {most:.4g} px, that of the {len(self.places)} fixed cameras"
            )
        return ""

    def document(self) -> dict[str, Any]:
        """For a JSON file; `trained_cameras` reads it."""
        return asdict(self)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> FixedCameras:
        """What `document` gave, from JSON.

        Raises:
            ConfigError: a field is missing, unknown or no number.
        """
        try:
            places = tuple(
                CameraPlace(**{key: float(value) for key, value in place.items()})
                for place in document["places"]
            )
            x, y, z = (float(v) for v in document["centre_m"])
            least, most = (float(v) for v in document["focal_px"])
            if not places:
                raise ValueError("no places")
            return cls((x, y, z), places, (least, most))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"not a set of fixed cameras ({error}): {document}") from None


SAME_DEG, SAME_M, SAME_FOCAL = 5.0, 0.05, 0.05
"""How far a camera may stand from a fixed one and count as it: a rig that was built again, not
another view. At 22 degrees aside the depth error of a model of fixed cameras is 2.5 times as large.
"""


@dataclass(frozen=True)
class _Offset:
    """One number of a camera's place beside a fixed camera's, and how far apart they may be."""

    name: str
    unit: str
    value: float
    trained: float
    bound: float

    @property
    def share(self) -> float:
        """Of the bound; over 1 it is another camera."""
        off = self.value - self.trained
        if self.unit == "deg":
            off = (off + 180.0) % 360.0 - 180.0
        return abs(off) / self.bound


def _offsets(at: CameraPlace, place: CameraPlace) -> tuple[_Offset, ...]:
    return (
        _Offset("azimuth", "deg", at.azimuth_deg, place.azimuth_deg, SAME_DEG),
        _Offset("pitch", "deg", at.pitch_deg, place.pitch_deg, SAME_DEG),
        _Offset("distance", "m", at.distance_m, place.distance_m, SAME_M),
        _Offset("roll", "deg", at.roll_deg, place.roll_deg, SAME_DEG),
        _Offset("distance of the optical axis", "m", at.aim_m, place.aim_m, SAME_M),
    )


def _farthest(offsets: Sequence[_Offset]) -> float:
    return max(offset.share for offset in offsets)


TrainedCameras = CameraRange | FixedCameras


def trained_cameras(document: Mapping[str, Any]) -> TrainedCameras:
    """Either kind, from JSON.

    Raises:
        ConfigError: it is neither.
    """
    return (FixedCameras if "places" in document else CameraRange).parse(document)


TRAINED = CameraRange(
    centre_m=(0.33, 0.0, 0.05),
    pitch_deg=(25.0, 65.0),
    distance_m=(0.55, 1.1),
    roll_deg=(-8.0, 8.0),
    aim_m=0.05,
    # A Femto Bolt's 747.9 px at 1280x720, at an eighth, and 15 % to either side.
    focal_px=(79.46, 107.52),
    held_out_azimuth_deg=(75.0, 105.0),
    held_out_pitch_deg=(28.0, 35.0),
    far_m=1.0,
)
"""Of the simulated cell's drawn rigs. `sim_cell`'s own four cameras lie inside."""

SIM_CELL = FixedCameras(
    TRAINED.centre_m,
    tuple(CameraPlace(azimuth, 46.0, 0.74, 0.0, 0.0) for azimuth in (-66.0, -22.0, 22.0, 66.0)),
    (93.49, 93.49),
)
"""The cell's own four. Checkpoints that do not state their cameras were trained on these."""
TABLE_TOP_M = 0.0
"""Height of the table in the base frame: from below nothing of the workspace is seen."""


def why_blind(base_from_camera: NDArray[np.floating]) -> str:
    """Why no view of the workspace can be had from a pose [4, 4]; "" where one can."""
    pose = np.asarray(base_from_camera, dtype=np.float64)
    height_m = float(pose[2, 3])
    if not height_m > TABLE_TOP_M:
        return (
            f"stands at z {height_m:.3g} m, not above the table's top (z {TABLE_TOP_M:g} m of the "
            "base frame)"
        )
    ahead_m = float(pose[:3, 2] @ (np.array(TRAINED.centre_m) - pose[:3, 3]))
    if not ahead_m > 0.0:
        return (
            f"has the workspace's centre {list(TRAINED.centre_m)} m behind it (z {ahead_m:.3g} m "
            "of its optical frame); it must lie before it"
        )
    return ""


def gaps_deg(base_from_camera: NDArray[np.floating], centre_m: NDArray[np.floating]) -> Float64:
    """Angles [V, V] between cameras [V, 4, 4] as seen from above a centre [3], 0 to 180."""
    away = np.asarray(base_from_camera, dtype=np.float64)[:, :2, 3] - np.asarray(centre_m)[:2]
    azimuth = np.rad2deg(np.arctan2(away[:, 1], away[:, 0]))
    turned = azimuth[:, None] - azimuth[None]
    return np.abs((turned + 180.0) % 360.0 - 180.0)


def sees_a_neighbour(gaps: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which views [..., V] of `gaps_deg` [..., V, V] have another within `LARGEST_GAP_DEG`.

    A view that is alone in its sample is asked for nothing.
    """
    near = (gaps <= LARGEST_GAP_DEG) & ~np.eye(gaps.shape[-1], dtype=bool)
    return np.asarray(near.any(axis=-1) | (gaps.shape[-1] == 1))
