"""Video autoencoders behind one interface: pixels [-1, 1] <-> standardised latents.

`WanCodec` wraps diffusers' AutoencoderKLWan; `StackedCodec` is the quick one of the `tiny` preset:
a 2D convolutional autoencoder over groups of four frames stacked on the channels (the first frame
is repeated four times), which trains six times as fast on a CPU as thin 3D convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from mvista_core.errors import ConfigError
from mvista_world.config import CodecConfig

if TYPE_CHECKING:  # it imports every autoencoder there is, and a `tiny` checkpoint needs none
    from diffusers import AutoencoderKLWan


class VideoCodec(Protocol):
    """Frames [B, 3, T, H, W] in [-1, 1] <-> latents [B, C, 1+(T-1)/s, H/stride, W/stride]."""

    def encode(self, video: torch.Tensor) -> torch.Tensor: ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor: ...


class ResBlock(nn.Module):
    """Two 3x3 convolutions with group norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class StackedCodec(nn.Module):
    """2D autoencoder of `temporal_stride` stacked frames at spatial stride 8.

    The buffers `mean`, `std` [C] standardise the latents; training sets them.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        if config.spatial_stride != 8:
            raise ConfigError(f"StackedCodec has stride 8, not {config.spatial_stride}")
        self.group = config.temporal_stride
        w, c = config.width, config.latent_channels
        # A 4x4 patchify first keeps every convolution at a quarter of the resolution or below.
        self.encoder = nn.Sequential(
            nn.Conv2d(3 * self.group, w, 4, stride=4),
            ResBlock(w),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
            ResBlock(2 * w),
            ResBlock(2 * w),
            nn.Conv2d(2 * w, c, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(c, 2 * w, 3, padding=1),
            ResBlock(2 * w),
            ResBlock(2 * w),
            nn.Conv2d(2 * w, 4 * w, 1),
            nn.PixelShuffle(2),
            ResBlock(w),
            ResBlock(w),
            nn.Conv2d(w, 3 * self.group * 16, 1),
            nn.PixelShuffle(4),
        )
        # In the weights' file, since latents mean nothing without the scale they were trained at.
        self.register_buffer("mean", torch.zeros(c))
        self.register_buffer("std", torch.ones(c))

    def channels_last(self) -> StackedCodec:
        """Itself, with weights in the memory layout CPU convolutions like best (same values)."""
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def encode(self, video: torch.Tensor) -> torch.Tensor:
        """Standardised latents; the first frame is a group by itself."""
        return self.standardise(self.encode_raw(video))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames from standardised latents, clamped to [-1, 1]."""
        shape = (1, -1, 1, 1, 1)
        return self.decode_raw(latents * self.std.view(shape) + self.mean.view(shape)).clamp(-1, 1)

    def standardise(self, latents: torch.Tensor) -> torch.Tensor:
        shape = (1, -1, 1, 1, 1)
        return (latents - self.mean.view(shape)) / self.std.view(shape)

    def encode_raw(self, video: torch.Tensor) -> torch.Tensor:
        b, _, t, h, w = video.shape
        first = video[:, :, :1].expand(-1, -1, self.group, -1, -1)
        frames = torch.cat([first, video[:, :, 1:]], dim=2)
        groups = (t - 1) // self.group + 1
        stacked = frames.reshape(b, 3, groups, self.group, h, w).permute(0, 2, 1, 3, 4, 5)
        latents = self.encoder(
            stacked.reshape(b * groups, 3 * self.group, h, w).to(memory_format=torch.channels_last)
        )
        # Bounded, since nothing else keeps latents from growing to drown the training noise.
        latents = 3.0 * torch.tanh(latents.float() / 3.0)
        return latents.reshape(b, groups, *latents.shape[1:]).transpose(1, 2)

    def decode_raw(self, latents: torch.Tensor) -> torch.Tensor:
        b, c, groups, h, w = latents.shape
        flat = latents.transpose(1, 2).reshape(b * groups, c, h, w)
        frames = self.decoder(flat.to(memory_format=torch.channels_last))
        height, width = frames.shape[-2:]
        frames = frames.reshape(b, groups, 3, self.group, height, width).transpose(1, 2)
        video = frames.reshape(b, 3, groups * self.group, height, width)
        # The first group is one frame: its copies are averaged.
        first = video[:, :, : self.group].mean(dim=2, keepdim=True)
        return torch.cat([first, video[:, :, self.group :]], dim=2)


class WanCodec(nn.Module):
    """AutoencoderKLWan with the latent statistics that belong to it (`wan.check_vae`).

    Always in the autoencoder's own numbers (float32), whatever the networks around it run in: in
    bf16 its pictures flicker. One video at a time, since six at once would take six times the
    memory and no less time.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        if not len(vae.config.latents_mean) == len(vae.config.latents_std) == vae.config.z_dim:
            raise ConfigError(
                f"the VAE has {vae.config.z_dim} channels but {len(vae.config.latents_mean)} "
                "latent means: these statistics belong to another VAE (see its config.json)"
            )
        self.vae = vae
        shape = (1, -1, 1, 1, 1)
        mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
        self.register_buffer("mean", mean.view(shape), persistent=False)
        self.register_buffer("std", std.view(shape), persistent=False)

    def encode(self, video: torch.Tensor) -> torch.Tensor:
        """(mode - mean) / std.

        Raises:
            ConfigError: sizes that the autoencoder would drop rows or frames of.
        """
        frames, height, width = video.shape[2:]
        space, time = self.vae.config.scale_factor_spatial, self.vae.config.scale_factor_temporal
        if height % space or width % space or (frames - 1) % time:
            raise ConfigError(
                f"{frames} frames of {width}x{height}: the autoencoder takes {time}k+1 frames, and "
                f"sides that {space} divides"
            )
        with torch.autocast(video.device.type, enabled=False):
            videos = video.to(self.vae.dtype).split(1)
            latents = torch.cat([self.vae.encode(one).latent_dist.mode() for one in videos])
        return (latents.float() - self.mean) / self.std

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames in [-1, 1] of standardised latents."""
        with torch.autocast(latents.device.type, enabled=False):
            raw = (latents.float() * self.std + self.mean).to(self.vae.dtype)
            videos = [self.vae.decode(one).sample for one in raw.split(1)]
        return torch.cat(videos).float()
