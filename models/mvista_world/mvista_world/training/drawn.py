"""What each view of recorded episodes shows of the others (`shown`), encoded once."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core.records import Float32, Intrinsics, UInt8
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.encode import encode_drawn
from mvista_world.layout import SHOWN_BESIDE
from mvista_world.reprojection import PosedLens
from mvista_world.shown import draw_source


@torch.no_grad()
def drawn_latents(
    color: UInt8,
    depth_m: Float32,
    intrinsics: NDArray[np.float64],
    base_from_camera: NDArray[np.float64],
    codec: VideoCodec,
    config: ModelConfig,
    compute: Compute,
) -> torch.Tensor:
    """float32 [N, V, V, 2, C + 5, h, w]: what view s's first window shows of view v at [:, s, v],
    and zeros at [:, s, s]; of windows [N, V, H, W, 3], [N, V, H, W] with cameras as in `Shard`."""
    count, views = color.shape[:2]
    channels = config.codec.latent_channels + SHOWN_BESIDE
    shown = torch.zeros(count, views, views, 2, channels, *config.latent_size)
    pairs = list(permutations(range(views), 2))
    sources, targets = np.array(pairs).T
    for episode in range(count):
        lenses = [
            _lens(*camera, config)
            for camera in zip(intrinsics[episode], base_from_camera[episode], strict=True)
        ]
        drawn = [
            window
            for s in range(views)
            for window in draw_source(
                color[episode, s],
                depth_m[episode, s],
                lenses[s],
                [lenses[v] for v in range(views) if v != s],
            )
        ]
        shown[episode, sources, targets] = encode_drawn(codec, drawn, config, compute).cpu()
    return shown


def _lens(
    intrinsics: NDArray[np.float64], pose: NDArray[np.float64], config: ModelConfig
) -> PosedLens:
    fx, fy, cx, cy = intrinsics.tolist()
    window = config.window
    return PosedLens(Intrinsics(window.width_px, window.height_px, fx, fy, cx, cy), pose)
