"""Shards of recorded episodes as arrays, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ConfigError
from mvista_core.imaging import ModelWindow
from mvista_core.records import RigCalibration
from mvista_world.training.data_sets import MAKERS


@dataclass(frozen=True)
class Shard:
    """One file of episodes.

    color uint8 [N, V, T, H, W, 3]; depth_mm uint16 [N, V, T, H, W]; actions [N, K, L, J] and
    instructions [N][K], where K > 1 only for grounding scenes (several instructions of one scene);
    initial [N, J], joint positions before the motion (of older shards: the first action).
    Of each view: intrinsics [N, V, 4] (fx, fy, cx, cy of the window, px), base_from_camera as told
    [N, V, 4, 4], and the same view without arm and objects, still_color [N, V, 1, H, W, 3] and
    still_depth_mm [N, V, 1, H, W]; None in shards of before these were stored.
    """

    color: NDArray[np.uint8]
    depth_mm: NDArray[np.uint16]
    actions: NDArray[np.float32]
    initial: NDArray[np.float32]
    instructions: tuple[tuple[str, ...], ...]
    intrinsics: NDArray[np.float64] | None = None
    base_from_camera: NDArray[np.float64] | None = None
    still_color: NDArray[np.uint8] | None = None
    still_depth_mm: NDArray[np.uint16] | None = None

    def cameras(
        self, rig: RigCalibration, window: ModelWindow
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Intrinsics [N, V, 4] and poses [N, V, 4, 4]: its own, or `rig`'s for every episode.

        Raises:
            ConfigError: it states none, and has other than the rig's number of views.
        """
        if self.intrinsics is not None and self.base_from_camera is not None:
            return self.intrinsics, self.base_from_camera
        count, views = self.color.shape[:2]
        if views != len(rig.cameras):
            raise ConfigError(
                f"episodes of {views} views that do not state their cameras, and rig "
                f"'{rig.name}' has {len(rig.cameras)}; give theirs with --rig, or collect again "
                "with `mvista dataset collect`"
            )
        lenses = [window.intrinsics(camera.intrinsics) for camera in rig.cameras]
        k = np.array([[lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px] for lens in lenses])
        poses = np.stack([camera.base_from_camera for camera in rig.cameras])
        return np.tile(k, (count, 1, 1)), np.tile(poses, (count, 1, 1, 1))


def shard_paths(folders: Sequence[Path]) -> list[Path]:
    """Every shard under the folders, in order; `ConfigError` where there is none."""
    # Writers give a shard a leading dot until it is whole: what is half made is not found.
    paths = [path for folder in folders for path in sorted(Path(folder).glob("shard-?????.npz"))]
    if not paths:
        raise ConfigError(f"no shard-*.npz in {[str(f) for f in folders]}; {MAKERS}")
    return paths


def load_shard(path: Path) -> Shard:
    """Read one shard; single-instruction episodes get K = 1."""
    with np.load(path) as data:
        color, depth, actions = data["color"], data["depth_mm"], data["actions"]
        initial = data.get("initial")
        words = data["instruction"] if "instruction" in data else data["instructions"]
        of_views = {key: data[key] for key in ("intrinsics", "base_from_camera") if key in data}
        for key in ("still_color", "still_depth_mm"):
            if key in data:
                of_views[key] = data[key][:, :, None]
    # Grounding scenes are stored as first frames: a clip of one frame goes the same way as others.
    if color.ndim == 5:
        color, depth = color[:, :, None], depth[:, :, None]
    if actions.ndim == 3:
        actions, words = actions[:, None], words[:, None]
    rows = tuple(tuple(str(word) for word in row) for row in words)
    initial = actions[:, 0, 0] if initial is None else initial
    joints = actions.astype(np.float32), initial.astype(np.float32)
    return Shard(color, depth, *joints, rows, **of_views)


def instructions_of(folders: Sequence[Path]) -> list[str]:
    """Every sentence of the folders' shards, once each; no picture is read."""
    found: set[str] = set()
    for path in shard_paths(folders):
        with np.load(path) as stored:
            name = "instruction" if "instruction" in stored else "instructions"
            found |= {str(word) for word in stored[name].flat}
    return sorted(found)


def require_one_rig(path: Path) -> None:
    """Refuse a shard whose episodes have cameras of their own, for what knows one rig only.

    Raises:
        ConfigError: it is one.
    """
    with np.load(path) as data:
        if "base_from_camera" in data and np.ptp(data["base_from_camera"], axis=0).max() > 0:
            raise ConfigError(
                f"{path}: its cameras differ from episode to episode, and the refiner takes "
                "episodes of one rig; `mvista dataset collect` without --drawn-cameras makes them"
            )
