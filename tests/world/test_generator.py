"""What is added to the backbone adds nothing before it is trained, and the shortcuts are exact."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel

from mvista_world.denoise import solve
from mvista_world.flow import denoising_error, known_latents, noised, shifted
from mvista_world.generator import TIME_SCALE, Conditions, MultiViewGenerator
from mvista_world.presets import wan22_ti2v_5b
from mvista_world.solvers import Euler
from tests.world.tiny import CONFIG, make_conditions, make_generator, make_latents, source_mask

PATCH = CONFIG.transformer.patch
WAN22_TI2V_5B = {
    "added_kv_proj_dim": None, "attention_head_dim": 128, "cross_attn_norm": True, "eps": 1e-6,
    "ffn_dim": 14336, "freq_dim": 256, "image_dim": None, "in_channels": 48,
    "num_attention_heads": 24, "num_layers": 30, "out_channels": 48, "patch_size": [1, 2, 2],
    "pos_embed_seq_len": None, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024,
    "text_dim": 4096,
}  # fmt: skip
"""transformer/config.json of Wan2.2-TI2V-5B-Diffusers."""
ADDED = re.compile(r"blocks\.\d+\.(cross_modality|cross_view|style)\.")


def wan_of(generator: MultiViewGenerator) -> WanTransformer3DModel:
    """diffusers' own model on the generator's backbone weights."""
    wan = WanTransformer3DModel.from_config(generator.backbone.config).eval()
    _, unknown = wan.load_state_dict(generator.backbone.state_dict(), strict=False)
    assert unknown and all(ADDED.match(key) for key in unknown)
    return wan


def untrained() -> tuple[MultiViewGenerator, torch.Tensor, Conditions]:
    return make_generator(awakened=False), make_latents(2, 1, 1), make_conditions(2, 1)


def test_one_rgb_view_gives_the_backbones_own_output() -> None:
    generator, x, conditions = untrained()
    t = torch.tensor([0.3, 0.8])
    clean = torch.zeros_like(source_mask(1, 1))
    ours = generator(x, t, clean, conditions).velocity
    theirs = wan_of(generator)(x, t * TIME_SCALE, conditions.text, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert ours.abs().max() > 0.1


def test_known_tokens_are_the_backbones_per_token_times() -> None:
    generator, x, conditions = untrained()
    t, clean = torch.tensor([0.3, 0.8]), source_mask(1, 1)
    assert clean.any()
    assert not clean.all()
    ours = generator(x, t, clean, conditions).velocity
    times = torch.where(clean, 0.0, t[:, None] * TIME_SCALE)
    theirs = wan_of(generator)(x, times, conditions.text, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_each_added_part_changes_the_output_once_awake() -> None:
    generator, x, conditions = make_generator(), make_latents(1, 2), make_conditions(1, 2)
    clean, t = source_mask(2), torch.tensor([0.5])
    base = generator(x, t, clean, conditions).velocity
    turned = replace(conditions.cameras, embedding=conditions.cameras.embedding + 0.5)
    for name, changed in (
        ("text", replace(conditions, text=conditions.text + 0.5)),
        ("cameras", replace(conditions, cameras=turned)),
        ("style", replace(conditions, style=conditions.style + 0.5)),
    ):
        assert (generator(x, t, clean, changed).velocity - base).abs().max() > 1e-3, name


def test_explicit_attention_is_diffusers_attention() -> None:
    generator, x, conditions = make_generator(), make_latents(2, 3), make_conditions(2, 3)
    clean, t = source_mask(3), torch.tensor([0.2, 0.9])
    fused = generator(x, t, clean, conditions)
    read = generator.head(fused.hidden)
    generator.use_explicit_attention()
    explicit = generator(x, t, clean, conditions)
    torch.testing.assert_close(explicit.velocity, fused.velocity, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(generator.head(explicit.hidden), read, atol=1e-4, rtol=1e-4)
    generator.use_explicit_attention(False)
    assert torch.equal(generator(x, t, clean, conditions).velocity, fused.velocity)


def test_the_time_of_known_tokens_is_zero_whatever_t() -> None:
    generator, x, conditions = make_generator(), make_latents(1, 2), make_conditions(1, 2)
    known = torch.ones_like(source_mask(2))
    low = generator(x, torch.tensor([0.1]), known, conditions).velocity
    high = generator(x, torch.tensor([0.9]), known, conditions).velocity
    assert torch.equal(low, high)
    none = ~known
    zero = generator(x, torch.tensor([0.0]), none, conditions).velocity
    torch.testing.assert_close(zero, low, atol=1e-5, rtol=1e-5)
    assert (generator(x, torch.tensor([0.9]), none, conditions).velocity - zero).abs().max() > 1e-3


def test_a_leading_mask_and_a_general_one_agree() -> None:
    generator, x, conditions = make_generator(), make_latents(1, 1), make_conditions(1, 1)
    leading, t = source_mask(1), torch.tensor([0.6])
    assert bool(leading[: int(leading.sum())].all())
    one = generator(x, t, leading, conditions).velocity
    torch.testing.assert_close(generator(x, t, leading[None], conditions).velocity, one)


def test_masks_differ_per_sample_as_if_each_were_alone() -> None:
    generator, x, conditions = make_generator(), make_latents(2, 2), make_conditions(2, 2)
    masks = torch.stack([source_mask(2), source_mask(2).flip(0)])
    t = torch.tensor([0.4, 0.7])
    both = generator(x, t, masks, conditions).velocity
    for i in range(2):
        alone = Conditions(
            conditions.text[i : i + 1],
            conditions.cameras.pick([[i]], [[0, 1]]),
            conditions.style[i : i + 1],
        )
        one = generator(x[i : i + 1], t[i : i + 1], masks[i], alone).velocity
        torch.testing.assert_close(both[i : i + 1], one, atol=1e-5, rtol=1e-4)


def test_wan22_ti2v_5b_has_no_missing_and_no_unexpected_backbone_key() -> None:
    with torch.device("meta"):
        ours = MultiViewGenerator(wan22_ti2v_5b()).backbone.state_dict()
        theirs = WanTransformer3DModel.from_config(WAN22_TI2V_5B).state_dict()
    kept = {k: v.shape for k, v in ours.items() if not ADDED.match(k)}
    assert kept == {k: v.shape for k, v in theirs.items()}
    assert kept.keys() < ours.keys()


def test_noise_reaches_unknown_latents_only() -> None:
    x0, noise = make_latents(2, 2), make_latents(2, 2, seed=9)
    known = known_latents(source_mask(2), PATCH, x0.shape[2:])
    assert torch.equal(noised(x0, noise, torch.zeros(2), known), x0)
    assert torch.equal(noised(x0, noise, torch.ones(2), known), torch.where(known, x0, noise))
    halfway = noised(x0, noise, torch.full((2,), 0.5), known)
    assert torch.equal(halfway[known.expand_as(x0)], x0[known.expand_as(x0)])


def test_the_flow_shift_keeps_its_ends_and_order() -> None:
    u = torch.linspace(0, 1, 11)
    t = shifted(u, 3.0)
    assert t[[0, -1]].tolist() == [0.0, 1.0]
    assert (t.diff() > 0).all()
    assert (t[1:-1] > u[1:-1]).all()
    assert torch.equal(shifted(u, 1.0), u)


def test_the_error_is_the_velocitys_over_unknown_latents() -> None:
    generator, x0, conditions = make_generator(), make_latents(2, 2), make_conditions(2, 2)
    noise, t, clean = make_latents(2, 2, seed=9), torch.tensor([0.3, 0.7]), source_mask(2)
    error, prediction = denoising_error(generator, x0, noise, t, clean, conditions)
    unknown = ~known_latents(clean, PATCH, x0.shape[2:]).expand_as(x0)
    squared = (prediction.velocity - (noise - x0)).square()
    for i in range(2):
        assert error[i].item() == pytest.approx(squared[i][unknown[i]].mean().item(), rel=1e-5)
    other = torch.where(unknown, noise, noise + 5.0)
    again, _ = denoising_error(
        generator, x0, other, t, clean, conditions, torch.where(unknown, 1.0, 100.0)
    )
    torch.testing.assert_close(again, error)


def test_the_solver_keeps_what_is_known_and_repeats_itself() -> None:
    generator, given, conditions = make_generator(), make_latents(1, 2), make_conditions(1, 2)
    noise, clean = make_latents(1, 2, seed=9), source_mask(2)
    known = known_latents(clean, PATCH, given.shape[2:]).expand_as(given)
    first = solve(generator, given, clean, conditions, noise, Euler(3, 3.0))
    assert torch.equal(first[known], given[known])
    assert torch.equal(solve(generator, given, clean, conditions, noise, Euler(3, 3.0)), first)
    elsewhere = torch.where(known, given, given + 1.0)
    assert torch.equal(solve(generator, elsewhere, clean, conditions, noise, Euler(3, 3.0)), first)
    assert not torch.equal(first[~known], noise[~known])


def test_the_solver_stops_when_told() -> None:
    generator, given, conditions = make_generator(), make_latents(1, 1), make_conditions(1, 1)
    noise, clean = make_latents(1, 1, seed=9), source_mask(1)
    heard: list[float] = []

    def stop_after_two(fraction: float) -> bool:
        heard.append(fraction)
        return len(heard) < 2

    solve(generator, given, clean, conditions, noise, Euler(8, 3.0), stop_after_two)
    assert heard == [1 / 8, 2 / 8]
