"""Laws of the depth coding and of the layout on one latent grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvista_world.config import DepthConfig
from mvista_world.depth_codec import decode_depth, encode_depth
from mvista_world.layout import clean_mask, from_grid, to_grid, token_owner
from tests.world.tiny import make_generator

RANGE = DepthConfig(0.3, 2.0)
sizes = st.integers(1, 3)


@given(st.floats(0.31, 1.99))
def test_depth_survives_the_round_trip(depth_m: float) -> None:
    depth = torch.tensor([depth_m])
    assert torch.allclose(decode_depth(encode_depth(depth, RANGE), RANGE), depth, rtol=1e-5)


@given(st.floats(-1e-2, 1e-2))
def test_a_code_error_is_the_same_relative_depth_error_everywhere(error: float) -> None:
    depth = torch.tensor([0.5, 1.0, 1.8])
    ratio = decode_depth(encode_depth(depth, RANGE) + error, RANGE) / depth
    assert torch.allclose(ratio, ratio[:1].expand(3), rtol=1e-4)


def test_three_equal_channels_within_range_and_near_is_bright() -> None:
    code = encode_depth(torch.tensor([[0.3, 1.0, 2.0]]), RANGE)
    assert code.shape == (1, 3, 3)
    assert torch.equal(code[..., 0], code[..., 1])
    assert torch.equal(code[..., 0], code[..., 2])
    assert code[0, :, 0].tolist() == pytest.approx([1.0, code[0, 1, 0].item(), -0.8])


def test_invalid_and_out_of_range_depths_stay_invalid_under_noise() -> None:
    code = encode_depth(torch.tensor([0.0, 0.29, 2.1, float("nan")]), RANGE)
    assert (decode_depth(code + 0.05, RANGE) == 0).all()


@given(sizes, sizes, sizes, st.integers(1, 2), sizes, sizes)
def test_from_grid_inverts_to_grid(v: int, m: int, c: int, t: int, h: int, w: int) -> None:
    latents = torch.randn(2, v, m, c, t, h, w)
    grid = to_grid(latents)
    assert grid.shape == (2, c, t, v * h, m * w)
    assert torch.equal(from_grid(grid, v, m), latents)


def test_a_grid_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="grid 4x5 does not hold 2 views x 2 maps"):
        from_grid(torch.zeros(1, 1, 1, 4, 5), 2)


def test_token_owner_follows_the_flattening_of_the_backbone() -> None:
    """A backbone patch embedding that passes each token's own label on must find it again."""
    views, modalities, frames, rows, columns = 3, 2, 2, 2, 3
    index = torch.arange(views * modalities * frames).reshape(views, modalities, 1, frames, 1, 1)
    latents = index[None].expand(1, views, modalities, 8, frames, 2 * rows, 2 * columns).float()
    embed = make_generator().backbone.patch_embedding
    embed.weight.zero_()
    embed.weight[0, 0] = 0.25
    embed.bias.zero_()
    tokens = embed(to_grid(latents)).flatten(2).transpose(1, 2)[0, :, 0]
    view, modality, frame = token_owner(views, modalities, frames, rows, columns)
    assert torch.equal(tokens.long(), (view * modalities + modality) * frames + frame)


def test_the_clean_mask_marks_whole_frames_of_both_modalities() -> None:
    known = torch.tensor([[True, False], [False, False]])
    mask = clean_mask(known, (2, 3))
    view, _, frame = token_owner(2, 2, 2, 2, 3)
    assert mask.sum() == 2 * 2 * 3
    assert torch.equal(mask, (view == 0) & (frame == 0))
