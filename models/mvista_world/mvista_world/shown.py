"""What the source's first window shows of every view: of it `source_render`, `source_points` tell.

Training and planning draw it, encode it (`encode`) and lay it out alike, so that both are told the
same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core.records import Float32, UInt8
from mvista_world.config_limits import SUBCELLS
from mvista_world.layout import to_grid
from mvista_world.reprojection import PosedLens, Reprojection, reproject


def draw_source(
    color: UInt8, depth_m: NDArray[np.floating], source: PosedLens, targets: Sequence[PosedLens]
) -> list[Reprojection]:
    """The source's window as each target would see it; where it shows nothing of that, after the
    nearest place of which it does."""
    return [reproject(color, depth_m, source, target).filled() for target in targets]


def cell_depths(depth_m: NDArray[np.floating], latent_size: tuple[int, int]) -> Float32:
    """The middle measured depth (m) of each quarter of a latent cell, row by row: [..., H, W] to
    [..., 4, h, w]; 0 where nothing is measured."""
    rows, columns = latent_size
    *leading, height, width = depth_m.shape
    each = height // (rows * SUBCELLS), width // (columns * SUBCELLS)
    parts = rows, SUBCELLS, each[0], columns, SUBCELLS, each[1]
    pixels = np.asarray(depth_m, np.float32).reshape(*leading, *parts)
    # [..., 2, 2, h, w, pixels]: quarters before cells.
    apart = np.moveaxis(pixels, (-5, -2, -6, -3), (-6, -5, -4, -3))
    apart = apart.reshape(*leading, SUBCELLS**2, rows, columns, -1)
    # The mean of a near and a far surface is a surface that is not there; of two, the nearer.
    ordered = np.sort(np.where(apart > 0, apart, np.inf), axis=-1)
    middle = np.maximum((apart > 0).sum(axis=-1, keepdims=True) - 1, 0) // 2
    found = np.take_along_axis(ordered, middle, axis=-1)[..., 0]
    return np.where(np.isfinite(found), found, np.float32(0.0))


def beside(latents: torch.Tensor, share: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Latents [..., 2, C, h, w] with the share [..., h, w] of each cell that the source shows and
    its `cell_depths` [..., 4, h, w] behind the channels of both maps."""
    told = torch.cat([share.unsqueeze(-3), depths], dim=-3).unsqueeze(-4)
    both = told.expand(*latents.shape[:-3], *told.shape[-3:])
    return torch.cat([latents, both.to(latents.dtype)], dim=-3)


def on_grid(shown: torch.Tensor) -> torch.Tensor:
    """[B, V, 2, C + 5, h, w] laid out as the generator's latents: [B, C + 5, 1, V*h, 2*w]."""
    return to_grid(shown.unsqueeze(4))
