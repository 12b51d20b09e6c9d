"""The paper's three rigs: their images, their lenses where it states them, the preset that fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mvista_core.records import Intrinsics


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
