"""What the residual IDM is trained on: episodes, real priors, bent priors, smeared clouds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import uniform_filter

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import Float32, Float64, RigCalibration, UInt8
from mvista_world.fusion import PointCloud, back_project_views, in_box
from mvista_world.refine import RefineConfig, local_clouds, tip_poses
from mvista_world.training.recordings import require_one_rig

JOINT_SPREAD = np.array([0.06, 0.05, 0.05, 0.10, 0.08, 0.15, 0.0])
"""Relative sizes (rad) of the random bends of joints 1..6: wrists err more than shoulders."""
GRIPPER_SPREAD_M = 0.004
LARGEST_BEND_RAD = 0.25
PRIORS_FILE = "priors.npz"
VALIDATION_EVERY = 10
"""One episode in this many is held out; the choice does not depend on the seed."""


@dataclass(frozen=True)
class Priors:
    """Trajectories inferred on training episodes, and what was imagined there.

    File: npz with `episode` int [M] (index into the episodes in the order of the data
    directories and their shards), `positions` float32 [M, L, J], `data_sets` [D] (names of those
    directories); and, together or not at all, `views` int [M, V] (indices of the rig's cameras),
    `color` uint8 [M, V, T, H, W, 3] and `depth_mm` uint16 [M, V, T, H, W].
    """

    episodes: NDArray[np.int64]
    positions: Float32
    views: NDArray[np.int64] | None = None
    color: UInt8 | None = None
    depth_mm: NDArray[np.uint16] | None = None
    data_sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpisodeSet:
    """N episodes: color uint8 [N, V, T, H, W, 3], depth_mm uint16 [N, V, T, H, W], V the rig's
    cameras in their order; actions float32 [N, L, J] at (i + 1) / rate, initial float32 [N, J]."""

    color: UInt8
    depth_mm: NDArray[np.uint16]
    actions: Float32
    initial: Float32
    data_sets: tuple[str, ...] = ()
    priors: Priors | None = None

    def __len__(self) -> int:
        return len(self.actions)

    def at_frames(self, actions: Float32, index: int) -> Float64:
        """Joint positions [T, J] at the frame times of one episode's actions [L, J].

        Frames are evenly spaced from the start to the last action, so frame k > 0 falls on
        action k L / (T - 1) - 1.
        """
        stride = len(actions) // (self.color.shape[2] - 1)
        frames = actions[stride - 1 :: stride]
        joints = np.concatenate([self.initial[index][None], frames])
        return np.asarray(joints, dtype=np.float64)

    def with_priors(self, priors: Priors) -> EpisodeSet:
        """The same episodes with real priors beside them."""
        return replace(self, priors=priors)


def load_episodes(data_dirs: Sequence[Path]) -> EpisodeSet:
    """Read `shard-*.npz` of several directories into memory.

    Raises:
        ConfigError: no shard, a missing array, cameras that differ from episode to episode, or
            frames that do not divide the actions.
    """
    color, depth_mm, actions, initial = [], [], [], []
    for directory in data_dirs:
        shards = sorted(Path(directory).glob("shard-?????.npz"))
        if not shards:
            raise ConfigError(f"no shard-00000.npz in {directory}; collect episodes first")
        for path in shards:
            require_one_rig(path)
            with np.load(path) as shard:
                missing = {"color", "depth_mm", "actions", "initial"} - set(shard.files)
                if missing:
                    raise ConfigError(f"{path} lacks {sorted(missing)}; it has {shard.files}")
                color.append(shard["color"])
                depth_mm.append(shard["depth_mm"])
                actions.append(shard["actions"])
                initial.append(shard["initial"])
    episodes = EpisodeSet(
        np.concatenate(color),
        np.concatenate(depth_mm),
        np.concatenate(actions),
        np.concatenate(initial),
        names_of(data_dirs),
    )
    frames, steps = episodes.color.shape[2], episodes.actions.shape[1]
    if frames < 2 or steps % (frames - 1):
        raise ConfigError(f"{steps} actions do not divide into {frames - 1} intervals of frames")
    return episodes


def names_of(data_dirs: Sequence[Path]) -> tuple[str, ...]:
    """Names of data directories, by which indices through them are known again."""
    return tuple(Path(directory).resolve().name for directory in data_dirs)


def load_priors(path: Path, episodes: EpisodeSet) -> Priors:
    """Read a priors file (see `Priors`) and check it against the episodes.

    Raises:
        ConfigError: no such file, or arrays that are missing or do not fit.
    """
    if not path.is_file():
        raise ConfigError(f"no priors file at {path}")
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    missing = {"episode", "positions"} - set(arrays)
    rollout = {"views", "color", "depth_mm"} & set(arrays)
    if missing or len(rollout) not in (0, 3):
        raise ConfigError(
            f"{path} has {sorted(arrays)}; wanted episode, positions, and all or none of "
            "views, color, depth_mm"
        )
    index, positions = arrays["episode"].astype(np.int64), arrays["positions"]
    if positions.shape != (len(index), *episodes.actions.shape[1:]):
        raise ConfigError(
            f"{path}: positions are {positions.shape}, wanted "
            f"{(len(index), *episodes.actions.shape[1:])}"
        )
    if len(index) == 0 or index.min() < 0 or index.max() >= len(episodes):
        raise ConfigError(f"{path}: episode indices must lie in 0..{len(episodes) - 1}")
    named = tuple(str(name) for name in arrays.get("data_sets", ()))
    # Of one data set the order cannot be wrong, and older files do not name it.
    if named != episodes.data_sets and (named or len(episodes.data_sets) > 1):
        raise ConfigError(
            f"{path} counts through the data sets {list(named)}, here are "
            f"{list(episodes.data_sets)}; run `mvista train priors` again"
        )
    if not rollout:
        return Priors(index, positions, data_sets=named)
    views = arrays["views"].astype(np.int64)
    return Priors(index, positions, views, arrays["color"], arrays["depth_mm"], named)


def save_priors(path: Path, priors: Priors) -> None:
    """Write a priors file."""
    arrays: dict[str, NDArray[np.generic]] = {
        "episode": priors.episodes,
        "positions": priors.positions,
    }
    if priors.data_sets:
        arrays["data_sets"] = np.array(priors.data_sets)
    if priors.views is not None and priors.color is not None and priors.depth_mm is not None:
        arrays |= {"views": priors.views, "color": priors.color, "depth_mm": priors.depth_mm}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def bend(
    truth: Float64, arm: ArmModel, rng: np.random.Generator, error_m: tuple[float, float]
) -> Float64:
    """A plausible wrong prior [T, J]: `truth` plus smooth per-joint curves that start at zero.

    The largest tip error over the frames is uniform in `error_m` (less where that would bend a
    joint by more than `LARGEST_BEND_RAD`); curves are random cubic splines
    of four knots under a ramp that grows along the trajectory, as decoded latents err. The first
    frame, which is measured, is kept.
    """
    frames, joints = truth.shape
    s = np.linspace(0.0, 1.0, frames)
    knots = rng.normal(size=(4, joints))
    # A constant part makes most errors grow to the end, as a wrong goal does.
    knots += 1.5 * rng.normal(size=(1, joints))
    ramp = s ** rng.uniform(0.4, 1.5)
    curve = CubicSpline(np.linspace(0.0, 1.0, 4), knots)(s) * ramp[:, None]
    arm_spread = JOINT_SPREAD[:joints] * rng.uniform(0.3, 1.5, joints)
    direction = curve * arm_spread
    goal_m = rng.uniform(*error_m)
    # Bends that the tip hardly feels would need wild joints to reach the goal: bound those.
    largest = LARGEST_BEND_RAD / max(np.abs(direction).max(), 1e-6)
    scale = min(goal_m / 0.05, largest)
    # Tip error is nearly linear in the bend: three secant steps meet the goal to a few per cent.
    for _ in range(3):
        moved = tip_poses(arm, truth + scale * direction)[..., :3, 3]
        error = np.linalg.norm(moved - tip_poses(arm, truth)[..., :3, 3], axis=-1).max()
        scale = min(scale * goal_m / max(error, 1e-6), largest)
    prior = truth + scale * direction
    if joints > len(arm.dh):
        prior[:, -1] += GRIPPER_SPREAD_M * rng.random() * curve[:, -1]
    return np.asarray(prior, dtype=np.float64)


@dataclass(frozen=True)
class Augmentation:
    """How an imagined rollout differs from a recorded one.

    blur_px: box filter over depth and colour (0 or 1: none), which leaves flying pixels between
    surfaces as a decoder does. bias_m: low-frequency error, part per view, part per frame.
    noise_m: per pixel. dropout: share of pixels made invalid. color: brightness/contrast spread.
    """

    blur_px: int
    bias_m: float
    noise_m: float
    dropout: float
    color: float

    @staticmethod
    def drawn(rng: np.random.Generator) -> Augmentation:
        """Random strengths; one sample in five is left clean."""
        if rng.random() < 0.2:
            return Augmentation(0, 0.0, 0.0, 0.0, 0.0)
        return Augmentation(
            int(rng.choice([0, 2, 3, 4, 5])),
            float(rng.uniform(0.0, 0.012)),
            float(rng.uniform(0.0, 0.004)),
            float(rng.uniform(0.0, 0.1)),
            float(rng.uniform(0.0, 0.15)),
        )


def augment(
    color: UInt8, depth_m: Float32, strength: Augmentation, rng: np.random.Generator
) -> tuple[UInt8, Float32]:
    """Smear color [V, T, H, W, 3] and depth_m [V, T, H, W]; invalid pixels (0) stay invalid."""
    valid = depth_m > 0
    # A decoder blurs depth across an edge, where no surface is: valid pixels alone are averaged.
    if strength.blur_px > 1:
        size = (1, 1, strength.blur_px, strength.blur_px)
        share = uniform_filter(valid.astype(np.float32), size)
        depth_m = np.where(valid, uniform_filter(depth_m, size) / np.maximum(share, 1e-6), 0.0)
        color = uniform_filter(color, (*size, 1))
    # What is imagined drifts as a whole more than it flickers: its errors are smooth and stay.
    if strength.bias_m > 0:
        depth_m = depth_m + strength.bias_m * _smooth_noise(depth_m.shape, rng)
    if strength.noise_m > 0:
        grain = rng.standard_normal(depth_m.shape, dtype=np.float32)
        depth_m = depth_m + np.float32(strength.noise_m) * grain
    if strength.color > 0:
        gain = 1.0 + strength.color * rng.standard_normal((len(color), 1, 1, 1, 3))
        shift = 40.0 * strength.color * rng.standard_normal((len(color), 1, 1, 1, 3))
        scaled = color * gain.astype(np.float32) + shift.astype(np.float32)
        color = np.clip(scaled, 0.0, 255.0).astype(np.uint8)
    if strength.dropout > 0:
        valid &= rng.random(valid.shape, dtype=np.float32) >= strength.dropout
    return color, np.where(valid, depth_m, 0.0).astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    """Unit-size noise [V, T, H, W] of 16-pixel grain: half of it stays along a clip."""
    views, frames, height, width = shape
    rows, columns = _interpolation(height, 16), _interpolation(width, 16)
    grid = (rows.shape[1], columns.shape[1])
    fixed = rng.standard_normal((views, 1, *grid), dtype=np.float32)
    moving = rng.standard_normal((views, frames, *grid), dtype=np.float32)
    coarse = (fixed + moving) * np.float32(np.sqrt(0.5))
    return np.asarray(rows @ coarse @ columns.T, dtype=np.float32)


def _interpolation(size: int, grain: int) -> Float32:
    """Linear interpolation [size, nodes] from nodes `grain` apart."""
    position = np.arange(size) / grain
    nodes = np.arange(math.ceil(size / grain) + 1)
    return np.maximum(1.0 - np.abs(position[:, None] - nodes), 0.0).astype(np.float32)


class Sample(NamedTuple):
    """clouds [T, N, POINT_FEATURES], prior [T, J], residual [T-1, J], usable [T-1]."""

    clouds: Float32
    prior: Float32
    residual: Float32
    usable: NDArray[np.bool_]


class SampleMaker:
    """Turns a random generator into one training or validation sample.

    window: what the recorder cut its images with. views: how many of the cameras a sample sees.
    error_m: range of a bent prior's largest tip error. real_share: how often a real prior is used
    where there are any.
    """

    def __init__(
        self,
        episodes: EpisodeSet,
        rig: RigCalibration,
        arm: ArmModel,
        window: ModelWindow,
        config: RefineConfig,
        views: int,
        error_m: tuple[float, float],
        real_share: float,
    ) -> None:
        cameras, views_there = rig.cameras, episodes.color.shape[1]
        if len(cameras) != views_there:
            raise ConfigError(
                f"episodes of {views_there} views; rig '{rig.name}' has {list(rig.names)}"
            )
        self.episodes, self.arm = episodes, arm
        self.config, self.views = config, views
        self.error_m, self.real_share = error_m, real_share
        self.poses: Float64 = np.stack([camera.base_from_camera for camera in cameras])
        self.intrinsics = tuple(window.intrinsics(camera.intrinsics) for camera in cameras)
        held_out = np.arange(len(episodes)) % VALIDATION_EVERY == VALIDATION_EVERY - 1
        self.train_indices = np.flatnonzero(~held_out)
        self.validation_indices = np.flatnonzero(held_out)

    def train(self, rng: np.random.Generator) -> Sample:
        """A random training episode, bent and smeared, or a real prior."""
        real = self.episodes.priors
        if real is not None and rng.random() < self.real_share:
            known = np.flatnonzero(np.isin(real.episodes, self.train_indices))
            if len(known):
                return self.real(int(rng.choice(known)), rng)
        index = int(rng.choice(self.train_indices))
        return self.bent(index, rng, Augmentation.drawn(rng))

    def bent(
        self, index: int, rng: np.random.Generator, augmentation: Augmentation | None
    ) -> Sample:
        """A sample whose prior is the truth of episode `index`, bent."""
        truth = self.episodes.at_frames(self.episodes.actions[index], index)
        prior = bend(truth, self.arm, rng, self.error_m)
        views = np.sort(rng.permutation(len(self.poses))[: self.views])
        color = self.episodes.color[index, views]
        depth_m = self.episodes.depth_mm[index, views].astype(np.float32) * np.float32(1e-3)
        if augmentation is not None:
            color, depth_m = augment(color, depth_m, augmentation, rng)
        return self._sample(color, depth_m, views, prior, truth)

    def real(self, row: int, rng: np.random.Generator) -> Sample:
        """A sample of row `row` of the priors file, with the clouds imagined there if kept."""
        priors = self.episodes.priors
        assert priors is not None
        # The target is the recorded motion, which the imagination was told (`priors`).
        index = int(priors.episodes[row])
        truth = self.episodes.at_frames(self.episodes.actions[index], index)
        prior = self.episodes.at_frames(priors.positions[row], index)
        if priors.color is not None and priors.depth_mm is not None and priors.views is not None:
            views = priors.views[row]
            color, depth_mm = priors.color[row], priors.depth_mm[row]
        else:
            views = np.sort(rng.permutation(len(self.poses))[: self.views])
            color = self.episodes.color[index, views]
            depth_mm = self.episodes.depth_mm[index, views]
        depth_m = depth_mm.astype(np.float32) * np.float32(1e-3)
        return self._sample(color, depth_m, views, prior, truth)

    def _sample(
        self,
        color: UInt8,
        depth_m: Float32,
        views: NDArray[np.integer],
        prior: Float64,
        truth: Float64,
    ) -> Sample:
        intrinsics = tuple(self.intrinsics[v] for v in views)
        points_m = back_project_views(depth_m, intrinsics, self.poses[views])
        seen = self.config.cropped(depth_m) > 0
        inside = seen & in_box(points_m, self.config.workspace)
        clouds = [
            PointCloud(points_m[:, t][inside[:, t]], color[:, t][inside[:, t]])
            for t in range(points_m.shape[1])
        ]
        features, usable = local_clouds(clouds, tip_poses(self.arm, prior), self.config)
        residual = (truth - prior)[1:].astype(np.float32)
        return Sample(features, prior.astype(np.float32), residual, usable[1:])
