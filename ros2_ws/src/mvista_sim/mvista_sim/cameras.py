"""Rendering: colour and metric depth (z along the optical axis) of the cell's cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from mvista_core.records import CameraFrame, Float32, Float64, RigCalibration, UInt8
from mvista_sim.scene import ALL_GROUPS

MOST_GEOMS = 1000
"""That a drawn scene may have; the cell has some thirty."""


@dataclass(frozen=True)
class TofNoise:
    """Time-of-flight imperfections: noise sd = floor + slope * z^2, holes at depth edges.

    A unit's own errors are systematic: `offset_m`, `scale` (relative), and a wiggle of amplitude
    `wiggle_m` over `wiggle_period_m` of distance. Of the pixels beside a step of over `flying_m` a
    share `flying_share` lies between the two surfaces; `hole_share` of all pixels is lost, and of
    surfaces seen at over `grazing_deg` from their normal ever more, all of them at 90 (this alone
    needs the lens's `focal_px`).
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
    grazing_deg: float = 90.0
    focal_px: float = 0.0

    def apply(self, depth_m: Float32, rng: np.random.Generator) -> Float32:
        """Noisy depth, quantised to millimetres; pixels beside a step above `edge_m` are 0."""
        noisy = depth_m.astype(np.float64)
        if self.floor_m > 0 or self.slope_per_m > 0:
            sigma = self.floor_m + self.slope_per_m * depth_m**2
            noisy += sigma * rng.standard_normal(depth_m.shape)
        if self.offset_m or self.scale:
            noisy += self.offset_m + self.scale * depth_m
        if self.wiggle_m:
            phase = 2 * np.pi * depth_m.astype(np.float64) / self.wiggle_period_m
            noisy += self.wiggle_m * np.sin(phase + self.wiggle_phase_rad)
        if self.flying_share > 0:
            noisy = self._flying(noisy, depth_m, rng)
        lost = depth_m <= 0
        if self.hole_share > 0:
            lost |= rng.random(depth_m.shape) < self.hole_share
        if self.grazing_deg < 90.0:
            lost |= self._grazing(depth_m, rng)
        if np.isfinite(self.edge_m):
            step_u = np.abs(np.diff(depth_m, axis=1, prepend=depth_m[:, :1]))
            step_v = np.abs(np.diff(depth_m, axis=0, prepend=depth_m[:1]))
            lost |= np.maximum(step_u, step_v) > self.edge_m
        noisy = np.where(lost, 0.0, np.maximum(noisy, 0.0))
        return (np.round(noisy * 1000.0) / 1000.0).astype(np.float32)

    def _grazing(self, depth_m: Float32, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Pixels [H, W] lost because their surface is seen from the side."""
        across = np.abs(np.diff(depth_m, axis=1, append=depth_m[:, -1:]))
        down = np.abs(np.diff(depth_m, axis=0, append=depth_m[-1:]))
        slope = np.hypot(across, down)
        # Steps between two surfaces say nothing about either's slope.
        limit = np.tan(np.deg2rad(self.grazing_deg)) / self.focal_px
        steep = (slope > limit * depth_m) & (np.maximum(across, down) < self.flying_m)
        angle_deg = np.rad2deg(np.arctan2(slope[steep] * self.focal_px, depth_m[steep]))
        share = (angle_deg - self.grazing_deg) / (90.0 - self.grazing_deg)
        lost = np.zeros(depth_m.shape, dtype=bool)
        lost[steep] = rng.random(len(share)) < share
        return lost

    def _flying(self, noisy: Float64, depth_m: Float32, rng: np.random.Generator) -> Float64:
        """Some pixels at steps put between the nearest and the farthest neighbour."""
        near, far = _window3(depth_m, np.minimum), _window3(depth_m, np.maximum)
        beside = far - near > self.flying_m
        near, far = near[beside], far[beside]
        chosen = rng.random(len(near)) < self.flying_share
        between = near + (far - near) * rng.random(len(near))
        noisy[beside] = np.where(chosen, between, noisy[beside])
        return noisy


def _window3(image: Float32, least_or_most: np.ufunc) -> Float32:
    """The least or greatest of each pixel's 3x3 neighbourhood [H, W]; SciPy's filters take longer
    than drawing the picture."""
    rows = image.copy()
    least_or_most(rows[1:], image[:-1], out=rows[1:])
    least_or_most(rows[:-1], image[1:], out=rows[:-1])
    both = rows.copy()
    least_or_most(both[:, 1:], rows[:, :-1], out=both[:, 1:])
    least_or_most(both[:, :-1], rows[:, 1:], out=both[:, :-1])
    return both


class CellRenderer:
    """Draws a model's cameras; owns a GL context, so use it from the thread that made it.

    Colour and depth come from one pass: mujoco.Renderer draws the scene once for each.
    """

    def __init__(self, model: mujoco.MjModel, rig: RigCalibration, noise: TofNoise) -> None:
        self._noise = noise
        first = rig.cameras[0].intrinsics
        self._size = (first.width_px, first.height_px)
        self._gl = mujoco.GLContext(*self._size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self.show(model, rig)

    def fits(self, rig: RigCalibration) -> bool:
        """Whether `rig`'s images have the size that is drawn."""
        lens = rig.cameras[0].intrinsics
        return self._size == (lens.width_px, lens.height_px)

    def show(self, model: mujoco.MjModel, rig: RigCalibration) -> None:
        """Draw another cell, of the same image size, without the cost of another GL context."""
        self._model, self._rig = model, rig
        extent, depths = model.stat.extent, model.vis.map
        self._near_m, self._far_m = depths.znear * extent, depths.zfar * extent
        self._scene = mujoco.MjvScene(model=model, maxgeom=MOST_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False

    def frame(
        self,
        data: mujoco.MjData,
        camera: str,
        stamp_ns: int,
        rng: np.random.Generator,
        groups: Sequence[int] = ALL_GROUPS,
    ) -> CameraFrame:
        """One RGB-D frame of the present state; what is not in `groups` is left out."""
        color, depth_m = self._draw(data, camera, groups)
        lens = self._rig.camera(camera).intrinsics
        return CameraFrame(color, self._noise.apply(depth_m, rng), lens, stamp_ns, camera)

    def close(self) -> None:
        """Give the GL context back."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _draw(
        self, data: mujoco.MjData, camera: str, groups: Sequence[int]
    ) -> tuple[UInt8, Float32]:
        self._gl.make_current()
        shown = mujoco.MjvOption()
        shown.geomgroup[:] = [group in groups for group in range(len(shown.geomgroup))]
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
        all_bodies = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, shown, None, view, all_bodies, self._scene)
        width, height = self._size
        color = np.empty((height, width, 3), np.uint8)
        buffer = np.empty((height, width), np.float32)
        area = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(area, self._scene, self._context)
        mujoco.mjr_readPixels(color, buffer, area, self._context)
        # The buffer is 1 at the near plane and 0 at the far one, linear in 1 / depth.
        near, far = self._near_m, self._far_m
        depth_m = near * far / (near + (far - near) * buffer.astype(np.float64))
        # OpenGL's first row is the lowest.
        return np.ascontiguousarray(color[::-1]), depth_m[::-1].astype(np.float32)
