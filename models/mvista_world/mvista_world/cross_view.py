"""Eq. 8: deformable attention of each token along its epipolar lines in the other views."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mvista_world.attention import layer_norm, zeroed
from mvista_world.config import CrossViewConfig
from mvista_world.views import TokenGeometry

EPSILON = 1e-5


class CrossViewAttention(nn.Module):
    """(V - 1) K keys per query: K places on its line in every other view, each moved a little.

    Both maps of a view share its camera: colour looks into colour, depth into depth. The output
    projection starts at zero, and so do the offsets. It has no bias: a query that no other view
    sees receives exactly nothing.

    Channels stand before places throughout, as `grid_sample` has them: [B, S, V, V-1, c, K, n] with
    S = modalities * frames and n = rows * columns.
    """

    def __init__(self, dim: int, config: CrossViewConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.width, self.max_offset = config.heads, width, config.max_offset
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.to_q = nn.Linear(dim, width)
        self.to_k = nn.Linear(dim, width)
        self.to_v = nn.Linear(dim, width)
        self.norm_q = nn.RMSNorm(width, eps=EPSILON)
        self.norm_k = nn.RMSNorm(width, eps=EPSILON)
        self.offset = nn.Sequential(
            nn.Conv1d(2 * width + 1, width, 1), nn.GELU(), zeroed(nn.Conv1d(width, 2, 1))
        )
        # Plain epipolar attention ships them as they began: nothing of them is learnt unseen.
        self.offset.requires_grad_(config.max_offset > 0.0)
        self.to_out = zeroed(nn.Linear(width, dim, bias=False))

    def forward(self, tokens: torch.Tensor, geometry: TokenGeometry) -> torch.Tensor:
        """tokens [B, L, d]; as they are where there is one view only."""
        grid, lines = geometry.grid, geometry.epipolar
        if lines is None:
            return tokens
        normed = layer_norm(self.norm, tokens)
        projected = torch.cat([to(normed) for to in (self.to_q, self.to_k, self.to_v)], dim=-1)
        maps = grid.maps(projected).flatten(1, 2).movedim(-1, 3)
        query, read = maps.split([self.width, 2 * self.width], dim=3)
        query = query.flatten(4)[:, :, :, None, :, None]
        # One image per view looked into and view that looks: all pairs in one `grid_sample`.
        read = read[:, :, lines.others].contiguous()
        wide = torch.promote_types(tokens.dtype, torch.float32)
        pixels = lines.pixels.to(wide).transpose(-2, -3).unsqueeze(1)
        # App. A: keys on the line decide the offsets; keys and values are read where those lead.
        first = sample(read[..., : self.width, :, :], pixels)
        found = sample(read, pixels + self.offsets(query, first))
        key, value = found.split(self.width, dim=4)
        mixed = self.attend(query, key, value, lines.seen)
        out = self.to_out(mixed.mT).unflatten(3, (grid.rows, grid.columns))
        return tokens + grid.tokens(out.unflatten(1, (grid.modalities, grid.frames)))

    def offsets(self, query: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Eq. 8: offsets [..., K, n, 2] in token-grid pixels of keys [..., width, K, n], which
        query [..., width, 1, n] found at first."""
        similarity = F.cosine_similarity(query, found, dim=-3).unsqueeze(-3).to(found.dtype)
        shown = torch.cat([query.expand_as(found), found, similarity], dim=-3)
        # The clip of Eq. 8, of column and row each by itself.
        moved = self.offset(shown.flatten(0, -4).flatten(-2)).clamp(
            -self.max_offset, self.max_offset
        )
        return moved.unflatten(-1, found.shape[-2:]).unflatten(0, found.shape[:-3]).movedim(-3, -1)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """Mixed values [B, S, V, width, n] of query [B, S, V, 1, width, 1, n], key and value
        [B, S, V, V-1, width, K, n]; `seen` [B, V, V-1, n]."""
        query, key = _rms_norm(self.norm_q, query), _rms_norm(self.norm_k, key)
        scores = (query * key).unflatten(4, (self.heads, -1)).sum(dim=5)
        hidden = ~seen[:, None, :, :, None, None]
        scores = scores * (self.width // self.heads) ** -0.5
        # Over all samples of all views at once; where there is none to see, all weights are zero.
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).movedim(3, 4)
        weights = scores.flatten(4, 5).softmax(dim=4).view(scores.shape).movedim(4, 3)
        weights = weights.masked_fill(hidden, 0.0).to(value.dtype).unsqueeze(5)
        mixed = (weights * value.unflatten(4, (self.heads, -1))).sum(dim=(3, 6))
        return mixed.flatten(3, 4)


def _rms_norm(norm: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """The module's norm, of the channels of [..., c, K, n]."""
    weight = norm.weight.to(x.dtype)[:, None, None]
    return x * torch.rsqrt(x.square().mean(dim=-3, keepdim=True) + EPSILON) * weight


def sample(maps: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Bilinear values [..., c, K, n] of maps [..., c, rows, columns] at pixels [..., K, n, 2].

    Leading axes of `pixels` broadcast. Beyond the outermost centres the outermost value holds: a
    token's cell reaches half a pixel farther, and an offset may leave the image.
    """
    lead, (rows, columns) = maps.shape[:-3], maps.shape[-2:]
    size = torch.tensor([columns, rows], dtype=pixels.dtype, device=pixels.device)
    place = ((2.0 * pixels + 1.0) / size - 1.0).expand(*lead, *pixels.shape[-3:])
    # In single precision at least: bf16 places a sample only to some tenths of a token.
    found = F.grid_sample(
        maps.to(pixels.dtype).flatten(0, -4),
        place.flatten(0, -4),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return found.unflatten(0, lead).to(maps.dtype)
