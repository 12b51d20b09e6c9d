"""Eq. 3 and the view token: what tells the shared backbone which map a token belongs to.

`FusionSlot` marks, in every block and before self-attention, the place of local cross-modality
attention (Eq. 4-5) and of deformable cross-view attention (Eq. 8).
"""

from __future__ import annotations

import torch
from torch import nn

from mvista_world.cameras import EMBEDDING_DIM


class TokenIdentity(nn.Module):
    """Adds the modality token (Eq. 3) and the camera embedding (Eq. 7) to every token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.modality_token = nn.Parameter(torch.zeros(2, dim))
        self.camera = nn.Linear(EMBEDDING_DIM, dim)
        nn.init.zeros_(self.camera.weight)
        nn.init.zeros_(self.camera.bias)

    def forward(
        self,
        tokens: torch.Tensor,
        view: torch.Tensor,
        modality: torch.Tensor,
        cameras: torch.Tensor,
    ) -> torch.Tensor:
        """tokens [B, L, d]; view, modality [L]; cameras [B, V, 13]."""
        # Maps of all views and modalities share the backbone: a token alone says whose it is.
        identity = self.camera(cameras)[:, view] + self.modality_token[modality]
        return tokens + identity.to(tokens.dtype)


class FusionSlot(nn.Module):
    """Where Sec. 4.1-4.2's attention modules go; returns the tokens as they are."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens
