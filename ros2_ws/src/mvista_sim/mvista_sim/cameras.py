"""Rendering: colour and metric depth (z along the optical axis) of the cell's cameras."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from mvista_core.records import CameraFrame, Float32, RigCalibration


@dataclass(frozen=True)
class TofNoise:
    """Time-of-flight imperfections: noise sd = floor + slope * z^2, holes at depth edges.

    The default adds nothing; depth is quantised to whole millimetres all the same.
    """

    floor_m: float = 0.0
    slope_per_m: float = 0.0
    edge_m: float = float("inf")

    def apply(self, depth_m: Float32, rng: np.random.Generator) -> Float32:
        """Noisy depth, quantised to millimetres; pixels beside a step above `edge_m` are 0."""
        noisy = depth_m.astype(np.float64)
        if self.floor_m > 0 or self.slope_per_m > 0:
            sigma = self.floor_m + self.slope_per_m * depth_m**2
            noisy += sigma * rng.standard_normal(depth_m.shape)
        lost = depth_m <= 0
        if np.isfinite(self.edge_m):
            step_u = np.abs(np.diff(depth_m, axis=1, prepend=depth_m[:, :1]))
            step_v = np.abs(np.diff(depth_m, axis=0, prepend=depth_m[:1]))
            lost |= np.maximum(step_u, step_v) > self.edge_m
        noisy = np.where(lost, 0.0, np.maximum(noisy, 0.0))
        return (np.round(noisy * 1000.0) / 1000.0).astype(np.float32)


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
