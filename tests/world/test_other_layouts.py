"""Table 5's alternatives: colour and depth in one token, and actions for a trajectory latent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mvista_core.errors import ConfigError
from mvista_core.timing import ManualClock
from mvista_world.config import ModelConfig, TrajectoryConfig
from mvista_world.config_file import load_config, save_config
from mvista_world.generator import OF_LATENTS, MultiViewGenerator, Prediction
from mvista_world.joined_depth import JoinedDepth
from mvista_world.planner import load_planner
from mvista_world.presets import preset
from mvista_world.training import recipes
from mvista_world.training.request import TrainingRequest
from mvista_world.trajectory import TrajectoryVae
from mvista_world.views import TokenGrid
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    TEMPLATES,
    awake,
    make_conditions,
    make_generator,
    make_latents,
    make_observation,
    noting,
    smooth_actions,
    source_mask,
    write_checkpoint,
)

JOINED = CONFIG.without(["depth_tokens"])
BARE = CONFIG.without(["tcn_vae"])
GRID = TokenGrid(3, 2, CONFIG.latent_frames, *CONFIG.token_grid)


def generator_of(config: ModelConfig, seed: int = 0) -> MultiViewGenerator:
    torch.manual_seed(seed)
    return awake(MultiViewGenerator(config), seed).eval().requires_grad_(False)


def evaluated(generator: MultiViewGenerator, x: torch.Tensor, clean: torch.Tensor) -> Prediction:
    conditions = make_conditions(1, 3)
    z = generator.config.trajectory
    conditions = replace(conditions, style=torch.ones(1, z.tokens, z.channels))
    found: Prediction = generator(x, torch.tensor([0.4]), clean, conditions)
    return found


def test_one_token_of_both_maps_is_a_patch_embedding_of_twice_the_channels() -> None:
    joined = awake(JoinedDepth(CONFIG.inner_dim)).requires_grad_(False)
    patches = make_generator().backbone.patch_embedding
    x = make_latents(1, 3)
    tokens = patches(x).flatten(2).mT
    ours, *_ = joined.together(tokens, source_mask(3), GRID)
    colour, depth = x.chunk(2, dim=-1)
    halves = joined.join.weight.chunk(2, dim=1)
    kernel = torch.cat([torch.einsum("od,dcthw->octhw", w, patches.weight) for w in halves], dim=1)
    bias = joined.join(torch.cat([patches.bias, patches.bias]))
    theirs = F.conv3d(torch.cat([colour, depth], dim=1), kernel, bias, CONFIG.transformer.patch)
    torch.testing.assert_close(ours, theirs.flatten(2).mT, atol=1e-5, rtol=1e-5)


def test_at_first_both_maps_get_their_mean_back_each_at_its_place() -> None:
    joined = JoinedDepth(CONFIG.inner_dim).requires_grad_(False)
    maps = torch.randn(1, 2, GRID.frames, 3, GRID.rows, GRID.columns, CONFIG.inner_dim)
    tokens, clean, held = joined.together(GRID.tokens(maps), source_mask(3), GRID)
    assert held == replace(GRID, modalities=1)
    assert torch.equal(clean, source_mask(3, modalities=1))
    again = GRID.maps(joined.apart(tokens, GRID))
    wanted = maps.mean(dim=1, keepdim=True).expand_as(maps)
    torch.testing.assert_close(again, wanted, atol=1e-5, rtol=0)


def test_a_token_of_both_maps_predicts_both_from_half_as_many() -> None:
    generator, x = generator_of(JOINED), make_latents(1, 3)
    found = evaluated(generator, x, source_mask(3))
    assert found.velocity.shape == x.shape
    assert (
        found.hidden.shape[1] == evaluated(make_generator(), x, source_mask(3)).hidden.shape[1] / 2
    )
    assert not any("cross_modality" in key for key in generator.state_dict())
    with pytest.raises(ConfigError, match="grid of 1 map"):
        evaluated(generator, make_latents(1, 3, modalities=1), source_mask(3, modalities=1))


def test_joined_tokens_stand_where_those_of_colour_stood() -> None:
    """Rotary positions are those of one map, not of two side by side: exchanged maps, and with them
    both halves of the two linear maps, give exchanged velocities."""
    generator, x = generator_of(JOINED), make_latents(1, 3)
    turned = generator_of(JOINED)
    mine, other = turned.joined_depth, generator.joined_depth
    assert mine is not None and other is not None
    with torch.no_grad():
        turned.identity.modality_token.copy_(generator.identity.modality_token.flip(0))
        for ours, theirs, dim in (
            (mine.join.weight, other.join.weight, 1),
            (mine.split.weight, other.split.weight, 0),
            (mine.split.bias, other.split.bias, 0),
        ):
            ours.copy_(torch.cat(theirs.chunk(2, dim=dim)[::-1], dim=dim))
    there = evaluated(generator, x, source_mask(3)).velocity
    back = evaluated(turned, torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1), source_mask(3)).velocity
    torch.testing.assert_close(torch.cat(back.chunk(2, dim=-1)[::-1], dim=-1), there)


def test_actions_come_back_from_their_own_latent_and_their_posterior_is_a_point() -> None:
    vae = TrajectoryVae(BARE.trajectory, 7)
    vae.mean.copy_(torch.from_numpy(ARM.home))
    vae.std.fill_(0.1)
    actions = torch.from_numpy(smooth_actions(np.random.default_rng(0), (3,)))
    z, log_variance = vae.posterior(actions)
    assert z.shape == (3, BARE.trajectory.tokens, BARE.trajectory.channels)
    torch.testing.assert_close(vae.decode(z), actions, atol=1e-6, rtol=0)
    assert float((0.5 * log_variance).exp().max()) < 3e-3
    assert not list(vae.parameters())


def test_a_token_of_actions_is_a_stretch_of_the_motion() -> None:
    vae = TrajectoryVae(BARE.trajectory, 7)
    z = torch.zeros(1, BARE.trajectory.tokens, BARE.trajectory.channels)
    z[:, 2] = 1.0
    stretch = 2**BARE.trajectory.stages
    moved = vae.decode(z)[0].any(dim=1)
    assert moved.nonzero().flatten().tolist() == list(range(2 * stretch, 3 * stretch))


@pytest.mark.parametrize("config", [JOINED, BARE], ids=["depth_tokens", "tcn_vae"])
def test_both_plan_and_state_in_their_file_what_they_are(
    config: ModelConfig, tmp_path: Path
) -> None:
    save_config(config, TEMPLATES, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json")[0] == config
    folder = write_checkpoint(tmp_path / "checkpoint", config)
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    asked = make_observation("open the drawer"), "cam1", ["cam2", "cam0"], 5
    rollout = planner.imagine(*asked, noting([]))
    for start in ("head", "random"):
        plan = planner.infer_actions(rollout.rollout_id, start, 2, noting([])).prior
        assert plan.positions.shape == (config.trajectory.action_count, 7)
        assert np.isfinite(plan.positions).all()


def test_eq_11_descends_actions_themselves() -> None:
    generator = generator_of(BARE)
    z = BARE.trajectory
    style = torch.randn(1, z.tokens, z.channels, requires_grad=True)
    told = replace(make_conditions(1, 3), style=style)
    generator(
        make_latents(1, 3), torch.tensor([0.4]), source_mask(3), told
    ).velocity.sum().backward()
    assert style.grad is not None and bool((style.grad.abs().sum(dim=2) > 0).all())


def test_both_start_from_weights_of_the_papers_own() -> None:
    whole = generator_of(CONFIG)
    weights = whole.state_dict()
    for config, new in ((JOINED, ("joined_depth",)), (BARE, OF_LATENTS)):
        started = generator_of(config, seed=5)
        before = {key: value.clone() for key, value in started.state_dict().items()}
        started.start_from(weights)
        for key, value in started.state_dict().items():
            assert torch.equal(value, (before if key.startswith(new) else weights)[key]), key
        with pytest.raises(RuntimeError):
            generator_of(CONFIG).start_from(started.state_dict())
    again = generator_of(CONFIG, seed=5)
    fresh = again.style_in.weight.clone()
    again.start_from(weights, renewed=["latents"])
    assert torch.equal(again.style_in.weight, fresh)
    assert torch.equal(again.head.queries, whole.head.queries)


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="cross_modality has nothing to join"):
        replace(CONFIG, joined_depth=True)
    with pytest.raises(ConfigError, match=r"channels 32: .* 16 .* 7 joints, 112"):
        replace(preset("tiny"), trajectory=TrajectoryConfig(kind="actions"))
    with pytest.raises(ConfigError, match=r"kind 'dct' is none of \['tcn_vae', 'actions'\]"):
        replace(preset("tiny"), trajectory=TrajectoryConfig(kind="dct"))
    assert preset("tiny_views", ["tcn_vae"]).trajectory.channels == 112
    assert preset("tiny_views", ["depth_tokens"]).cross_modality is None


def test_what_is_read_off_a_generator_may_be_of_one_without(tmp_path: Path) -> None:
    """Its reader has to be trained on what it imagines."""
    cases = (
        ("reader", "offsets", "no instruction encoder was trained there"),
        ("trajectory", "tcn_vae", "no data sets?"),
    )
    for network, left_out, wanting in cases:
        config = preset("tiny").without([left_out])
        asked = TrainingRequest(config, tmp_path, tmp_path / "out", tmp_path, RIG, ARM)
        with pytest.raises(ConfigError, match=wanting):
            recipes.run(network, asked)
