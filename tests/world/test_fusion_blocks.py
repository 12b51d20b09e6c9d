"""Local cross-modality attention (Eq. 3-5) and deformable cross-view attention (Eq. 8)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mvista_core.geometry import exp_so3, pose_from
from mvista_world.config import CrossModalityConfig, CrossViewConfig
from mvista_world.cross_view import CrossViewAttention, sample
from mvista_world.modality import CrossModalityAttention, WindowAttention
from mvista_world.views import (
    TokenGeometry,
    TokenGrid,
    ViewCameras,
    keys_inside,
    token_geometry,
)
from tests.world.test_epipolar import COLUMNS, POSES, ROWS, K
from tests.world.tiny import CONFIG, awake, make_cameras

DIM, WIDTH = 24, 8
GRID = TokenGrid(views=3, modalities=2, frames=2, rows=ROWS, columns=COLUMNS)
MODALITY, VIEW = CrossModalityConfig(WIDTH, 2), CrossViewConfig(WIDTH, 2, samples=6)


def cameras_at(poses: np.ndarray) -> ViewCameras:
    k = torch.from_numpy(np.tile(K, (1, len(poses), 1, 1)))
    return ViewCameras(torch.zeros(1, len(poses), 13), k, torch.from_numpy(poses[None]))


def geometry_of(poses: np.ndarray = POSES[:3], grid: TokenGrid = GRID) -> TokenGeometry:
    return token_geometry(cameras_at(poses), grid, MODALITY, VIEW)


def make_tokens(grid: TokenGrid = GRID, seed: int = 0) -> torch.Tensor:
    count = grid.frames * grid.views * grid.rows * grid.modalities * grid.columns
    return torch.randn(1, count, DIM, generator=torch.Generator().manual_seed(seed))


def test_maps_are_the_tokens_of_each_view_frame_and_modality() -> None:
    tokens = make_tokens()
    maps = GRID.maps(tokens)
    assert maps.shape == (1, 2, 2, 3, ROWS, COLUMNS, DIM)
    assert torch.equal(GRID.tokens(maps), tokens)
    # The backbone's order: frame, then rows of all views, then columns of all modalities.
    volume = tokens.view(2, 3 * ROWS, 2 * COLUMNS, DIM)
    assert torch.equal(maps[0, 1, 1, 2, 4, 5], volume[1, 2 * ROWS + 4, COLUMNS + 5])


@pytest.mark.parametrize("kind", [CrossModalityAttention, CrossViewAttention])
def test_a_new_module_adds_nothing_and_has_a_gradient(kind: type) -> None:
    module = kind(DIM, MODALITY if kind is CrossModalityAttention else VIEW)
    tokens = make_tokens()
    out = module(tokens, geometry_of())
    assert torch.equal(out, tokens)
    (out * torch.randn_like(out)).sum().backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    outputs = [name for name in gradients if "to_out" in name or name == "modality_token"]
    assert outputs and all(gradients[name].abs().max() > 0 for name in outputs)


def test_one_map_or_one_view_has_nothing_to_fuse() -> None:
    alone = TokenGrid(1, 1, 2, ROWS, COLUMNS)
    geometry = token_geometry(cameras_at(POSES[:1]), alone, MODALITY, VIEW)
    tokens = make_tokens(alone)
    for module in (CrossModalityAttention(DIM, MODALITY), CrossViewAttention(DIM, VIEW)):
        assert awake(module)(tokens, geometry) is tokens


def test_window_attention_is_attention_masked_to_the_window() -> None:
    """Eq. 4 by the full attention of every place to every place, all but the window masked."""
    module = awake(WindowAttention(DIM, MODALITY))
    rng = torch.Generator().manual_seed(1)
    query, context = (torch.randn(5, ROWS, COLUMNS, DIM, generator=rng) for _ in range(2))
    ours = module(query, context, keys_inside(ROWS, COLUMNS, 3))
    reduced = module.reduce_context(context)
    q = module.norm_q(module.to_q(module.reduce_query(query)))
    k, v = module.norm_k(module.to_k(reduced)), module.to_v(reduced)
    place = torch.stack(
        torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij"), -1
    ).flatten(0, 1)
    near = ((place[:, None] - place[None]).abs() <= 1).all(-1)
    q, k, v = (x.flatten(1, 2).unflatten(-1, (2, -1)).transpose(1, 2) for x in (q, k, v))
    full = F.scaled_dot_product_attention(q, k, v, attn_mask=near)
    wanted = module.to_out(full.transpose(1, 2).flatten(2)).unflatten(1, (ROWS, COLUMNS))
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)
    assert near.sum(1).tolist() == keys_inside(ROWS, COLUMNS, 3).sum(0).tolist()


def test_colour_hears_depth_near_by_and_depth_hears_colour() -> None:
    module = awake(CrossModalityAttention(DIM, MODALITY))
    tokens, geometry = make_tokens(), geometry_of()
    before = GRID.maps(module(tokens, geometry))
    for told, heard in ((1, 0), (0, 1)):
        maps = GRID.maps(tokens).clone()
        # Of its own in each channel: the norm takes away what all channels share.
        maps[0, told, 1, 2, 4, 5] += torch.arange(DIM)
        moved = (GRID.maps(module(GRID.tokens(maps), geometry)) - before).abs().amax(-1)[0]
        wanted = torch.zeros_like(moved, dtype=torch.bool)
        wanted[heard, 1, 2, 3:6, 4:7] = True
        wanted[told, 1, 2, 4, 5] = True
        assert torch.equal(moved > 1e-7, wanted)


def test_gates_are_channel_wise_and_of_one_direction_each() -> None:
    module = awake(CrossModalityAttention(DIM, MODALITY))
    tokens, geometry = make_tokens(), geometry_of()
    with torch.no_grad():
        module.gate[1] = 0.0
        module.gate[0, :5] = 0.0
    maps = GRID.maps(tokens) + module.modality_token.view(1, 2, 1, 1, 1, 1, -1)
    moved = (GRID.maps(module(tokens, geometry)) - maps).abs()[0]
    assert moved[1].max() == 0.0 and moved[0, ..., :5].max() == 0.0
    assert moved[0, ..., 5:].max() > 1e-3


def matcher(sharpness: float, max_offset: float = 0.0) -> CrossViewAttention:
    """Query and key are the token's first channels, value and output the two after them."""
    config = CrossViewConfig(16, 1, samples=8, max_offset=max_offset)
    module = CrossViewAttention(20, config).double()
    module.norm = torch.nn.LayerNorm(1, elementwise_affine=False)
    with torch.no_grad():
        for layer in (module.to_q, module.to_k, module.to_v, module.to_out):
            layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
        module.to_q.weight[:, :16] = module.to_k.weight[:, :16] = torch.eye(16)
        module.to_v.weight[[0, 1], [16, 17]] = 1.0
        module.to_out.weight[[18, 19], [0, 1]] = 1.0
        module.norm_k.weight.fill_(sharpness)
    return module


def waves(pixels: torch.Tensor) -> torch.Tensor:
    """Features [..., 16] that are most alike where the positions [..., 2] are."""
    steps = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    phases = torch.cat([pixels[..., :1] * steps, pixels[..., 1:] * steps], dim=-1)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def test_a_point_seen_in_two_views_gets_its_largest_weight_within_half_a_spacing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """View 1's tokens are waves of their place; view 0's query is that of one point on its line.

    The values are positions: what is read is the place of the sample with (all) the weight.
    """
    monkeypatch.setattr("mvista_world.cross_view.layer_norm", lambda norm, x: x)
    module = matcher(sharpness=4000.0)
    grid = TokenGrid(2, 1, 1, ROWS, COLUMNS)
    geometry = token_geometry(cameras_at(POSES[:2]), grid, None, module_config(module))
    lines = geometry.epipolar
    assert lines is not None
    row, column = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
    place = torch.stack([column, row], dim=-1).double()
    rng = torch.Generator().manual_seed(0)
    first, last = lines.pixels[0, 0, 0, :, 0], lines.pixels[0, 0, 0, :, -1]
    point = torch.lerp(first, last, torch.rand(ROWS * COLUMNS, 1, generator=rng).double())
    maps = torch.zeros(1, 1, 1, 2, ROWS, COLUMNS, 20, dtype=torch.float64)
    maps[0, 0, 0, 0, ..., :16] = waves(point).view(ROWS, COLUMNS, 16)
    maps[0, 0, 0, 1, ..., :16], maps[0, 0, 0, 1, ..., 16:18] = waves(place), place
    read = grid.maps(module(grid.tokens(maps), geometry))[0, 0, 0, 0, ..., 18:].flatten(0, 1)
    seen = lines.seen[0, 0, 0]
    # Positions as `sample` reads them: the outermost centre's beyond it.
    spacing = (lines.pixels[0, 0, 0, :, 1] - lines.pixels[0, 0, 0, :, 0]).norm(dim=-1)
    size = torch.tensor([COLUMNS - 1.0, ROWS - 1.0], dtype=torch.float64)
    inner = seen & (point >= 0).all(-1) & (point <= size).all(-1)
    apart = (read - point).norm(dim=-1)
    assert inner.sum() > 80
    assert (apart <= spacing / 2 + 0.05)[inner].all()
    assert (read[~seen] == 0).all()


def module_config(module: CrossViewAttention) -> CrossViewConfig:
    return CrossViewConfig(16, module.heads, samples=8, max_offset=module.max_offset)


def test_a_query_that_no_view_sees_receives_exactly_nothing() -> None:
    turned = pose_from(exp_so3(np.array([0.0, np.pi, 0.0])), np.array([0.0, 0.0, -0.5]))
    apart = pose_from(exp_so3(np.array([0.0, 0.9, 0.0])), np.array([0.3, 0.0, 0.0]))
    module, tokens = awake(CrossViewAttention(DIM, VIEW)), make_tokens()
    geometry = geometry_of(np.stack([np.eye(4), turned, apart]))
    assert geometry.epipolar is not None
    changed = GRID.maps(module(tokens, geometry) - tokens).abs().amax(-1)[0]
    by_any = geometry.epipolar.seen[0].any(1).view(3, ROWS, COLUMNS)
    assert by_any.any() and not by_any.all()
    assert torch.equal(changed > 0, by_any.expand_as(changed))
    # Nothing reaches it from the keys either, nor a NaN its gradient.
    tokens.requires_grad_(True)
    module(tokens, geometry).square().sum().backward()
    assert tokens.grad is not None and tokens.grad.isfinite().all()


def test_every_view_is_heard_in_its_own_frame_and_modality_only() -> None:
    module, tokens, geometry = awake(CrossViewAttention(DIM, VIEW)), make_tokens(), geometry_of()
    before = GRID.maps(module(tokens, geometry))
    rng = torch.Generator().manual_seed(4)
    for view in range(3):
        maps = GRID.maps(tokens).clone()
        maps[0, 1, 0, view] += torch.randn(ROWS, COLUMNS, DIM, generator=rng)
        moved = (GRID.maps(module(GRID.tokens(maps), geometry)) - before).abs().amax((-1, -2, -3))
        assert (moved[0, 1, 0] > 1e-4).all()
        moved[0, 1, 0] = 0.0
        assert moved.max() == 0.0


def test_offsets_are_clamped_and_move_the_samples() -> None:
    module, geometry = awake(CrossViewAttention(DIM, VIEW)), geometry_of()
    tokens = make_tokens()
    still = module(tokens, geometry)
    rng = torch.Generator().manual_seed(3)
    query = torch.randn(2, WIDTH, 1, 5, generator=rng)
    found = torch.randn(2, WIDTH, 3, 5, generator=rng)
    with torch.no_grad():
        last = module.offset.get_submodule("2")
        last.load_state_dict({"bias": torch.tensor([0.3, -9.0])}, strict=False)
    moved = module.offsets(query, found)
    assert moved.shape == (2, 3, 5, 2)
    assert (moved[..., 1] == -VIEW.max_offset).all()
    assert (moved[..., 0] - 0.3).abs().max() < VIEW.max_offset
    assert (module(tokens, geometry) - still).abs().max() > 1e-4


def test_sampling_is_bilinear_at_token_centres_and_constant_beyond_the_outermost() -> None:
    row, column = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([column, row])
    pixels = torch.tensor(
        [[[0.0, 0.0], [5.0, 3.0], [2.25, 1.5]], [[-0.4, 1.0], [5.4, 3.9], [9, 0]]]
    )
    wanted = pixels.clamp(min=0).minimum(torch.tensor([5.0, 3.0]))
    torch.testing.assert_close(sample(maps[None], pixels[None])[0].movedim(0, -1), wanted)


def test_geometry_is_computed_once_per_rig() -> None:
    cameras = make_cameras(2, 3)
    grid = TokenGrid(3, 2, 2, *CONFIG.token_grid)
    ask = (grid, CONFIG.cross_modality, CONFIG.cross_view)
    assert token_geometry(cameras, *ask) is token_geometry(cameras, *ask)
    assert token_geometry(replace(cameras), *ask) is not token_geometry(cameras, *ask)


def test_each_sample_of_a_batch_has_its_own_rig() -> None:
    module, tokens = awake(CrossViewAttention(DIM, VIEW)), make_tokens()
    one, other = POSES[:3], POSES[1:]
    k = torch.from_numpy(np.tile(K, (2, 3, 1, 1)))
    both = ViewCameras(torch.zeros(2, 3, 13), k, torch.from_numpy(np.stack([one, other])))
    together = module(tokens.expand(2, -1, -1), token_geometry(both, GRID, MODALITY, VIEW))
    for i, poses in enumerate((one, other)):
        alone = module(tokens, geometry_of(poses))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-6)
    assert (together[0] - together[1]).abs().max() > 1e-4
