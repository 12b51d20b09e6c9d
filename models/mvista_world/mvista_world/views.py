"""The cameras of a sample's views and the grid of its tokens, as every block is told them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_world.cameras import camera_embedding, flat_embedding
from mvista_world.config import CrossModalityConfig, CrossViewConfig, ModelConfig
from mvista_world.epipolar import EpipolarSamples, epipolar_samples

Index = int | Sequence[Sequence[int]] | NDArray[np.integer] | torch.Tensor
KEPT_GEOMETRIES = 8
"""Records of cameras whose geometry is kept: a plan has three (rollout, head, Eq. 11)."""


# Compared by identity, since the record is a key of `token_geometry`'s cache.
@dataclass(frozen=True, eq=False)
class ViewCameras:
    """Cameras of V views for each of B samples.

    embedding float32 [B, V, 13]: Eq. 7's token ([B, V, 12] of `flat_cameras`); intrinsics float64
    [B, V, 3, 3] in token-grid pixels; base_from_camera float64 [B, V, 4, 4]. One record is one rig:
    what is computed from it is kept as long as the same record is used.
    """

    embedding: torch.Tensor
    intrinsics: torch.Tensor
    base_from_camera: torch.Tensor

    @staticmethod
    def of(
        base_from_camera: NDArray[np.floating],
        intrinsics: NDArray[np.floating],
        config: ModelConfig,
        look_at_m: NDArray[np.floating] | None = None,
    ) -> ViewCameras:
        """From poses [B, V, 4, 4] and K [B, V, 3, 3] of the model's window, as `check_cameras`
        takes them.

        Eq. 6's look-at point is that of all V cameras: give the whole rig, then `pick`; or
        `look_at_m` [3], or [B, 3] for a point of each sample.
        """
        points: Sequence[NDArray[np.floating] | None] = [None] * len(base_from_camera)
        if look_at_m is not None:
            points = list(np.broadcast_to(look_at_m, (len(base_from_camera), 3)))
        embedding = np.stack(
            [
                flat_embedding(poses) if config.flat_cameras else camera_embedding(poses, point)
                for poses, point in zip(base_from_camera, points, strict=True)
            ]
        )
        cell_px = config.codec.spatial_stride * config.transformer.patch[1]
        # Integers are centres, of a pixel here and of a token's cell there.
        shift = 0.5 / cell_px - 0.5
        tokens_from_pixels = np.array([[1 / cell_px, 0, shift], [0, 1 / cell_px, shift], [0, 0, 1]])
        k = tokens_from_pixels @ np.asarray(intrinsics, dtype=np.float64)
        poses = np.array(base_from_camera, dtype=np.float64)
        return ViewCameras(
            torch.from_numpy(embedding), torch.from_numpy(k), torch.from_numpy(poses)
        )

    @property
    def views(self) -> int:
        return self.embedding.shape[1]

    def pick(self, rig: Index, view: Index) -> ViewCameras:
        """The cameras `view` [B, V] of the rigs `rig` (one for all, or an index [B, 1])."""
        return self.map(lambda x: x[rig, view])

    def expand(self, samples: int) -> ViewCameras:
        """The cameras of one sample for `samples` of them."""
        return self.map(lambda x: x.expand(samples, *x.shape[1:]))

    def twice(self) -> ViewCameras:
        """Those of all samples, and the same again."""
        return self.map(lambda x: torch.cat([x, x]))

    def to(self, device: torch.device) -> ViewCameras:
        return self.map(lambda x: x.to(device))

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> ViewCameras:
        """Every tensor changed."""
        return ViewCameras(
            change(self.embedding), change(self.intrinsics), change(self.base_from_camera)
        )


@dataclass(frozen=True)
class TokenGrid:
    """L = frames * (views * rows) * (modalities * columns) tokens, in the backbone's order."""

    views: int
    modalities: int
    frames: int
    rows: int
    columns: int

    def maps(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, L, d] to [B, modalities, frames, views, rows, columns, d]."""
        split = tokens.unflatten(
            1, (self.frames, self.views, self.rows, self.modalities, self.columns)
        )
        return split.permute(0, 4, 1, 2, 3, 5, 6)

    def tokens(self, maps: torch.Tensor) -> torch.Tensor:
        """Inverse of `maps`."""
        return maps.permute(0, 2, 3, 4, 1, 5, 6).flatten(1, 5)


@dataclass(frozen=True)
class TokenGeometry:
    """What fusion is told of one forward: the grid; which keys of each k x k window lie on the map
    (bool [k * k, rows * columns]); the epipolar samples. None where the model has no such module,
    or the sample nothing to fuse."""

    grid: TokenGrid
    window: torch.Tensor | None
    epipolar: EpipolarSamples | None


@lru_cache(maxsize=KEPT_GEOMETRIES)
def token_geometry(
    cameras: ViewCameras,
    grid: TokenGrid,
    modality: CrossModalityConfig | None,
    view: CrossViewConfig | None,
) -> TokenGeometry:
    """Computed once per rig (record of cameras) and grid, then looked up."""
    window = epipolar = None
    if modality is not None and grid.modalities > 1:
        window = keys_inside(grid.rows, grid.columns, modality.window).to(cameras.embedding.device)
    if view is not None and grid.views > 1:
        epipolar = epipolar_samples(
            cameras.intrinsics, cameras.base_from_camera, grid.rows, grid.columns, view.samples
        )
    return TokenGeometry(grid, window, epipolar)


def keys_inside(rows: int, columns: int, window: int) -> torch.Tensor:
    """bool [window^2, rows * columns]: which keys around each place lie on the map, in the order of
    `torch.nn.functional.unfold` with a padding of `window // 2`."""
    step = torch.arange(window) - window // 2
    row, column = torch.arange(rows) + step[:, None], torch.arange(columns) + step[:, None]
    inside_row, inside_column = (row >= 0) & (row < rows), (column >= 0) & (column < columns)
    inside = inside_row[:, None, :, None] & inside_column[None, :, None, :]
    return inside.flatten(2).flatten(0, 1)
