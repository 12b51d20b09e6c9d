"""A block's forward is the whole of a block: what takes hold of it changes nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mvista_core.errors import ConfigError
from mvista_core.geometry import exp_so3, pose_from
from mvista_world.block import MultiViewBlock
from mvista_world.cameras import FLAT_DIM, window_cameras
from mvista_world.flow import denoising_error
from mvista_world.generator import TIME_SCALE, Conditions, MultiViewGenerator
from mvista_world.views import ViewCameras
from tests.world.test_generator import wan_of
from tests.world.tiny import (
    CONFIG,
    RIG,
    awake,
    make_conditions,
    make_generator,
    make_latents,
    source_mask,
)

LAYERS = CONFIG.transformer.num_layers
ONE_LEFT_OUT = {
    "cross_modality": replace(CONFIG, cross_modality=None),
    "cross_view": replace(CONFIG, cross_view=None),
}


def evaluate(generator: MultiViewGenerator, conditions: Conditions) -> torch.Tensor:
    batch, views = conditions.cameras.embedding.shape[:2]
    t = torch.linspace(0.3, 0.8, batch)
    return generator(make_latents(batch, views), t, source_mask(views), conditions).velocity


def loss_of(generator: MultiViewGenerator) -> torch.Tensor:
    x0, noise = make_latents(2, 3), make_latents(2, 3, seed=9)
    t, conditions = torch.tensor([0.3, 0.8]), make_conditions(2, 3)
    error, prediction = denoising_error(generator, x0, noise, t, source_mask(3), conditions)
    return error.mean() + generator.head(prediction.hidden).square().mean()


def gradients_of(generator: MultiViewGenerator) -> dict[str, torch.Tensor]:
    generator.requires_grad_(True).zero_grad(set_to_none=True)
    loss_of(generator).backward()
    return {k: p.grad.clone() for k, p in generator.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("views", "modalities"), [(1, 1), (1, 2), (3, 2)])
def test_at_zero_the_blocks_are_diffusers_own_on_the_same_grid(views: int, modalities: int) -> None:
    generator, conditions = make_generator(awakened=False), make_conditions(2, views)
    x, clean = make_latents(2, views, modalities), source_mask(views, modalities)
    t = torch.tensor([0.3, 0.8])
    ours = generator(x, t, clean, conditions).velocity
    times = torch.where(clean, 0.0, t[:, None] * TIME_SCALE)
    theirs = wan_of(generator)(x, times, conditions.text, return_dict=False)[0]
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_either_module_can_be_left_out_and_takes_its_weights_along() -> None:
    torch.manual_seed(0)
    for field, config in ONE_LEFT_OUT.items():
        without = MultiViewGenerator(config).state_dict()
        assert without.keys() == {
            key for key in make_generator().state_dict() if f".{field}." not in key
        }


def test_awake_modules_change_what_is_imagined() -> None:
    generator, conditions = make_generator(), make_conditions(1, 3)
    whole = evaluate(generator, conditions)
    for config in ONE_LEFT_OUT.values():
        less = MultiViewGenerator(config).eval()
        less.load_state_dict(generator.state_dict(), strict=False)
        assert (evaluate(less, conditions) - whole).abs().max() > 1e-4


@pytest.mark.parametrize("seed", range(2))
def test_the_generator_does_not_depend_on_the_world_frame(seed: int) -> None:
    """Eq. 7's token alone tells where the base stands (its heading and its vertical, by which arm
    and cameras are related), and none of it but that."""
    generator, conditions, rng = (
        make_generator(),
        make_conditions(1, 3),
        np.random.default_rng(seed),
    )
    moved = pose_from(exp_so3(rng.normal(0, 1.5, 3)), rng.normal(0, 2.0, 3))
    cameras = conditions.cameras
    poses = torch.from_numpy(moved) @ cameras.base_from_camera
    elsewhere = replace(conditions, cameras=replace(cameras, base_from_camera=poses))
    torch.testing.assert_close(
        evaluate(generator, elsewhere), evaluate(generator, conditions), atol=1e-5, rtol=0
    )


def test_the_whole_generator_does_not_depend_on_where_the_base_stands() -> None:
    generator, conditions = make_generator(), make_conditions(1, 3)
    poses, intrinsics = window_cameras(RIG.cameras[:3], CONFIG.window)
    moved = pose_from(np.eye(3), np.array([0.7, -1.3, 0.4])) @ poses
    here, there = (
        replace(conditions, cameras=ViewCameras.of(p[None], intrinsics[None], CONFIG))
        for p in (poses, moved)
    )
    torch.testing.assert_close(
        evaluate(generator, there), evaluate(generator, here), atol=1e-5, rtol=0
    )


def test_a_camera_that_moves_is_seen_to_move() -> None:
    generator, conditions = make_generator(), make_conditions(1, 3)
    cameras = conditions.cameras
    poses, lenses = cameras.base_from_camera.clone(), cameras.intrinsics.clone()
    poses[0, 1, :3, 3] += 0.1
    lenses[0, 1, :2, :2] *= 1.2
    before = evaluate(generator, conditions)
    for changed in (
        replace(cameras, base_from_camera=poses),
        replace(cameras, intrinsics=lenses),
    ):
        after = evaluate(generator, replace(conditions, cameras=changed))
        assert (after - before).abs().max() > 1e-4


def test_checkpointing_recomputes_every_block_and_gives_the_same_gradients() -> None:
    generator = make_generator()
    wanted_loss, wanted = loss_of(generator), gradients_of(generator)
    runs = [0] * LAYERS

    def count(block: int) -> None:
        runs[block] += 1

    for i, block in enumerate(generator.backbone.blocks):
        # Before it: recomputing stops as soon as it has what the backward needs.
        block.register_forward_pre_hook(lambda *_, i=i: count(i))
    generator.backbone.enable_gradient_checkpointing()
    found = gradients_of(generator)
    assert runs == [2] * LAYERS
    torch.testing.assert_close(loss_of(generator), wanted_loss, atol=1e-6, rtol=1e-6)
    assert found.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-5)
    # Nothing is recomputed where nothing is differentiated.
    runs[:] = [0] * LAYERS
    with torch.no_grad():
        loss_of(generator)
    assert runs == [1] * LAYERS


def test_hooks_of_a_block_fire_and_what_they_return_is_used() -> None:
    generator, conditions = make_generator(), make_conditions(1, 2)
    before, fired = evaluate(generator, conditions), []
    for block in generator.backbone.blocks:
        assert isinstance(block, MultiViewBlock)
        block.register_forward_pre_hook(lambda *_: fired.append("before"))
        block.register_forward_hook(lambda *_: fired.append("after"))
    assert torch.equal(evaluate(generator, conditions), before)
    assert fired == ["before", "after"] * LAYERS
    generator.backbone.blocks[0].register_forward_hook(lambda _, given, out: given[0])
    assert (evaluate(generator, conditions) - before).abs().max() > 1e-3


def test_bf16_weights_or_arithmetic_give_the_same_to_its_precision() -> None:
    generator, conditions = make_generator(), make_conditions(2, 3)
    exact = evaluate(generator, conditions)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = evaluate(generator, conditions)
    rounded = evaluate(generator.to(torch.bfloat16), conditions)
    for found in (mixed, rounded):
        assert found.dtype == torch.bfloat16
        assert (found.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_latents_of_other_views_than_the_cameras_are_refused() -> None:
    generator, conditions = make_generator(), make_conditions(1, 2)
    with pytest.raises(ConfigError, match=r"6x6 tokens are not 2 views of 2x3 each"):
        generator(make_latents(1, 3), torch.tensor([0.5]), source_mask(3), conditions)


def test_weights_without_fusion_start_with_it_at_zero() -> None:
    old = MultiViewGenerator(replace(CONFIG, cross_modality=None, cross_view=None)).eval()
    awake(old)
    fresh, conditions = make_generator(awakened=False), make_conditions(1, 3)
    fresh.start_from(old.state_dict())
    torch.testing.assert_close(evaluate(fresh, conditions), evaluate(old, conditions))
    whole = make_generator().state_dict()
    one = "backbone.blocks.1.cross_view.to_q.weight"
    for wrong, message in (
        ({key: value for key, value in whole.items() if key != one}, "Missing key"),
        ({**whole, "backbone.blocks.0.cross_time.weight": whole[one]}, "Unexpected key"),
        ({key: value for key, value in whole.items() if "head" not in key}, "Missing key"),
    ):
        with pytest.raises(RuntimeError, match=message):
            fresh.start_from(wrong)
    # A plain load, as of a checkpoint with its config, forgives nothing.
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict(old.state_dict())


@pytest.mark.parametrize("name", ["cross_modality", "cross_view"])
def test_without_a_module_and_with_it_begun_again_training_goes_on_from_one_function(
    name: str,
) -> None:
    trained, conditions = make_generator(), make_conditions(1, 3)
    with_it = make_generator(awakened=False)
    with_it.start_from(trained.state_dict(), renewed=[name])
    without = MultiViewGenerator(CONFIG.without([name])).eval()
    without.start_from(trained.state_dict())
    torch.testing.assert_close(evaluate(with_it, conditions), evaluate(without, conditions))
    assert not torch.allclose(evaluate(with_it, conditions), evaluate(trained, conditions))


def test_both_ways_of_telling_cameras_go_on_from_one_function() -> None:
    """Table 10: Eq. 7's token begun again, and flattened extrinsics in its place."""
    trained, conditions = make_generator(), make_conditions(1, 3)
    told = make_generator(awakened=False)
    told.start_from(trained.state_dict(), renewed=["spherical"])
    flat = MultiViewGenerator(CONFIG.without(["spherical"])).eval()
    flat.start_from(trained.state_dict())
    cameras = replace(conditions.cameras, embedding=torch.randn(1, 3, FLAT_DIM))
    found = evaluate(flat, replace(conditions, cameras=cameras))
    torch.testing.assert_close(evaluate(told, conditions), found)
    assert not torch.allclose(found, evaluate(trained, conditions))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        told.start_from(flat.state_dict(), renewed=["spherical"])


def test_style_that_was_saved_beside_the_backbone_is_found_again(tmp_path: Path) -> None:
    generator, conditions = make_generator(), make_conditions(1, 2)
    within = re.compile(r"^backbone\.blocks\.(\d+)\.style\.")
    weights = generator.state_dict()
    old = {within.sub(r"style.\1.", key): value.clone() for key, value in weights.items()}
    assert any(key.startswith("style.0.") for key in old)
    save_file(old, tmp_path / "old.safetensors")
    again = make_generator(awakened=False)
    again.load_state_dict(load_file(tmp_path / "old.safetensors"))
    assert torch.equal(evaluate(again, conditions), evaluate(generator, conditions))
    # As part of a larger module too, as in the state of a training run.
    within_pair = make_generator(awakened=False)
    pair = torch.nn.ModuleDict({"generator": within_pair})
    pair.load_state_dict({f"generator.{key}": value for key, value in old.items()})
    assert torch.equal(evaluate(within_pair, conditions), evaluate(generator, conditions))


def test_flattened_extrinsics_tell_views_apart_and_start_from_weights_without_them() -> None:
    """Table 10's "Flatten Cam": what tells a camera is another module, at zero at first."""
    config = CONFIG.without(["spherical"])
    spherical = make_generator()
    flat = MultiViewGenerator(config).eval().requires_grad_(False)
    flat.start_from(spherical.state_dict())
    poses, intrinsics = window_cameras(RIG.cameras[:3], CONFIG.window)
    away = pose_from(np.eye(3), np.array([0.1, 0.0, 0.0])) @ poses
    here, there = (
        replace(make_conditions(1, 3), cameras=ViewCameras.of(p[None], intrinsics[None], config))
        for p in (poses, away)
    )
    flattened = poses[:, :3].reshape(3, 12).astype(np.float32)
    np.testing.assert_array_equal(here.cameras.embedding[0], flattened)
    torch.testing.assert_close(evaluate(flat, here), evaluate(flat, there), atol=1e-5, rtol=0)
    awake(flat)
    # Unlike Eq. 7's token it moves with the base.
    assert (evaluate(flat, here) - evaluate(flat, there)).abs().max() > 1e-4
    again = MultiViewGenerator(config).eval()
    again.start_from(flat.state_dict())
    torch.testing.assert_close(evaluate(again, here), evaluate(flat, here))
