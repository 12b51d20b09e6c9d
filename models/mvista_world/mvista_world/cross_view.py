"""Eq. 8: deformable attention of each token along its epipolar lines in the other views."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mvista_world.attention import layer_norm, rms_norm, zeroed
from mvista_world.config import CrossViewConfig
from mvista_world.views import TokenGeometry


class CrossViewAttention(nn.Module):
    """(V - 1) K keys per query: K places on its line in every other view, each moved a little.

    Both maps of a view share its camera: colour looks into colour, depth into depth. The output
    projection starts at zero, and so do the offsets. It has no bias: a query that no other view
    sees receives exactly nothing.
    """

    def __init__(self, dim: int, config: CrossViewConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.max_offset = config.heads, config.max_offset
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.to_q = nn.Linear(dim, width)
        self.to_k = nn.Linear(dim, width)
        self.to_v = nn.Linear(dim, width)
        self.norm_q = nn.RMSNorm(width, eps=1e-5)
        self.norm_k = nn.RMSNorm(width, eps=1e-5)
        self.offset = nn.Sequential(
            nn.Linear(2 * width + 1, width), nn.GELU(), zeroed(nn.Linear(width, 2))
        )
        self.to_out = zeroed(nn.Linear(width, dim, bias=False))

    def forward(self, tokens: torch.Tensor, geometry: TokenGeometry) -> torch.Tensor:
        """tokens [B, L, d]; as they are where there is one view only."""
        grid, lines = geometry.grid, geometry.epipolar
        if lines is None:
            return tokens
        normed = layer_norm(self.norm, tokens)
        # [B, S, V, rows, columns, width]: S = modalities * frames share the cameras of their view.
        projections = (self.to_q, self.to_k, self.to_v)
        query, key, value = (grid.maps(project(normed)).flatten(1, 2) for project in projections)
        others = lines.others
        keys, values = key[:, :, others], value[:, :, others]
        query = query.flatten(3, 4)[:, :, :, None, :, None]
        pixels = lines.pixels.to(torch.promote_types(query.dtype, torch.float32)).unsqueeze(1)
        pixels = pixels + self.offsets(query, sample(keys, pixels))
        found = sample(torch.cat([keys, values], dim=-1), pixels)
        mixed = self.attend(query, *found.chunk(2, dim=-1), lines.seen)
        maps = self.to_out(mixed).unflatten(1, (grid.modalities, grid.frames))
        return tokens + grid.tokens(maps.unflatten(4, (grid.rows, grid.columns)))

    def offsets(self, query: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Eq. 8: offsets [..., K, 2] in token-grid pixels of keys found at [..., K, width]."""
        similarity = F.cosine_similarity(query, found, dim=-1).unsqueeze(-1).to(found.dtype)
        moved = self.offset(torch.cat([query.expand_as(found), found, similarity], dim=-1))
        return moved.clamp(-self.max_offset, self.max_offset)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """Mixed values [B, S, V, n, width] of query [B, S, V, 1, n, 1, width], key and value
        [B, S, V, V-1, n, K, width]; `seen` [B, V, V-1, n]."""
        query, key = rms_norm(self.norm_q, query), rms_norm(self.norm_k, key)
        query, key, value = (x.unflatten(-1, (self.heads, -1)) for x in (query, key, value))
        scores = (query * key).sum(dim=-1) * query.shape[-1] ** -0.5
        hidden = ~seen[:, None, ..., None, None]
        # Over all samples of all views at once; where there is none to see, all weights are zero.
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(hidden, lowest).transpose(3, 4)
        weights = scores.flatten(4, 5).softmax(dim=4).view_as(scores).transpose(3, 4)
        weights = weights.masked_fill(hidden, 0.0).to(value.dtype)
        return (weights.unsqueeze(-1) * value).sum(dim=(3, 5)).flatten(-2)


def sample(maps: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Bilinear values [..., n, K, c] of maps [..., rows, columns, c] at pixels [..., n, K, 2].

    Leading axes of `pixels` broadcast. Beyond the outermost centres the outermost value holds: a
    token's cell reaches half a pixel farther, and an offset may leave the image.
    """
    lead, (rows, columns) = maps.shape[:-3], maps.shape[-3:-1]
    size = torch.tensor([columns, rows], dtype=pixels.dtype, device=pixels.device)
    place = ((2.0 * pixels + 1.0) / size - 1.0).expand(*lead, *pixels.shape[-3:])
    # In single precision at least: bf16 places a sample only to some tenths of a token.
    image = maps.to(pixels.dtype).flatten(0, -4).movedim(-1, 1)
    found = F.grid_sample(
        image, place.flatten(0, -4), mode="bilinear", padding_mode="border", align_corners=False
    )
    return found.movedim(1, -1).unflatten(0, lead).to(maps.dtype)
