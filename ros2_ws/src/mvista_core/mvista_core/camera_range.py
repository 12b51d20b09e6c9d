"""Where round the workspace cameras may be, and which of those places training never sees.

One definition for all: data are collected inside `TRAINED`, evaluation draws what it holds out, and
a checkpoint can state it (`CameraRange.document`) and refuse what lies outside (`why_outside`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
        pose = np.asarray(base_from_camera, dtype=np.float64)
        right, forward, eye = pose[:3, 0], pose[:3, 2], pose[:3, 3]
        x, y, z = away = eye - np.array(self.centre_m)
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
            ("focal length", window.fx_px, self.focal_px, "px of the model's window"),
        ):
            if not least <= value <= most:  # NaN is not
                return f"{name} {value:.3g} {unit}{self._allowed(least, most, unit)}"
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
