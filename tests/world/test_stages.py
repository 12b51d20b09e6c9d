"""The stages by themselves: what goes in comes out again, and what is given is marked as such."""

from __future__ import annotations

import numpy as np
import torch

from mvista_core.records import Float32, UInt8
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.decode import decode_actions, decode_views, within_range
from mvista_world.encode import encode_source, encode_views, source_mask, to_pixels
from mvista_world.given import whole_window
from mvista_world.layout import from_grid, to_grid
from mvista_world.trajectory import TrajectoryVae
from tests.world.tiny import ARM, CONFIG, make_observation

COMPUTE = choose("fp32")
SIZE = (CONFIG.window.height_px, CONFIG.window.width_px)
RELATIVE_DEPTH = 1e-5
"""Of the logarithmic code in single precision, there and back."""


class Looking:
    """A `VideoCodec` whose latents are the pixels: what is left is the stages' own doing."""

    def encode(self, video: torch.Tensor) -> torch.Tensor:
        return video

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


def pictures(views: int, frames: int) -> tuple[UInt8, Float32]:
    rng = np.random.default_rng(3)
    color = rng.integers(0, 256, (views, frames, *SIZE, 3), dtype=np.uint8)
    depth_m = rng.uniform(CONFIG.depth.near_m, CONFIG.depth.far_m, (views, frames, *SIZE))
    depth_m[:, :, :4] = 0.0
    return color, depth_m.astype(np.float32)


def test_pictures_survive_the_way_to_the_grid_and_back() -> None:
    color, depth_m = pictures(3, 5)
    latents = encode_views(Looking(), color, depth_m, CONFIG, COMPUTE)
    assert latents.shape == (3, 2, 3, 5, *SIZE)
    again, metres = decode_views(Looking(), to_grid(latents[None]), 3, CONFIG, COMPUTE)
    np.testing.assert_array_equal(again, color)
    np.testing.assert_array_equal(metres > 0, depth_m > 0)
    np.testing.assert_allclose(metres, depth_m, rtol=RELATIVE_DEPTH)


def test_pixels_lie_in_the_range_of_the_autoencoder() -> None:
    pixels = to_pixels(*pictures(2, 1), CONFIG)
    assert pixels.shape == (2, 2, 3, 1, *SIZE)
    assert pixels.min() >= -1.0 and pixels.max() <= 1.0


def test_only_the_sources_first_frame_is_given() -> None:
    torch.manual_seed(0)
    codec = StackedCodec(CONFIG.codec).eval()
    frame = CONFIG.window.frame(make_observation("").frame("cam1"))
    given = encode_source(codec, whole_window(frame), 3, CONFIG, COMPUTE)
    maps = from_grid(given, 3)[0]
    assert maps[0, :, :, 0].abs().max() > 0
    maps[0, :, :, 0] = 0.0
    assert maps.abs().max() == 0
    rows, columns = CONFIG.token_grid
    clean = source_mask(3, CONFIG, COMPUTE)
    assert clean.sum() == rows * 2 * columns
    assert len(clean) == 3 * CONFIG.latent_frames * rows * 2 * columns


def test_decoded_actions_begin_at_the_arm_and_stay_in_its_range() -> None:
    torch.manual_seed(0)
    vae = TrajectoryVae(CONFIG.trajectory, len(ARM.joint_names)).eval()
    vae.mean.copy_(torch.from_numpy(ARM.home))
    z = 20.0 * torch.randn(1, CONFIG.trajectory.tokens, CONFIG.trajectory.channels)
    found = decode_actions(vae, z, ARM.home, ARM, CONFIG)
    assert found.shape == (CONFIG.trajectory.action_count, len(ARM.joint_names))
    np.testing.assert_array_equal(found, within_range(found, ARM))
    gap = np.abs(found[0] - ARM.home).max()
    assert gap < np.abs(found - ARM.home).max()
