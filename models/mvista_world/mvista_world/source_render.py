"""What the source's first frame shows of every view, as the generator is told it.

Not the paper's (its generator is told poses and has to find all pixels by attention): calibrated
RGB-D says where every pixel of the first frame lies in every view, and what it shows need not be
imagined then. Renders of a point cloud as a condition are how video models were given
cameras (ViewCrafter, arXiv:2409.02048; GEN3C, arXiv:2503.03751).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mvista_core.errors import ConfigError
from mvista_world.attention import zeroed
from mvista_world.config import ModelConfig, SourceRenderConfig
from mvista_world.layout import SHOWN_BESIDE


class SourceRender(nn.Module):
    """Adds to every token what was seen of its place before anything moved, at zero at first; and
    makes of what the network finds the difference from there."""

    def __init__(self, config: ModelConfig, own: SourceRenderConfig) -> None:
        super().__init__()
        _, down, across = config.transformer.patch
        self._channels = channels = config.codec.latent_channels + 1
        self.embed = nn.Conv2d(channels, own.width, (down, across), stride=(down, across))
        self.to_out = zeroed(nn.Linear(own.width, config.inner_dim))
        self._own = own

    def forward(
        self, tokens: torch.Tensor, shown: torch.Tensor | None, frames: int
    ) -> torch.Tensor:
        """tokens [B, L, d] of so many frames; shown as in `Conditions`: latents, and the share of
        each cell that the source sees. All times of a place are told the same.

        Raises:
            ConfigError: nothing is shown, or other views are.
        """
        if shown is None:
            raise ConfigError(
                "this generator was trained to be shown what the source sees of every view, and "
                "its conditions lack it; see Conditions.shown"
            )
        if shown.shape[1] != self._channels - 1 + SHOWN_BESIDE:
            raise ConfigError(
                f"shown are {shown.shape[1]} channels, of {self._channels - 1} latents and "
                f"{SHOWN_BESIDE} beside them; see Conditions.shown"
            )
        places = F.gelu(self.embed(shown[:, : self._channels, 0].to(tokens.dtype))).flatten(2).mT
        if frames * places.shape[1] != tokens.shape[1]:
            raise ConfigError(
                f"shown are {places.shape[1]} places of {frames} frames, there are "
                f"{tokens.shape[1]} tokens: what is shown is of other views than the latents"
            )
        added = self.to_out(places).to(tokens.dtype)
        return (tokens.unflatten(1, (frames, -1)) + added.unsqueeze(1)).flatten(1, 2)

    def velocity(
        self, found: torch.Tensor, x: torch.Tensor, t: torch.Tensor, shown: torch.Tensor
    ) -> torch.Tensor:
        """Eq. 2's velocity noise - x0, float32 like the latents x [B, C, T, V*h, M*w] at t [B].

        Were x0 Gaussian round what is shown (`seen_std`, `unseen_std`), its mean given x would be
        known; `found` is what is left of it at unit variance, as in EDM's preconditioning (Karras
        et al. 2022, Table 1). A network that finds nothing imagines the still scene, scattered by
        those deviations.
        """
        still, share, _ = shown.float().split([x.shape[1], 1, SHOWN_BESIDE - 1], dim=1)
        own, t = self._own, t.float().view(-1, 1, 1, 1, 1)
        spread = own.unseen_std + (own.seen_std - own.unseen_std) * share
        away = x.float() - (1.0 - t) * still
        variance = ((1.0 - t) * spread) ** 2 + t**2
        known = (t - (1.0 - t) * spread**2) / variance * away - still
        return known + spread * variance.rsqrt() * found.float()
