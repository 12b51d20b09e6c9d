"""What the source's first window shows of every view: the condition of `source_render`.

Training and planning draw it, encode it (`encode`) and lay it out alike, so that both are told the
same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core.records import UInt8
from mvista_world.layout import to_grid
from mvista_world.reprojection import PosedLens, Reprojection, reproject


def draw_source(
    color: UInt8, depth_m: NDArray[np.floating], source: PosedLens, targets: Sequence[PosedLens]
) -> list[Reprojection]:
    """The source's window as each target would see it; where it shows nothing of that, after the
    nearest place of which it does."""
    return [reproject(color, depth_m, source, target).filled() for target in targets]


def with_share(latents: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Latents [..., 2, C, h, w] with the share [..., h, w] behind the channels of both maps."""
    both = share.unsqueeze(-3).unsqueeze(-3).expand(*latents.shape[:-3], 1, *latents.shape[-2:])
    return torch.cat([latents, both], dim=-3)


def on_grid(shown: torch.Tensor) -> torch.Tensor:
    """[B, V, 2, C + 1, h, w] laid out as the generator's latents: [B, C + 1, 1, V*h, 2*w]."""
    return to_grid(shown.unsqueeze(4))
