"""What attention modules share: diffusers' WanAttention, norms, a start at zero.

`ExplicitAttention` is for a CPU in bf16: at a few hundred tokens softmax(q k) v written out is
faster than the fused kernel, whose bf16 backward is slow; the projections, norms and weights are
the module's own.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import nn
from torch.nn import functional as F

Rotary = tuple[torch.Tensor, torch.Tensor]
Z = TypeVar("Z", nn.Linear, nn.Conv1d, nn.Conv2d)


def cross_attention(dim: int, heads: int, width: int | None = None) -> WanAttention:
    """diffusers' attention module between sequences of width `dim`, with its default processor.

    It attends at `width`, None for `dim`.
    """
    each = (width or dim) // heads
    return WanAttention(
        dim, heads, each, cross_attention_dim_head=each, processor=WanAttnProcessor()
    )


def zeroed(layer: Z) -> Z:
    """The layer at zero: what it is added to is as it was before it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def layer_norm(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """The module's layer norm in x's own precision (autocast would go through float32 copies)."""
    with torch.autocast(x.device.type, enabled=False):
        weight = None if norm.weight is None else norm.weight.to(x.dtype)
        bias = None if norm.bias is None else norm.bias.to(x.dtype)
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [B, L, H, D] on adjacent pairs; cosine, sine [1, L, 1, D/2]."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack(
        [first * cosine - second * sine, first * sine + second * cosine], dim=-1
    ).flatten(-2)


def rms_norm(norm: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """The module's RMS norm with its weight in x's precision, which takes the fused kernel."""
    return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)


def keys_of(attn: WanAttention, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [B, n, H, D] of a context [B, n, d], as the module's processor makes them."""
    explicit = isinstance(attn.processor, ExplicitAttention)
    key = attn.to_k(context)
    key = rms_norm(attn.norm_k, key) if explicit else attn.norm_k(key)
    value = attn.to_v(context)
    return key.unflatten(2, (attn.heads, -1)), value.unflatten(2, (attn.heads, -1))


def attend_to(
    attn: WanAttention, tokens: torch.Tensor, keys: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """`attn(tokens, context)` with what `keys_of` made of the context."""
    query, (key, value) = attn.to_q(tokens), keys
    if isinstance(attn.processor, ExplicitAttention):
        query = rms_norm(attn.norm_q, query).unflatten(2, (attn.heads, -1))
        return explicit_attention(attn, query, key, value)
    query = attn.norm_q(query).unflatten(2, (attn.heads, -1))
    mixed = dispatch_attention_fn(query, key, value, backend=attn.processor._attention_backend)
    return attn.to_out[1](attn.to_out[0](mixed.flatten(2, 3).type_as(query)))


def explicit_attention(
    attn: WanAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """softmax(q k) v of [B, L, H, D], written out, and the module's projection of it."""
    # Scaled before the product: L x D numbers instead of L x L.
    query = (query * query.shape[-1] ** -0.5).transpose(1, 2)
    scores = query @ key.permute(0, 2, 3, 1)
    # In the scores' own precision: autocast may copy them, the largest tensor, to float32.
    with torch.autocast(scores.device.type, enabled=False):
        weights = scores.softmax(dim=-1)
    mixed = weights @ value.transpose(1, 2).to(weights.dtype)
    return attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))


class ExplicitAttention:
    """A processor for diffusers' WanAttention."""

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> torch.Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = rms_norm(attn.norm_q, attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key, value = keys_of(attn, context)
        if rotary_emb is not None:
            cosine, sine = rotary_emb[0][..., 0::2], rotary_emb[1][..., 1::2]
            query = rotate(query, cosine.to(query.dtype), sine.to(query.dtype))
            key = rotate(key, cosine.to(key.dtype), sine.to(key.dtype))
        return explicit_attention(attn, query, key, value)
