"""The cameras of a data set: where they stood, how well they were told, and what they saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mvista_core.camera_range import TRAINED, CameraPlace
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert, rotation_angle_rad
from mvista_core.records import UInt8

NEAREST_M, FARTHEST_M = 0.3, 1.5
"""White and black of a sheet's depth pictures."""


@dataclass(frozen=True)
class Cameras:
    """All cameras of a data set: true place, focal length in the window, error of what was told."""

    places: tuple[CameraPlace, ...]
    focal_px: tuple[float, ...]
    angle_deg: tuple[float, ...]
    shift_mm: tuple[float, ...]

    def lines(self) -> list[str]:
        """In words: ranges, and how many cameras stood in each twelfth of the circle."""
        azimuth = np.array([place.azimuth_deg for place in self.places])
        stations = np.round(azimuth / 30.0).astype(int) % 12
        counts = np.bincount(stations, minlength=12)
        around = ", ".join(f"{30 * k}: {count}" for k, count in enumerate(counts))
        columns = {
            "pitch": ([p.pitch_deg for p in self.places], "deg"),
            "distance": ([p.distance_m for p in self.places], "m"),
            "roll": ([p.roll_deg for p in self.places], "deg"),
            "aim": ([p.aim_m for p in self.places], "m off the centre"),
            "focal": (self.focal_px, "px"),
        }
        spans = (
            f"{name} {min(values):.3g} to {max(values):.3g} {unit}"
            for name, (values, unit) in columns.items()
        )
        wrong = [float(np.sqrt(np.mean(np.square(v)))) for v in (self.angle_deg, self.shift_mm)]
        return [
            f"  {len(self.places)} cameras by azimuth (deg): {around}",
            f"  {', '.join(spans)}",
            f"  told poses are wrong by {wrong[0]:.2f} deg and {wrong[1]:.1f} mm (rms)",
        ]


def cameras_of(shards: Sequence[Path]) -> Cameras | None:
    """The cameras of all shards; None where they do not state them."""
    found = Cameras((), (), (), ())
    for path in shards:
        with np.load(path) as shard:
            if "true_base_from_camera" not in shard:
                return None
            true = shard["true_base_from_camera"].reshape(-1, 4, 4)
            told = shard["base_from_camera"].reshape(-1, 4, 4)
            focal = shard["intrinsics"].reshape(-1, 4)[:, 0]
        apart = [invert(a) @ b for a, b in zip(true, told, strict=True)]
        angles = (np.rad2deg(rotation_angle_rad(pose[:3, :3])) for pose in apart)
        found = Cameras(
            found.places + tuple(TRAINED.place(pose) for pose in true),
            found.focal_px + tuple(float(f) for f in focal),
            found.angle_deg + tuple(float(angle) for angle in angles),
            found.shift_mm + tuple(float(np.linalg.norm(p[:3, 3]) * 1000.0) for p in apart),
        )
    return found


def write_sheet(folder: Path, path: Path, episodes: int = 6) -> None:
    """A picture of the first episodes, one a row: of each view the first and last colour image,
    the first depth map (black where it is lost), and the view without arm and objects.

    Raises:
        ConfigError: no shard there that can be shown.
    """
    shards = sorted(folder.glob("shard-?????.npz"))
    if not shards:
        raise ConfigError(f"no shard-*.npz in {folder}; `mvista dataset collect` makes data sets")
    with np.load(shards[0]) as shard:
        color, depth_mm = shard["color"][:episodes], shard["depth_mm"][:episodes]
        still = shard["still_color"][:episodes] if "still_color" in shard else None
    if color.ndim == 5:  # grounding scenes have no time
        color, depth_mm = color[:, :, None], depth_mm[:, :, None]
    rows = []
    for index in range(len(color)):
        tiles: list[UInt8] = []
        for view in range(color.shape[1]):
            tiles += [color[index, view, 0], color[index, view, -1]]
            tiles.append(_grey(depth_mm[index, view, 0]))
            if still is not None:
                tiles.append(still[index, view])
        rows.append(np.concatenate(tiles, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)


def _grey(depth_mm: np.ndarray) -> UInt8:
    """Depth as a picture [H, W, 3]: near is bright, lost is black."""
    depth_m = depth_mm / 1000.0
    share = np.clip((FARTHEST_M - depth_m) / (FARTHEST_M - NEAREST_M), 0.0, 1.0)
    level = np.where(depth_mm > 0, 40 + 215 * share, 0).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=-1)
