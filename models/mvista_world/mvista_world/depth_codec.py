"""Metric depth <-> the three channels a video autoencoder takes.

Valid depth z in [near, far] metres becomes s = 1 - 1.8 * log(z/near) / log(far/near), in
[-0.8, 1]: relative error is even over the range. Invalid pixels, and those outside the range,
become -1. The three channels carry the same value, so an autoencoder trained on RGB sees a grey
image. Decoding takes the mean of the channels; below -0.9 is invalid.
"""

from __future__ import annotations

import math

import torch

from mvista_world.config import DepthConfig

SPAN = 1.8
INVALID = -1.0
INVALID_BELOW = -0.9


def encode_depth(depth_m: torch.Tensor, config: DepthConfig) -> torch.Tensor:
    """Depth [...] in metres (0 = invalid) to [..., 3] in [-1, 1]."""
    scale = SPAN / math.log(config.far_m / config.near_m)
    valid = (depth_m >= config.near_m) & (depth_m <= config.far_m)
    code = 1.0 - scale * torch.log(depth_m.clamp(config.near_m, config.far_m) / config.near_m)
    # A gap between the farthest depth and "invalid", so that a decoder's blur seldom crosses it.
    code = torch.where(valid, code, torch.full_like(code, INVALID))
    return code.unsqueeze(-1).expand(*code.shape, 3)


def decode_depth(channels: torch.Tensor, config: DepthConfig) -> torch.Tensor:
    """Channels [..., 3] to depth [...] in metres, 0 where invalid."""
    code = channels.mean(dim=-1)
    scale = math.log(config.far_m / config.near_m) / SPAN
    depth = config.near_m * torch.exp((1.0 - code) * scale)
    # The code of a blurred edge may lie outside [-0.8, 1]; there is no such depth.
    depth = depth.clamp(config.near_m, config.far_m)
    return torch.where(code < INVALID_BELOW, torch.zeros_like(depth), depth)
