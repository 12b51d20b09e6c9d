"""Sec. 4.1 and the view token: what a token belongs to, what colour and depth tell each other."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mvista_world.attention import layer_norm, rms_norm, zeroed
from mvista_world.cameras import EMBEDDING_DIM, FLAT_DIM
from mvista_world.config import CrossModalityConfig
from mvista_world.views import TokenGeometry


class TokenIdentity(nn.Module):
    """Adds the modality token (Eq. 3) and the camera embedding (Eq. 7) to every token; or that of
    flattened extrinsics (`flat_cameras`), by an MLP."""

    def __init__(self, dim: int, flat: bool = False) -> None:
        super().__init__()
        self.modality_token = nn.Parameter(torch.zeros(2, dim))
        self._flat = flat
        # Of two names: weights of the one are no start for the other.
        if flat:
            mlp = nn.Linear(FLAT_DIM, dim), nn.SiLU(), zeroed(nn.Linear(dim, dim))
            self.flat_camera = nn.Sequential(*mlp)
        else:
            self.camera = zeroed(nn.Linear(EMBEDDING_DIM, dim))

    def forward(
        self,
        tokens: torch.Tensor,
        view: torch.Tensor,
        modality: torch.Tensor,
        cameras: torch.Tensor,
    ) -> torch.Tensor:
        """tokens [B, L, d]; view, modality [L]; cameras as `ViewCameras.embedding`."""
        # Maps of all views and modalities share the backbone: a token alone says whose it is.
        embed = self.flat_camera if self._flat else self.camera
        identity = embed(cameras)[:, view] + self.modality_token[modality]
        return tokens + identity.to(tokens.dtype)


class CrossModalityAttention(nn.Module):
    """Eq. 3-5 in one block: each map of a view reads a k x k window of the other, both ways.

    Output projections and the block's own modality token start at zero, the gates at one: at the
    start it adds nothing, and its gradient is not zero (App. A).
    """

    def __init__(self, dim: int, config: CrossModalityConfig) -> None:
        super().__init__()
        self.modality_token = nn.Parameter(torch.zeros(2, dim))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.colour_from_depth = WindowAttention(dim, config)
        self.depth_from_colour = WindowAttention(dim, config)
        self.gate = nn.Parameter(torch.ones(2, dim))

    def forward(self, tokens: torch.Tensor, geometry: TokenGeometry) -> torch.Tensor:
        """tokens [B, L, d]; as they are where there is one map only."""
        grid, inside = geometry.grid, geometry.window
        if inside is None:
            return tokens
        maps = grid.maps(tokens)
        marked = maps + self.modality_token.to(maps.dtype).view(1, 2, 1, 1, 1, 1, -1)
        colour, depth = layer_norm(self.norm, marked).unbind(1)
        read = torch.stack(
            [
                self.colour_from_depth(colour, depth, inside),
                self.depth_from_colour(depth, colour, inside),
            ],
            dim=1,
        )
        gate = self.gate.to(maps.dtype).view(1, 2, 1, 1, 1, 1, -1)
        # Eq. 5 adds to the marked tokens of Eq. 3: the modality token stays in what goes on.
        return grid.tokens(marked + gate * read)


class WindowAttention(nn.Module):
    """Eq. 4: every place of one map attends to the k x k places around it on another map."""

    def __init__(self, dim: int, config: CrossModalityConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.window = config.heads, config.window
        self.reduce_query = nn.Linear(dim, width)
        self.reduce_context = nn.Linear(dim, width)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.norm_q = nn.RMSNorm(width, eps=1e-5)
        self.norm_k = nn.RMSNorm(width, eps=1e-5)
        self.to_out = zeroed(nn.Linear(width, dim))

    def forward(
        self, query: torch.Tensor, context: torch.Tensor, inside: torch.Tensor
    ) -> torch.Tensor:
        """Maps [..., rows, columns, d] of both; `inside` bool [k * k, rows * columns]."""
        lead, (rows, columns) = query.shape[:-3], query.shape[-3:-1]
        reduced = self.reduce_context(context)
        q = rms_norm(self.norm_q, self.to_q(self.reduce_query(query)))
        kv = torch.cat([rms_norm(self.norm_k, self.to_k(reduced)), self.to_v(reduced)], dim=-1)
        q = q.reshape(-1, rows * columns, self.heads, q.shape[-1] // self.heads)
        # Channels first for `unfold`: [N, 2 * width, rows, columns] to a window per place.
        windows = F.unfold(
            kv.flatten(0, -4).movedim(-1, 1), self.window, padding=self.window // 2
        ).unflatten(1, (2, *q.shape[2:], self.window**2))
        key, value = windows.unbind(1)
        q = q.permute(0, 2, 3, 1).unsqueeze(3)
        # Few keys a query: products and sums, where a matrix product per place would crawl.
        scores = (q * key).sum(dim=2) * q.shape[2] ** -0.5
        weights = scores.masked_fill(~inside, float("-inf")).softmax(dim=2).to(value.dtype)
        mixed = (weights.unsqueeze(2) * value).sum(dim=3)
        return self.to_out(mixed.flatten(1, 2).mT.reshape(*lead, rows, columns, -1))
