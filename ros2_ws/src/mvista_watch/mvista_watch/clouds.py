"""What the cameras see now as one cloud in the base frame, thin enough to be sent to a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvista_core.geometry import back_project, transform_points
from mvista_core.records import Float32, RigCalibration, UInt8

COLUMNS = 160
"""Of an image at most so many are kept: four cameras are 60 thousand points, before the box."""
LOWER_M, UPPER_M = (-0.35, -0.7, -0.05), (0.95, 0.7, 0.9)
"""Box of the base frame that is shown: arm, table top, and what stands on it."""


@dataclass(frozen=True)
class Cloud:
    """points_m float32 [N, 3] in the base frame, color uint8 [N, 3]."""

    points_m: Float32
    color: UInt8

    @classmethod
    def joined(cls, clouds: Sequence[Cloud]) -> Cloud:
        """All points of several clouds; none of none."""
        if not clouds:
            return cls(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        return cls(
            np.concatenate([cloud.points_m for cloud in clouds]),
            np.concatenate([cloud.color for cloud in clouds]),
        )

    def tinted(self, tint: tuple[int, int, int], share: float) -> Cloud:
        """The same points, their colours drawn to `tint` by `share` of the way."""
        mixed = self.color * (1.0 - share) + np.array(tint) * share
        return Cloud(self.points_m, np.rint(mixed).astype(np.uint8))


class LiveCloud:
    """Fuses colour and depth by the rig's calibration; directions of pixels are kept."""

    def __init__(self, rig: RigCalibration) -> None:
        self._rig = rig
        self._rays: dict[tuple[str, int, int], Float32] = {}

    def of(self, camera: str, color: UInt8, depth_mm: np.ndarray) -> Cloud:
        """One camera's: colour uint8 [H, W, 3] and depth uint16 [H, W] registered to it, mm.

        Empty where the two are of different sizes, or of a size that the rig has no lens for.
        """
        height, width = depth_mm.shape
        rays = self._directions(camera, width, height)
        if rays is None or color.shape[:2] != depth_mm.shape:
            return Cloud.joined(())
        step = -(-width // COLUMNS)
        depth_m = depth_mm[::step, ::step].astype(np.float32) * np.float32(1e-3)
        pose = self._rig.camera(camera).base_from_camera
        points_m: Float32 = depth_m[..., None] * rays + pose[:3, 3].astype(np.float32)
        inside = (depth_m > 0) & (points_m > LOWER_M).all(-1) & (points_m < UPPER_M).all(-1)
        return Cloud(points_m[inside], color[::step, ::step][inside])

    def _directions(self, camera: str, width: int, height: int) -> Float32 | None:
        """Of each kept pixel [h, w, 3] in the base frame, 1 m of depth long."""
        key = (camera, width, height)
        if key not in self._rays:
            found = self._rig.camera(camera)
            fits = [
                lens
                for lens in (found.intrinsics, *found.other_intrinsics)
                if (lens.width_px, lens.height_px) == (width, height)
            ]
            if not fits:
                return None
            turn = found.base_from_camera.copy()
            turn[:3, 3] = 0.0
            rays = transform_points(turn, back_project(np.ones((height, width)), fits[0].matrix))
            step = -(-width // COLUMNS)
            self._rays[key] = rays[::step, ::step].astype(np.float32)
        return self._rays[key]
