"""One camera unlike the next: colour gain, white balance, and the errors of its depth.

The depth sensor of a Femto Bolt is an Azure Kinect's. Its random error grows with the distance,
pixels at edges lie between the two surfaces, and surfaces seen from the side are lost (Toelgyessy
et al., "Evaluation of the Azure Kinect and Its Comparison to Kinect V1 and Kinect V2", Sensors
21(2):413, 2021; noise that grows with the square of the distance as in Nguyen, Izadi and Lovell,
"Modeling Kinect Sensor Noise", 3DIMPVT 2012). How strong each is, is drawn; the bounds are our
choice, within the data sheet's 17 mm of random and 11 mm + 0.1 % of systematic error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mvista_core.records import CameraFrame
from mvista_sim.cameras import TofNoise


@dataclass(frozen=True)
class Sensor:
    """How one camera differs from an ideal one; the default does not."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    depth: TofNoise = field(default_factory=TofNoise)

    @classmethod
    def drawn(cls, rng: np.random.Generator, focal_px: float) -> Sensor:
        """One unit; `focal_px` is its lens's."""
        exposure, balance = rng.uniform(0.8, 1.2), rng.uniform(0.93, 1.07, 3)
        red, green, blue = (float(exposure * share) for share in balance)
        depth = TofNoise(
            floor_m=float(rng.uniform(0.0005, 0.0015)),
            slope_per_m=float(rng.uniform(0.0005, 0.0025)),
            offset_m=float(rng.normal(0.0, 0.002)),
            scale=float(rng.normal(0.0, 0.001)),
            flying_share=float(rng.uniform(0.2, 0.6)),
            flying_m=0.04,
            hole_share=float(rng.uniform(0.0, 0.004)),
            grazing_deg=float(rng.uniform(72.0, 80.0)),
            focal_px=focal_px,
        )
        return cls((red, green, blue), depth)

    def frame(self, ideal: CameraFrame, rng: np.random.Generator) -> CameraFrame:
        """What this camera gives of what an ideal one sees."""
        levels = np.clip(np.rint(np.outer(np.arange(256), self.gain)), 0, 255).astype(np.uint8)
        color = np.stack([levels[ideal.color[..., k], k] for k in range(3)], axis=-1)
        return replace(ideal, color=color, depth_m=self.depth.apply(ideal.depth_m, rng))

    def noiseless(self) -> Sensor:
        """The same colours, with ideal depth."""
        return replace(self, depth=TofNoise())
