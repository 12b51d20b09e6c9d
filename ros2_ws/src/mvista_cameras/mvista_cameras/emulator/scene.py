"""What an emulated camera looks at: a tilted, chequered wall with a ball before it.

Rendered by ray casting, so that the depth of every pixel is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.geometry import pose_from
from mvista_core.lens import pixel_rays
from mvista_core.records import Float64, Intrinsics, UInt8, UInt16

FEMTO_BOLT_COLOR = Intrinsics(
    1280, 720, 747.9, 747.2, 634.7, 372.5, (0.0784, -0.1104, 1e-4, -5e-5, 0.0465)
)
FEMTO_BOLT_DEPTH = Intrinsics(
    640, 576, 505.3, 505.2, 338.7, 325.5, (8.69, 4.47, 1e-4, -5e-5, 0.173, 9.02, 7.38, 1.06)
)
"""Calibrations of the order that two units reported; lens coefficients in OpenCV's order."""

GRAIN, GRAIN_SEED = 3.0, 1
"""Standard deviation in grey levels; one field for every picture of a camera."""
DEPTH_NOISE, HOLES = 0.002, 0.02
"""Standard deviation as a part of the distance, and the part of the pixels that see nothing."""


def _color_from_depth() -> Float64:
    tilt_rad = np.deg2rad(6.0)
    rotation = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, np.cos(tilt_rad), -np.sin(tilt_rad)],
            [0.0, np.sin(tilt_rad), np.cos(tilt_rad)],
        ]
    )
    return pose_from(rotation, np.array([-0.032, -0.002, 0.004]))


COLOR_FROM_DEPTH = _color_from_depth()
"""32 mm apart, the depth camera tilted by 6 degrees."""


@dataclass(frozen=True)
class Scene:
    """In the colour camera's frame, metres: a wall through (0, 0, wall_m) and a ball."""

    wall_m: float = 0.9
    wall_normal: tuple[float, float, float] = (0.2, 0.3, -1.0)
    ball_center_m: tuple[float, float, float] = (0.08, 0.02, 0.65)
    ball_radius_m: float = 0.1
    square_m: float = 0.05
    tint: int = 0

    def depth_m(self, camera: Intrinsics, scene_from_camera: Float64 | None = None) -> Float64:
        """Exact depth along the camera's z [H, W], 0 where its lens has no ray."""
        return self._cast(camera, scene_from_camera)[0]

    def color(self, camera: Intrinsics) -> UInt8:
        """What the colour camera sees [H, W, 3]: squares on the wall, shading on the ball."""
        depth_m, points_m, on_ball = self._cast(camera, None)
        squares = np.floor(points_m[..., 0] / self.square_m) + np.floor(
            points_m[..., 1] / self.square_m
        )
        wall = np.where(squares % 2 == 0, 205, 60).astype(np.float64)
        normals = (points_m - np.asarray(self.ball_center_m)) / self.ball_radius_m
        ball = 40 + 200 * np.clip(-normals[..., 2], 0, 1)
        shade = np.where(on_ball, ball, wall)
        tint = np.array([(self.tint * step) % 50 for step in (17, 29, 41)])
        picture = shade[..., None] * np.array([1.0, 0.95, 0.85]) + tint
        picture[~(depth_m > 0)] = 0
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _cast(
        self, camera: Intrinsics, scene_from_camera: Float64 | None
    ) -> tuple[Float64, Float64, np.ndarray]:
        pose = np.eye(4) if scene_from_camera is None else scene_from_camera
        rays = pixel_rays(camera)
        directions = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
        # Scaled so that z of the *camera's* ray is 1: the factor found is its depth.
        directions = directions @ pose[:3, :3].T
        origin = pose[:3, 3]
        normal = np.asarray(self.wall_normal)
        with np.errstate(all="ignore"):
            wall = (np.array([0, 0, self.wall_m]) - origin) @ normal / (directions @ normal)
            apart = origin - np.asarray(self.ball_center_m)
            # The ball: a t^2 + 2 b t + |apart|^2 - r^2 = 0, of which the smaller root is its front.
            a = (directions**2).sum(axis=-1)
            b = directions @ apart
            root = b * b - a * (apart @ apart - self.ball_radius_m**2)
            ball = (-b - np.sqrt(root)) / a
            on_ball = (root > 0) & (ball > 0) & (ball < np.where(wall > 0, wall, np.inf))
            depth_m = np.where(on_ball, ball, wall)
        depth_m = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, 0.0)
        return depth_m, origin + depth_m[..., None] * np.nan_to_num(directions), on_ball


def moving_pictures(picture: UInt8, count: int) -> list[UInt8]:
    """The picture `count` times, a bright bar at another place in each."""
    width = picture.shape[1]
    bar_px = max(width // 40, 1)
    pictures = []
    for index in range(count):
        moved = picture.copy()
        left = index * width // count
        moved[:, left : left + bar_px] = (255, 220, 40)
        pictures.append(moved)
    return pictures


def grained(picture: UInt8) -> UInt8:
    """The picture with the grain of a sensor, about as hard to compress as a lit room."""
    grain = np.random.default_rng(GRAIN_SEED).normal(0.0, GRAIN, picture.shape[:2])
    return np.clip(np.rint(picture + grain[..., None]), 0, 255).astype(np.uint8)


def trembling(depth_mm: UInt16, count: int) -> list[UInt16]:
    """Depth images of one view, each with noise of its own and holes where nothing came back."""
    random = np.random.default_rng(GRAIN_SEED)
    images = []
    for _ in range(count):
        noise_mm = random.normal(0.0, 1.0, depth_mm.shape) * (DEPTH_NOISE * depth_mm)
        seen = (depth_mm > 0) & (random.random(depth_mm.shape) >= HOLES)
        # At least 1: noise must not make a seen pixel 0, which means none.
        noisy = np.clip(np.rint(depth_mm + noise_mm), 1, np.iinfo(np.uint16).max)
        images.append(np.where(seen, noisy, 0).astype(np.uint16))
    return images
