"""Eq. 9-10: the TCN-VAE that turns an action sequence into S style tokens of C channels; and what
there is in its place in Table 5's "w/o TCN-VAE"."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import nn
from torch.nn import functional as F

from mvista_core.records import Float64
from mvista_world.config import TrajectoryConfig

LEAST_LOG_VARIANCE = -12.0
"""Of a posterior that is a point."""


class TcnBlock(nn.Module):
    """Residual pair of dilated temporal convolutions."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class ToStretches(nn.Module):
    """Actions [B, J, L] as they are: those of a stretch in the channels of its token [B, 2 C, S],
    behind them a log-variance that is none."""

    def __init__(self, stretch: int) -> None:
        super().__init__()
        self._stretch = stretch

    def forward(self, actions: torch.Tensor) -> torch.Tensor:
        tokens = actions.unflatten(2, (-1, self._stretch)).movedim(3, 1).flatten(1, 2)
        return torch.cat([tokens, torch.full_like(tokens, LEAST_LOG_VARIANCE)], dim=1)


class FromStretches(nn.Module):
    """Inverse of `ToStretches` without that variance: [B, C, S] to [B, J, L]."""

    def __init__(self, stretch: int) -> None:
        super().__init__()
        self._stretch = stretch

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(1, (self._stretch, -1)).movedim(1, 3).flatten(2, 3)


class TrajectoryVae(nn.Module):
    """Actions [B, L, J] (rad, m) <-> latent [B, S, C]. Standardisation is part of the weights, and
    all there is of them for latents of kind "actions"."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: TrajectoryConfig, joints: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(joints))
        self.register_buffer("std", torch.ones(joints))
        self.encoder: nn.Module
        self.decoder: nn.Module
        if config.kind == "actions":
            stretch = 2**config.stages
            self.encoder, self.decoder = ToStretches(stretch), FromStretches(stretch)
            return
        w = config.width
        down: list[nn.Module] = [nn.Conv1d(joints, w, 3, padding=1)]
        up: list[nn.Module] = [nn.Conv1d(config.channels, w, 3, padding=1)]
        # Each stage halves time, so that a style token stands for a stretch of the motion (Eq. 9).
        for _ in range(config.stages):
            down += [TcnBlock(w, 1), TcnBlock(w, 2), nn.Conv1d(w, w, 4, stride=2, padding=1)]
            up += [TcnBlock(w, 1), TcnBlock(w, 2), nn.ConvTranspose1d(w, w, 4, stride=2, padding=1)]
        self.encoder = nn.Sequential(*down, TcnBlock(w, 1), nn.Conv1d(w, 2 * config.channels, 1))
        self.decoder = nn.Sequential(*up, TcnBlock(w, 1), nn.Conv1d(w, joints, 3, padding=1))

    def posterior(self, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance [B, S, C] of q(z | a)."""
        x = ((actions - self.mean) / self.std).transpose(1, 2)
        mean, log_variance = self.encoder(x).transpose(1, 2).chunk(2, dim=-1)
        # Beyond these a posterior is a point, or wider than the prior; exp must not overflow.
        return mean, log_variance.clamp(LEAST_LOG_VARIANCE, 4.0)

    def encode(self, actions: torch.Tensor) -> torch.Tensor:
        """The mode of q(z | a), [B, S, C]."""
        return self.posterior(actions)[0]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Actions [B, L, J] of a latent [B, S, C]."""
        return self.decoder(z.transpose(1, 2)).transpose(1, 2) * self.std + self.mean

    def loss(self, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Eq. 10 on standardised actions: (loss, mean absolute error in rad)."""
        mean, log_variance = self.posterior(actions)
        decoded = self.decode(drawn(mean, log_variance))
        # Means, here and of the KL, where Eq. 10 has sums: beta is that of means.
        reconstruction = F.mse_loss(
            (decoded - self.mean) / self.std, (actions - self.mean) / self.std
        )
        # KL(q || N(0, 1)) in closed form: Eq. 11 starts from that prior and is held near it.
        kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).mean()
        return reconstruction + self.config.beta * kl, (decoded - actions).abs().mean()


def drawn(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """A sample of N(mean, exp(log_variance))."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


def smooth_from(start: Float64, actions: Float64, config: TrajectoryConfig) -> Float64:
    """Decoded actions [L, J] as a motion from the measured pose `start` [J].

    The gap between the pose and the decoded beginning is added back and fades over `anchor_s`
    (raised cosine); then a Gaussian over time, with the pose held before the first action and the
    last action held after it.
    """
    times_s = np.arange(1.0, len(actions) + 1.0) / config.action_rate_hz
    fade = 0.5 * (1.0 + np.cos(np.pi * np.clip(times_s / config.anchor_s, 0.0, 1.0)))
    anchored = actions + fade[:, None] * (start - actions[0])
    # The filter reaches four deviations: so long is the pose held before the first action.
    pad = int(4 * config.smoothing_actions) + 1
    held = np.concatenate([np.tile(start, (pad, 1)), anchored])
    smooth: Float64 = gaussian_filter1d(held, config.smoothing_actions, axis=0, mode="nearest")
    return smooth[pad:]
