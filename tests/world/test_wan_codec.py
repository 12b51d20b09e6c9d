"""Wan2.2's autoencoder: standardised by its own statistics, in its own numbers, nothing dropped."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLWan

from mvista_core.errors import ConfigError
from mvista_world import wan
from mvista_world.codec import WanCodec
from mvista_world.config import CodecConfig
from mvista_world.presets import wan22_ti2v_5b

CODEC = CodecConfig("wan", 48, 16, 4, 10)


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    torch.manual_seed(0)
    return WanCodec(AutoencoderKLWan.from_config(wan.vae_config(CODEC))).eval()


def video(frames: int = 5, height: int = 32, width: int = 64, count: int = 2) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, frames, height, width, generator=rng) * 2 - 1


def test_the_full_size_is_the_published_one() -> None:
    """Counted without memory: 704.7 M parameters, 48 channels of statistics."""
    with torch.device("meta"):
        vae = AutoencoderKLWan.from_config(wan.vae_config(wan22_ti2v_5b().codec))
    assert sum(p.numel() for p in vae.parameters()) == 704_688_668
    assert len(wan.LATENTS_MEAN) == len(wan.LATENTS_STD) == vae.config.z_dim == 48
    assert min(wan.LATENTS_STD) > 0.3
    # The class's own are another model's: to leave them out would be silent.
    assert len(AutoencoderKLWan(base_dim=8).config.latents_mean) == 16


@torch.no_grad()
def test_latents_are_the_mode_less_the_mean_over_the_deviation(codec: WanCodec) -> None:
    seen = video()
    mode = codec.vae.encode(seen).latent_dist.mode()
    latents = codec.encode(seen)
    assert latents.shape == (2, 48, 2, 2, 4)
    for channel in (0, 19, 47):
        wanted = (mode[:, channel] - wan.LATENTS_MEAN[channel]) / wan.LATENTS_STD[channel]
        torch.testing.assert_close(latents[:, channel], wanted, atol=1e-5, rtol=1e-5)
    decoded = codec.decode(latents)
    torch.testing.assert_close(decoded, codec.vae.decode(mode).sample, atol=1e-4, rtol=1e-4)
    assert decoded.shape == seen.shape


@torch.no_grad()
def test_autocast_around_it_changes_nothing(codec: WanCodec) -> None:
    seen = video(count=1)
    with torch.autocast("cpu", torch.bfloat16):
        latents, inside = codec.encode(seen), codec.decode(codec.encode(seen))
    assert torch.equal(latents, codec.encode(seen))
    assert torch.equal(inside, codec.decode(latents))
    assert latents.dtype == inside.dtype == torch.float32


@torch.no_grad()
def test_a_video_is_coded_as_if_it_were_alone(codec: WanCodec) -> None:
    both = video()
    assert torch.equal(codec.encode(both)[1:], codec.encode(both[1:]))


@pytest.mark.parametrize("size", [(8, 32, 64), (5, 40, 64), (5, 32, 60)])
def test_what_it_would_drop_is_refused(codec: WanCodec, size: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"the autoencoder takes 4k\+1 frames, and sides that 16"):
        codec.encode(video(*size))


def test_statistics_of_another_size_are_refused() -> None:
    other = AutoencoderKLWan.from_config({**wan.vae_config(CODEC), "latents_std": [1.0] * 16})
    with pytest.raises(ConfigError, match="belong to another VAE"):
        WanCodec(other)
