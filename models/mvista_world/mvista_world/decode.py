"""The last stage of both directions: latents become pictures, z becomes a motion of the arm."""

from __future__ import annotations

import numpy as np
import torch

from mvista_core.arm import ArmModel
from mvista_core.records import Float32, Float64, UInt8
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.layout import from_grid
from mvista_world.pictures import color_of, decode_map, depth_of
from mvista_world.trajectory import TrajectoryVae, smooth_from


def decode_views(
    codec: VideoCodec, latents: torch.Tensor, views: int, config: ModelConfig, compute: Compute
) -> tuple[UInt8, Float32]:
    """Latents [1, C, T', V*h, 2*w] to colour [V, T, H, W, 3] and depth [V, T, H, W] (m, 0: none).

    Every view and modality is decoded by itself: the autoencoder knows single videos only.
    """
    maps = from_grid(latents, views)[0]
    color = [color_of(decode_map(codec, view[0], compute)) for view in maps]
    depth_m = [depth_of(decode_map(codec, view[1], compute), config.depth) for view in maps]
    return np.stack(color), np.stack(depth_m)


def decode_actions(
    trajectory: TrajectoryVae, z: torch.Tensor, start: Float64, arm: ArmModel, config: ModelConfig
) -> Float64:
    """Eq. 9: joint positions [L, J] of z [1, S, C], led on from the measured `start` [J]."""
    with torch.no_grad():
        decoded = trajectory.decode(z.float())[0].double().cpu().numpy()
    return within_range(smooth_from(start, decoded, config.trajectory), arm)


def within_range(positions: Float64, arm: ArmModel) -> Float64:
    """A network may leave a joint's range by a hair; the arm's range is the truth."""
    inside: Float64 = np.clip(positions, arm.lower, arm.upper)
    return inside
