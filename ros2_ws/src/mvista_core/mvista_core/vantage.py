"""Where a model reads a source camera from, wherever that stands.

A calibrated RGB-D picture can be drawn from another place (`mvista_world.reprojection`), and a
small model reads best from the one place that it saw most: same pitch, same distance, level, aimed
at the workspace. What is left of the camera is its azimuth, since what it does not see cannot be
drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvista_core.camera_range import CameraRange, TrainedCameras, direction, place_of
from mvista_core.errors import ConfigError
from mvista_core.geometry import look_at
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraCalibration, Float64, Intrinsics

SUFFIX = "_vantage"
"""Ends the name of the view that a source is brought to."""


@dataclass(frozen=True)
class Vantage:
    """`distance_m` from the workspace's centre, which it looks at from `pitch_deg` above the table;
    `focal_px` is fx in the model's window.

    Raises:
        ConfigError: from there nothing can be looked at.
    """

    pitch_deg: float = 46.0
    distance_m: float = 0.66
    focal_px: float = 93.49

    def __post_init__(self) -> None:
        # What is right is asked for, and NaN is not.
        if not (0.0 < self.pitch_deg < 90.0 and self.distance_m > 0.0 and self.focal_px > 0.0):
            raise ConfigError(
                f"{self}: a pitch lies within 0 and 90 deg, distance and focal length are above 0"
            )

    def pose(self, base_from_camera: NDArray[np.floating], trained: TrainedCameras) -> Float64:
        """base_from_camera [4, 4] of the vantage of a camera [4, 4]: at its azimuth or, where that
        was held out of training, at the nearest that was not."""
        at = place_of(base_from_camera, trained.centre_m)
        toward = direction(_trained_azimuth_deg(at.azimuth_deg, trained), self.pitch_deg)
        centre = np.array(trained.centre_m)
        return look_at(centre + self.distance_m * toward, centre)

    def lens(self, window: ModelWindow) -> Intrinsics:
        """Of an image that the model's window takes whole."""
        width, height = window.width_px * window.reduce, window.height_px * window.reduce
        focal = self.focal_px * window.reduce
        return Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)

    def of(
        self, camera: CameraCalibration, trained: TrainedCameras, window: ModelWindow
    ) -> CameraCalibration:
        """The camera that would stand there, named after the one that it stands for."""
        pose = self.pose(camera.base_from_camera, trained)
        return CameraCalibration(camera.name + SUFFIX, pose, self.lens(window))


def _trained_azimuth_deg(azimuth_deg: float, trained: TrainedCameras) -> float:
    """Held out are the azimuths strictly inside of a range's two bounds; of fixed cameras none."""
    if not isinstance(trained, CameraRange):
        return azimuth_deg
    least, most = trained.held_out_azimuth_deg
    if not least < azimuth_deg < most:
        return azimuth_deg
    return least if azimuth_deg - least < most - azimuth_deg else most
