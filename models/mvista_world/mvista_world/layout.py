"""Sec. 4, Input Format Strategy: RGB | depth along the width, views along the height."""

from __future__ import annotations

import torch

from mvista_world.config_limits import SUBCELLS

SHOWN_BESIDE = 1 + SUBCELLS**2
"""Channels behind the latents of what the source shows: a cell's share, and depths of its parts."""


def to_grid(latents: torch.Tensor) -> torch.Tensor:
    """[B, V, M, C, T, h, w] (views, modalities) to the generator's [B, C, T, V*h, M*w]."""
    # Along the axes and not as channels: the backbone's own self-attention then joins the maps, and
    # any number of views fits (Sec. 4).
    b, v, m, c, t, h, w = latents.shape
    return latents.permute(0, 3, 4, 1, 5, 2, 6).reshape(b, c, t, v * h, m * w)


def from_grid(grid: torch.Tensor, views: int, modalities: int = 2) -> torch.Tensor:
    """Inverse of `to_grid`."""
    b, c, t, height, width = grid.shape
    h, w = height // views, width // modalities
    if h * views != height or w * modalities != width:
        raise ValueError(f"grid {height}x{width} does not hold {views} views x {modalities} maps")
    split = grid.reshape(b, c, t, views, h, modalities, w)
    return split.permute(0, 3, 5, 1, 2, 4, 6)


def token_owner(
    views: int, modalities: int, frames: int, rows: int, columns: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(view, modality, frame) index [L] of every token, in the transformer's flattening order.

    `rows` and `columns` are the token grid of one modality of one view.
    """
    frame, row, column = torch.meshgrid(
        torch.arange(frames),
        torch.arange(views * rows),
        torch.arange(modalities * columns),
        indexing="ij",
    )
    return (row // rows).flatten(), (column // columns).flatten(), frame.flatten()


def clean_mask(
    known: torch.Tensor, token_grid: tuple[int, int], modalities: int = 2
) -> torch.Tensor:
    """Token mask [..., L] of what is given, from `known` [..., V, T'] (view, latent frame)."""
    view, _, frame = token_owner(known.shape[-2], modalities, known.shape[-1], *token_grid)
    return known[..., view, frame]
