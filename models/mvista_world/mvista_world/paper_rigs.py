"""The paper's three rigs: their images, their lenses where it states them, the preset that fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mvista_core.records import Intrinsics, RigCalibration
from mvista_world.config import ModelConfig


@dataclass(frozen=True)
class PaperRig:
    """Images of one of the paper's rigs and the model preset for them (`presets.PRESETS`).

    `field_of_view_rad` is of the image's `axis` ("width" or "height"), 0 where the paper states
    none: a real camera's lens is measured (`mvista calibrate intrinsics`).
    """

    name: str
    width_px: int
    height_px: int
    preset: str
    axis: str = "width"
    field_of_view_rad: float = 0.0

    @property
    def intrinsics(self) -> Intrinsics | None:
        """The simulated pinhole, its centre in the middle of the image; None for a real camera."""
        if self.field_of_view_rad == 0.0:
            return None
        along = self.width_px if self.axis == "width" else self.height_px
        focal_px = along / 2 / math.tan(self.field_of_view_rad / 2)
        centre = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        return Intrinsics(self.width_px, self.height_px, focal_px, focal_px, *centre)


PAPER_RIGS = (
    # A vision sensor of RLBench's simulator states the angle of its longer side.
    PaperRig("rlbench", 320, 240, "wan22_ti2v_5b_240", "width", math.radians(40.0)),
    PaperRig("robotwin", 320, 240, "wan22_ti2v_5b_240", "height", math.radians(37.0)),
    PaperRig("real", 320, 180, "wan22_ti2v_5b"),
)
"""App. B and C: RLBench, RoboTwin and the real cell."""


def filmed_for(config: ModelConfig, rig: RigCalibration) -> RigCalibration:
    """A rig's cameras, where they are, with images of the size that a preset is for: the paper's,
    or 16:9 of its window's width. Lenses see as wide as before, and as high as that takes."""
    window = config.window
    width = window.width_px * window.reduce
    sizes = {one.preset: (one.width_px, one.height_px) for one in PAPER_RIGS}
    width, height = sizes.get(config.name, (width, width * 9 // 16))

    def filmed(lens: Intrinsics) -> Intrinsics:
        as_wide = lens.scaled(width / lens.width_px)
        return as_wide.cropped(0, (as_wide.height_px - height) // 2, width, height)

    cameras = [replace(camera, intrinsics=filmed(camera.intrinsics)) for camera in rig.cameras]
    return replace(rig, cameras=tuple(cameras), content_hash="")
