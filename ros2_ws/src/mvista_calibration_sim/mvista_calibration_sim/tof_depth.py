"""What a time-of-flight unit makes of exact depth: its own offset and scale, wiggle, bad pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from mvista_core.records import Float32, Float64

FARTHEST_M = 4.0


@dataclass(frozen=True)
class DepthSettings:
    """Errors of the depth sensors; per-unit ones are drawn once per session.

    The offset and the wiggle act along the ray, as time of flight does. Noise of one frame grows
    with z^2; the mean of `frames` static frames has it divided by sqrt(frames), but not
    `fixed_pattern_m`, which belongs to the pixel. `wiggle_m` is the amplitude's sd of the cyclic
    error over distance. At depth steps beyond `step_m` pixels become a mixture of both surfaces
    (flying pixels) or are lost; `hole_share` of all pixels is lost in blobs.
    """

    offset_sd_m: float = 0.005
    scale_sd: float = 0.002
    wiggle_m: float = 0.0007
    wiggle_period_m: float = 0.37
    noise_m: float = 0.002
    fixed_pattern_m: float = 0.0005
    frames: int = 30
    ink_m: float = 0.001
    step_m: float = 0.03
    flying_share: float = 0.5
    hole_share: float = 0.01


@dataclass(frozen=True)
class TofUnit:
    """One sensor: measured range = (1 + scale_error) r + offset_m + wiggle(r)."""

    offset_m: float
    scale_error: float
    wiggle_m: float
    wiggle_phase_rad: float

    @classmethod
    def drawn(cls, settings: DepthSettings, rng: np.random.Generator) -> TofUnit:
        return cls(
            float(rng.normal(0.0, settings.offset_sd_m)),
            float(rng.normal(0.0, settings.scale_sd)),
            float(abs(rng.normal(0.0, settings.wiggle_m))),
            float(rng.uniform(0.0, 2 * np.pi)),
        )

    def error_m(self, range_m: Float64, settings: DepthSettings) -> Float64:
        """Systematic error of measured range at true range, same shape."""
        phase = 2 * np.pi / settings.wiggle_period_m * range_m + self.wiggle_phase_rad
        return np.asarray(
            self.offset_m + self.scale_error * range_m + self.wiggle_m * np.sin(phase)
        )


def measure(
    exact_m: Float64,
    rays: Float64,
    unit: TofUnit,
    settings: DepthSettings,
    rng: np.random.Generator,
    fixed_m: Float64,
    dark: Float64 | None = None,
) -> Float32:
    """Measured mean depth [H, W] in steps of 0.1 mm, 0 where lost.

    `exact_m` [H, W] is depth along the optical axis at the pixels of `rays` [H, W, 3];
    `fixed_m` [H, W] is the unit's own pattern (`fixed_pattern_m` times standard normal),
    `dark` [H, W] is the share of black ink in each pixel (0 paper).
    """
    stretch = np.sqrt((rays**2).sum(axis=2))
    seen = exact_m < FARTHEST_M
    mixed, lost = _at_steps(np.where(seen, exact_m, FARTHEST_M), settings, rng)
    error = unit.error_m(mixed * stretch, settings)
    if dark is not None:
        error = error + settings.ink_m * dark
    sigma = settings.noise_m / np.sqrt(settings.frames) * mixed**2
    noise = sigma * rng.standard_normal(exact_m.shape, dtype=np.float32)
    measured = mixed + error / stretch + noise + fixed_m
    lost |= ~seen | _blobs(exact_m.shape, settings.hole_share, rng)
    return np.where(lost, 0.0, np.round(measured, 4)).astype(np.float32)


def _at_steps(
    depth: Float64, settings: DepthSettings, rng: np.random.Generator
) -> tuple[Float64, NDArray[np.bool_]]:
    """Depth with flying pixels at steps, and which pixels there are lost instead."""
    low, high = minimum_filter(depth, 3), maximum_filter(depth, 3)
    rows, columns = np.nonzero(high - low > settings.step_m * np.maximum(depth, 0.5))
    lost = np.zeros(depth.shape, dtype=bool)
    mixed = depth.copy()
    draw = rng.random((2, len(rows)))
    a, b = low[rows, columns], high[rows, columns]
    flying = draw[0] < settings.flying_share
    mixed[rows[flying], columns[flying]] = (a + draw[1] * (b - a))[flying]
    gone = draw[0] > 0.5 * (1.0 + settings.flying_share)
    lost[rows[gone], columns[gone]] = True
    return mixed, lost


def _blobs(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Round-ish holes of about 5x5 pixels that cover `share` of the image."""
    holes = np.zeros(shape, dtype=bool)
    count = int(share * holes.size / 25)
    rows = rng.integers(0, max(shape[0] - 4, 1), count)
    columns = rng.integers(0, max(shape[1] - 4, 1), count)
    for down in range(5):
        for right in range(5):
            if {down, right} <= {0, 4}:
                continue
            row = (rows + down).clip(max=shape[0] - 1)
            holes[row, (columns + right).clip(max=shape[1] - 1)] = True
    return holes
