"""The multi-view RGB-D generator: diffusers' WanTransformer3DModel and what the paper adds to it.

Added per token: modality token, camera token. Added per block: the fusion slot before
self-attention, style cross-attention after text cross-attention. Added once: the pooled
instruction in the modulation and the latent-consistency head. Everything added starts at zero, so
one RGB view gives the backbone's own output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanAttnProcessor,
    WanTransformerBlock,
)
from torch import nn
from torch.nn import functional as F

from mvista_world.attention import ExplicitAttention, Rotary
from mvista_world.config import ModelConfig
from mvista_world.layout import token_owner
from mvista_world.modality import FusionSlot, TokenIdentity

TIME_SCALE = 1000.0


@dataclass(frozen=True)
class Conditions:
    """What the generator is told: text [B, n, text_dim], cameras [B, V, 13], style [B, S, C]."""

    text: torch.Tensor
    cameras: torch.Tensor
    style: torch.Tensor


@dataclass(frozen=True)
class Prediction:
    """Velocity [B, C, T, V*h, M*w] and the final hidden tokens H_out [B, L, d]."""

    velocity: torch.Tensor
    hidden: torch.Tensor


def cross_attention(dim: int, heads: int) -> WanAttention:
    """diffusers' attention module between sequences of width `dim`, with its default processor."""
    return WanAttention(
        dim,
        heads,
        dim // heads,
        cross_attention_dim_head=dim // heads,
        processor=WanAttnProcessor(),
    )


class StyleAttention(nn.Module):
    """Cross-attention to the S style tokens (Sec. 4.3); zero-initialised output."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = cross_attention(dim, heads)
        nn.init.zeros_(self.attention.to_out[0].weight)
        nn.init.zeros_(self.attention.to_out[0].bias)

    def forward(self, tokens: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return tokens + self.attention(layer_norm(self.norm, tokens), style, None, None)


class ConsistencyHead(nn.Module):
    """Proj(H_out) -> z [B, S, C] (Sec. 4.3): attention pooling with one query per style token.

    Trained on null samples too, so that it reads z off a rollout it was not told: this is the
    action head of +ActionInit, and adds no module.
    """

    def __init__(self, dim: int, heads: int, tokens: int, channels: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(tokens, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.attention = cross_attention(dim, heads)
        self.project = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, channels)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        # A query per style token finds where in the rollout its stretch of the motion shows.
        queries = self.queries.expand(hidden.shape[0], -1, -1)
        pooled = queries + self.attention(queries, layer_norm(self.norm, hidden), None, None)
        return self.project(pooled)


class MultiViewGenerator(nn.Module):
    """v_Theta of Eq. 2 over V views x M modalities laid out on one latent grid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        t, trajectory = config.transformer, config.trajectory
        dim, heads = config.inner_dim, t.num_attention_heads
        self.backbone = WanTransformer3DModel(
            patch_size=t.patch,
            num_attention_heads=heads,
            attention_head_dim=t.attention_head_dim,
            in_channels=config.codec.latent_channels,
            out_channels=config.codec.latent_channels,
            text_dim=config.text.hidden,
            freq_dim=t.freq_dim,
            ffn_dim=t.ffn_dim,
            num_layers=t.num_layers,
            qk_norm=t.qk_norm,
        )
        # All that is added starts without effect (zero outputs): training departs from what the
        # backbone can do, and weights of Wan2.2 load as they are.
        self.identity = TokenIdentity(dim)
        self.fusion = nn.ModuleList([FusionSlot() for _ in range(t.num_layers)])
        self.style_in = nn.Linear(trajectory.channels, dim)
        # z's tokens are ordered in time, which attention by itself does not see.
        self.style_position = nn.Parameter(torch.randn(trajectory.tokens, dim) * 0.02)
        self.style = nn.ModuleList([StyleAttention(dim, heads) for _ in range(t.num_layers)])
        # Learned, not zeros: "nothing is told" must differ from the mean trajectory.
        self.null_style = nn.Parameter(torch.zeros(trajectory.tokens, trajectory.channels))
        self.instruction_gate = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(self.instruction_gate.weight)
        nn.init.zeros_(self.instruction_gate.bias)
        self.head = ConsistencyHead(dim, heads, trajectory.tokens, trajectory.channels)

    def use_explicit_attention(self) -> None:
        """Switch every attention module to the CPU processor (same weights, same result)."""
        for module in self.modules():
            if isinstance(module, WanAttention):
                module.processor = ExplicitAttention()

    def close_instruction_gate(self) -> None:
        """Take the pooled instruction out of the modulation, in training too: it stays at zero."""
        nn.init.zeros_(self.instruction_gate.weight)
        nn.init.zeros_(self.instruction_gate.bias)
        self.instruction_gate.requires_grad_(False)

    def null(self, batch: int) -> torch.Tensor:
        """The null trajectory token as style [B, S, C]."""
        return self.null_style.expand(batch, -1, -1)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, clean: torch.Tensor, conditions: Conditions
    ) -> Prediction:
        """One evaluation.

        Args:
            x: latents [B, C, T, V*h, M*w]; known tokens hold clean latents.
            t: noise level [B] in [0, 1] of the unknown tokens.
            clean: bool [L] or [B, L]; known tokens, whose time is zero.
            conditions: text, cameras, style.
        """
        backbone = self.backbone
        views = conditions.cameras.shape[1]
        rotary = backbone.rope(x)
        grid = backbone.patch_embedding(x)
        tokens = grid.flatten(2).transpose(1, 2).contiguous()
        view, modality = self._owners(views, grid.shape[2:])
        tokens = self.identity(tokens, view, modality, conditions.cameras)
        known = KnownTokens(clean)
        temb, modulation, text = self._embed(t, conditions.text)
        style = self.style_in(conditions.style) + self.style_position
        # Sec. 4.1-4.2 fuse before self-attention; style (Sec. 4.3) is heard after the words.
        for block, fuse, attend in zip(backbone.blocks, self.fusion, self.style, strict=True):
            tokens = run_block(block, fuse(tokens), text, modulation, known, rotary)
            tokens = attend(tokens, style)
        hidden = layer_norm(backbone.norm_out, tokens)
        shift, scale = (backbone.scale_shift_table[:, None] + temb[:, :, None]).unbind(2)
        velocity = backbone.proj_out(known.affine(hidden, scale, shift))
        return Prediction(self._unpatchify(velocity, grid.shape[2:]), hidden)

    def _owners(self, views: int, grid: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        frames, height, width = grid
        _, columns = self.config.token_grid
        view, modality, _ = token_owner(views, width // columns, frames, height // views, columns)
        device = self.null_style.device
        return view.to(device), modality.to(device)

    def _embed(
        self, t: torch.Tensor, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """temb [B, 2, d], modulation [B, 2, 6, d] for the times (t, 0), and projected text."""
        # Given tokens are at time zero, the others at t (App. A): two times serve all of them.
        times = torch.stack([t, torch.zeros_like(t)], dim=1) * TIME_SCALE
        temb, projected, features, _ = self.backbone.condition_embedder(
            times.flatten(), text, None, timestep_seq_len=2
        )
        # Padding is zero in Wan's text features, and must not thin the mean of the words.
        present = (text.abs().sum(dim=-1, keepdim=True) > 0).to(features.dtype)
        pooled = (features * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        modulation = projected + self.instruction_gate(pooled).unsqueeze(1)
        return temb, modulation.unflatten(2, (6, -1)), features

    def _unpatchify(self, tokens: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        p_t, p_h, p_w = self.config.transformer.patch
        frames, height, width = grid
        x = tokens.reshape(tokens.shape[0], frames, height, width, p_t, p_h, p_w, -1)
        # Each axis of the grid beside its share of the patch: the inverse of the patch embedding.
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class KnownTokens:
    """Which tokens are given, and so have time zero: per-token modulation from two times only.

    diffusers expands the modulation to [B, L, 6, d]; there are just two distinct rows, so they
    are broadcast instead. When the given tokens are the leading ones (the first frame of the
    source view) two slices do.
    """

    def __init__(self, clean: torch.Tensor) -> None:
        count = int(clean.sum()) if clean.ndim == 1 else -1
        self.leading = count if clean.ndim == 1 and bool(clean[:count].all()) else None
        self.mask = clean.unsqueeze(-1) if clean.ndim == 2 else clean[None, :, None]

    def affine(self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """x [B, L, d] * (1 + scale) + shift; scale, shift [B, 2, d] for the times (t, 0)."""
        scale, shift = (1 + scale).to(x.dtype), shift.to(x.dtype)
        if self.leading is None:
            return torch.addcmul(self._choose(shift), x, self._choose(scale))
        k = self.leading
        given = torch.addcmul(shift[:, 1:2], x[:, :k], scale[:, 1:2])
        return torch.cat([given, torch.addcmul(shift[:, 0:1], x[:, k:], scale[:, 0:1])], dim=1)

    def gate(self, x: torch.Tensor, update: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """x + update * gate, all [B, L, d] but gate [B, 2, d]."""
        gate, update = gate.to(x.dtype), update.to(x.dtype)
        if self.leading is None:
            return torch.addcmul(x, update, self._choose(gate))
        k = self.leading
        given = torch.addcmul(x[:, :k], update[:, :k], gate[:, 1:2])
        rest = torch.addcmul(x[:, k:], update[:, k:], gate[:, 0:1])
        return torch.cat([given, rest], dim=1)

    def _choose(self, pair: torch.Tensor) -> torch.Tensor:
        return torch.where(self.mask, pair[:, 1:2], pair[:, 0:1])


def layer_norm(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """The module's layer norm in x's own precision (autocast would go through float32 copies)."""
    with torch.autocast(x.device.type, enabled=False):
        weight = None if norm.weight is None else norm.weight.to(x.dtype)
        bias = None if norm.bias is None else norm.bias.to(x.dtype)
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


def run_block(
    block: WanTransformerBlock,
    tokens: torch.Tensor,
    text: torch.Tensor,
    modulation: torch.Tensor,
    known: KnownTokens,
    rotary: Rotary,
) -> torch.Tensor:
    """WanTransformerBlock with two distinct times instead of one modulation per token.

    The same numbers as the block's own forward on the expanded [B, L, 6, d] tensor, without it.
    """
    table = block.scale_shift_table.unsqueeze(1) + modulation.float()
    shift, scale, gate, shift_2, scale_2, gate_2 = table.unbind(2)
    normed = known.affine(layer_norm(block.norm1, tokens), scale, shift)
    tokens = known.gate(tokens, block.attn1(normed, None, None, rotary), gate)
    tokens = tokens + block.attn2(layer_norm(block.norm2, tokens), text, None, None)
    normed = known.affine(layer_norm(block.norm3, tokens), scale_2, shift_2)
    return known.gate(tokens, block.ffn(normed), gate_2)
