"""The first stage: RGB-D pictures become latents on the generator's grid (Sec. 4).

What is given (the source view's first frame) is told from what is to be imagined by a token mask;
what it shows of the other views is told beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core.errors import ObservationError
from mvista_core.records import CameraFrame, Float32, UInt8
from mvista_world.codec import VideoCodec
from mvista_world.compute import Compute
from mvista_world.config import ModelConfig
from mvista_world.depth_codec import encode_depth
from mvista_world.layout import clean_mask, to_grid
from mvista_world.reprojection import Reprojection
from mvista_world.shown import beside, cell_depths, on_grid


def checked_depth(frame: CameraFrame) -> CameraFrame:
    """The frame, if its depth can be imagined from.

    Raises:
        ObservationError: a depth that is no number, or none that is measured.
    """
    wrong, count = int((~np.isfinite(frame.depth_m)).sum()), frame.depth_m.size
    if wrong:
        raise ObservationError(
            f"camera '{frame.camera}': {wrong} of {count} depths are not finite; 0 marks what is "
            "not measured"
        )
    if not (frame.depth_m > 0).any():
        raise ObservationError(
            f"camera '{frame.camera}': none of {count} depths is measured (all are 0)"
        )
    return frame


def to_pixels(color: UInt8, depth_m: NDArray[np.floating], config: ModelConfig) -> torch.Tensor:
    """Colour [..., T, H, W, 3] and depth [..., T, H, W] (m) to [N, 2, 3, T, H, W] in [-1, 1].

    Depth is made an image of its own beside the colour (`depth_codec`), so that one video
    autoencoder serves both.
    """
    t, h, w = depth_m.shape[-3:]
    rgb = torch.from_numpy(np.ascontiguousarray(color)).float() / 127.5 - 1.0
    metres = torch.from_numpy(np.ascontiguousarray(depth_m)).reshape(-1, t, h, w)
    coded = encode_depth(metres, config.depth)
    both = torch.stack([rgb.reshape(-1, t, h, w, 3), coded], dim=1)
    return both.permute(0, 1, 5, 2, 3, 4)


def encode_views(
    codec: VideoCodec, color: UInt8, depth_m: Float32, config: ModelConfig, compute: Compute
) -> torch.Tensor:
    """Colour [V, T, H, W, 3] and depth [V, T, H, W] to latents float32 [V, 2, C, T', h, w]."""
    pixels = to_pixels(color, depth_m, config).to(compute.device)
    with torch.no_grad(), compute.autocast():
        latents = codec.encode(pixels.flatten(0, 1))
    return latents.float().unflatten(0, (-1, 2))


def encode_source(
    codec: VideoCodec, given: Reprojection, views: int, config: ModelConfig, compute: Compute
) -> torch.Tensor:
    """One model window in the first view's first latent frame of `views` views: latents
    [1, C, T', V*h, 2*w], zero where nothing is given."""
    # One picture is enough: a codec's first latent frame is of the first picture alone.
    first = encode_views(codec, given.color[None, None], given.depth_m[None, None], config, compute)
    shape = (1, views, 2, first.shape[2], config.latent_frames, *first.shape[4:])
    latents = torch.zeros(shape, device=compute.device)
    latents[:, 0, :, :, 0] = first[0, :, :, 0]
    return to_grid(latents)


def source_mask(views: int, config: ModelConfig, compute: Compute) -> torch.Tensor:
    """Token mask [L]: the first frame of the first view is given."""
    known = torch.zeros(views, config.latent_frames, dtype=torch.bool)
    known[0, 0] = True
    return clean_mask(known, config.token_grid).to(compute.device)


def encode_shown(
    codec: VideoCodec, drawn: Sequence[Reprojection], config: ModelConfig, compute: Compute
) -> torch.Tensor | None:
    """[1, C + 5, 1, V*h, 2*w] of what the source shows of each view. None where the model is not
    told."""
    if config.source_render is None:
        return None
    return on_grid(encode_drawn(codec, drawn, config, compute)[None])


def encode_drawn(
    codec: VideoCodec, drawn: Sequence[Reprojection], config: ModelConfig, compute: Compute
) -> torch.Tensor:
    """[N, 2, C + 5, h, w] of N windows: latents of colour and depth and, of each cell, the share
    of its pixels that the source shows and the depths that it measured there."""
    color = np.stack([one.color for one in drawn])[:, None]
    depth_m = np.stack([one.depth_m for one in drawn])[:, None]
    latents = encode_views(codec, color, depth_m, config, compute)[:, :, :, 0]
    rows, columns = config.latent_size
    covered = np.stack([one.covered for one in drawn]).astype(np.float32)
    share = covered.reshape(len(drawn), rows, -1, columns, covered.shape[2] // columns)
    # What was filled in is no measurement.
    measured = cell_depths(depth_m[:, 0] * covered, config.latent_size)
    told = torch.from_numpy(share.mean(axis=(2, 4))), torch.from_numpy(measured)
    return beside(latents, *(x.to(latents.device) for x in told))
