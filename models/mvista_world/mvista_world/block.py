"""One block of the generator: Sec. 4.1-4.2's fusion, Wan's own block, then the style (Sec. 4.3).

Its `forward` is all that happens between two blocks: the unit that `torch.compile`, activation
checkpointing, FSDP, caches and hooks take hold of.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import nn

from mvista_world.attention import (
    Rotary,
    attend_to,
    cross_attention,
    keys_of,
    layer_norm,
    zeroed,
)
from mvista_world.config import ModelConfig
from mvista_world.cross_view import CrossViewAttention
from mvista_world.modality import CrossModalityAttention
from mvista_world.views import TokenGeometry


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


class EveryToken(KnownTokens):
    """diffusers' own way: a time for every token, and modulation expanded to [B, L, 6, d]."""

    def __init__(self, clean: torch.Tensor) -> None:
        super().__init__(clean)
        self.leading = None

    def _choose(self, pair: torch.Tensor) -> torch.Tensor:
        return pair


Keys = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class BlockContext:
    """Keys and values [B, n, H, D] of text and style in one block: they depend on no time and on no
    token, so that one run of a solver needs them once."""

    text: Keys
    style: Keys


@dataclass(frozen=True)
class BlockInputs:
    """What every block of one evaluation is told beside its tokens.

    text [B, n, d]; modulation [B, 2, 6, d] for the times (t, 0), or [B, L, 6, d]; rotary embedding;
    style [B, S, d]; which tokens are known; grid and cameras as `TokenGeometry`; `context` what was
    kept of text and style for this block.
    """

    text: torch.Tensor
    modulation: torch.Tensor
    rotary: Rotary
    style: torch.Tensor
    known: KnownTokens
    geometry: TokenGeometry
    context: BlockContext | None = None


class StyleAttention(nn.Module):
    """Cross-attention to the S style tokens (Sec. 4.3); zero-initialised output."""

    def __init__(self, dim: int, heads: int, width: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = cross_attention(dim, heads, width)
        zeroed(self.attention.to_out[0])

    def forward(
        self, tokens: torch.Tensor, style: torch.Tensor, kept: Keys | None = None
    ) -> torch.Tensor:
        normed = layer_norm(self.norm, tokens)
        if kept is not None:
            return tokens + attend_to(self.attention, normed, kept)
        return tokens + self.attention(normed, style, None, None)


class MultiViewBlock(WanTransformerBlock):
    """A WanTransformerBlock, with its keys, and what is added around it, without effect at first.

    `cross_modality` and `cross_view` are None where the config has none (and so have no weights).
    """

    def __init__(self, config: ModelConfig) -> None:
        t, dim = config.transformer, config.inner_dim
        heads = t.num_attention_heads
        super().__init__(dim, t.ffn_dim, heads, t.qk_norm, cross_attn_norm=True)
        modality, view = config.cross_modality, config.cross_view
        self.cross_modality = None if modality is None else CrossModalityAttention(dim, modality)
        self.cross_view = None if view is None else CrossViewAttention(dim, view)
        self.style = StyleAttention(dim, config.style.heads or heads, config.style.width)

    def forward(self, hidden_states: torch.Tensor, told: BlockInputs) -> torch.Tensor:
        """hidden_states [B, L, d]: the tokens, by the name that diffusers' hooks look for.

        Wan's part gives the numbers of diffusers' own forward on the modulation expanded to
        [B, L, 6, d], without that tensor.
        """
        tokens = hidden_states
        # Sec. 4.1-4.2 fuse before self-attention; style (Sec. 4.3) is heard after the words.
        if self.cross_modality is not None:
            tokens = self.cross_modality(tokens, told.geometry)
        if self.cross_view is not None:
            tokens = self.cross_view(tokens, told.geometry)
        # bf16 weights, too, are modulated in float32, as diffusers does.
        wide = torch.promote_types(told.modulation.dtype, torch.float32)
        table = self.scale_shift_table.unsqueeze(1) + told.modulation.to(wide)
        shift, scale, gate, shift_2, scale_2, gate_2 = table.unbind(2)
        normed = told.known.affine(layer_norm(self.norm1, tokens), scale, shift)
        tokens = told.known.gate(tokens, self.attn1(normed, None, None, told.rotary), gate)
        tokens = tokens + self._hear(layer_norm(self.norm2, tokens), told)
        normed = told.known.affine(layer_norm(self.norm3, tokens), scale_2, shift_2)
        tokens = told.known.gate(tokens, self.ffn(normed), gate_2)
        return self.style(tokens, told.style, told.context.style if told.context else None)

    def context(self, text: torch.Tensor, style: torch.Tensor) -> BlockContext:
        """What is kept of text [B, n, d] and style [B, S, d]."""
        return BlockContext(keys_of(self.attn2, text), keys_of(self.style.attention, style))

    def _hear(self, normed: torch.Tensor, told: BlockInputs) -> torch.Tensor:
        if told.context is not None:
            return attend_to(self.attn2, normed, told.context.text)
        return self.attn2(normed, told.text, None, None)
