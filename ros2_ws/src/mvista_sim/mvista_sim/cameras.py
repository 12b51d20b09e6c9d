"""Rendering: colour and metric depth (z along the optical axis) of the cell's cameras."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from mvista_core.records import CameraFrame, Float32, Float64, RigCalibration


@dataclass(frozen=True)
class TofNoise:
    """Time-of-flight imperfections: noise sd = floor + slope * z^2, holes at depth edges.

    A unit's own errors are systematic: `offset_m`, `scale` (relative), and a wiggle of amplitude
    `wiggle_m` over `wiggle_period_m` of distance. Of the pixels beside a step of over `flying_m` a
    share `flying_share` lies between the two surfaces; `hole_share` of all pixels is lost.
    The default adds nothing; depth is quantised to whole millimetres all the same. What is zero
    draws no random numbers, so that older settings keep giving the same images.
    """

    floor_m: float = 0.0
    slope_per_m: float = 0.0
    edge_m: float = float("inf")
    offset_m: float = 0.0
    scale: float = 0.0
    wiggle_m: float = 0.0
    wiggle_period_m: float = 0.37
    wiggle_phase_rad: float = 0.0
    flying_share: float = 0.0
    flying_m: float = 0.05
    hole_share: float = 0.0

    def apply(self, depth_m: Float32, rng: np.random.Generator) -> Float32:
        """Noisy depth, quantised to millimetres; pixels beside a step above `edge_m` are 0."""
        noisy = depth_m.astype(np.float64)
        if self.floor_m > 0 or self.slope_per_m > 0:
            sigma = self.floor_m + self.slope_per_m * depth_m**2
            noisy += sigma * rng.standard_normal(depth_m.shape)
        if self.offset_m or self.scale or self.wiggle_m:
            noisy += self._systematic(depth_m)
        if self.flying_share > 0:
            noisy = self._flying(noisy, depth_m, rng)
        lost = depth_m <= 0
        if self.hole_share > 0:
            lost |= rng.random(depth_m.shape) < self.hole_share
        if np.isfinite(self.edge_m):
            step_u = np.abs(np.diff(depth_m, axis=1, prepend=depth_m[:, :1]))
            step_v = np.abs(np.diff(depth_m, axis=0, prepend=depth_m[:1]))
            lost |= np.maximum(step_u, step_v) > self.edge_m
        noisy = np.where(lost, 0.0, np.maximum(noisy, 0.0))
        return (np.round(noisy * 1000.0) / 1000.0).astype(np.float32)

    def _systematic(self, depth_m: Float32) -> Float64:
        """The unit's own error at every pixel [H, W], m."""
        phase = 2 * np.pi * depth_m.astype(np.float64) / self.wiggle_period_m
        wiggle = self.wiggle_m * np.sin(phase + self.wiggle_phase_rad)
        return np.asarray(self.offset_m + self.scale * depth_m + wiggle)

    def _flying(self, noisy: Float64, depth_m: Float32, rng: np.random.Generator) -> Float64:
        """Some pixels at steps put between the nearest and the farthest neighbour."""
        near, far = minimum_filter(depth_m, 3), maximum_filter(depth_m, 3)
        chosen = (far - near > self.flying_m) & (rng.random(depth_m.shape) < self.flying_share)
        between = near + (far - near) * rng.random(depth_m.shape)
        return np.where(chosen, between, noisy)


class CellRenderer:
    """Draws one model's cameras; owns a GL context, so use it from the thread that made it."""

    def __init__(self, model: mujoco.MjModel, rig: RigCalibration, noise: TofNoise) -> None:
        self._rig = rig
        self._noise = noise
        first = rig.cameras[0].intrinsics
        self._renderer = mujoco.Renderer(model, first.height_px, first.width_px)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = False

    def frame(
        self, data: mujoco.MjData, camera: str, stamp_ns: int, rng: np.random.Generator
    ) -> CameraFrame:
        """One RGB-D frame of the present state."""
        renderer = self._renderer
        renderer.update_scene(data, camera)
        color = renderer.render()
        renderer.enable_depth_rendering()
        depth = renderer.render().astype(np.float32)
        renderer.disable_depth_rendering()
        return CameraFrame(
            color,
            self._noise.apply(depth, rng),
            self._rig.camera(camera).intrinsics,
            stamp_ns,
            camera,
        )

    def close(self) -> None:
        self._renderer.close()
