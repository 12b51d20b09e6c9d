"""A folder in Wan2.2's layout goes the whole way: words, pictures, Eq. 11, refinement, motion."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core.errors import ConfigError, InstructionError
from mvista_core.imaging import ModelWindow
from mvista_core.timing import ManualClock
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.config_file import load_config
from mvista_world.generator import Conditions
from mvista_world.model_facts import read_facts
from mvista_world.parts import check_room, needed_bytes
from mvista_world.planner import load_planner
from mvista_world.text_cache import cached_file, encode_folder
from tests.world.tiny import ARM, CONFIG, RIG, make_cameras, make_observation
from tests.world.wan_folder import SMALL, write_wan_folder


def go_on(stage: str, fraction: float) -> bool:
    return True


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded by its own text encoder, which is then gone, as on a robot."""
    folder = write_wan_folder(tmp_path_factory.mktemp("wan") / "folder", encoded=False)
    encode_folder(folder)
    shutil.rmtree(folder / "text_encoder")
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_words_become_a_motion_of_the_arm(folder: Path, precision: str) -> None:
    planner = load_planner(folder, RIG, ARM, ManualClock(7), choose(precision))
    assert planner.config.sampler.steps == 2 and planner.config.sampler.solver == "unipc"
    rollout = planner.imagine(make_observation("Touch the red cube."), "cam1", ["cam2"], 5, go_on)
    assert rollout.color.shape == (2, 5, 64, 64, 3)
    assert rollout.depth_m.shape == (2, 5, 64, 64)
    assert rollout.color.std() > 1
    plan = planner.infer_actions(rollout.rollout_id, "random", 2, go_on)
    assert plan.losses.shape == (2,) and np.isfinite(plan.losses).all()
    length = CONFIG.trajectory.action_count
    assert plan.refined.positions.shape == (length, 7)
    assert (plan.refined.positions >= ARM.lower).all()
    assert (plan.refined.positions <= ARM.upper).all()
    assert np.ptp(plan.refined.positions, axis=0).max() > 0
    again = planner.infer_actions(rollout.rollout_id, "random", 2, go_on)
    np.testing.assert_array_equal(again.refined.positions, plan.refined.positions)


def test_what_is_told_is_heard_in_the_imagined(folder: Path) -> None:
    """The cached words reach the pictures: the same seed, other words, another rollout."""
    planner = load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))
    seen = [
        planner.imagine(make_observation(words), "cam1", ["cam2"], 5, go_on).color
        for words in ("touch the red cube", "open the drawer", "touch the red cube")
    ]
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


def test_guidance_needs_features_of_no_words(tmp_path: Path) -> None:
    sampler = replace(SMALL.sampler, guidance=5.0)
    folder = write_wan_folder(tmp_path / "folder", replace(SMALL, sampler=sampler))
    seen = make_observation("open the drawer")
    config, _ = load_config(folder / "config.json")
    assert config.sampler == sampler
    guided, unguided = (
        load_planner(where, RIG, ARM, ManualClock(7), choose("fp32"))
        .imagine(seen, "cam1", ["cam2"], 5, go_on)
        .color
        for where in (folder, write_wan_folder(tmp_path / "unguided"))
    )
    assert not np.array_equal(guided, unguided), "the same weights"
    text = config.text
    cached_file(folder / "text_cache", text.encoder_sha256, text.max_tokens, "").unlink()
    with pytest.raises(InstructionError, match='no features of "".*mvista text encode'):
        load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))


def test_padding_of_a_camera_is_no_surface(tmp_path: Path) -> None:
    """180 rows lie in 192: 6 above and below are imagined, and are no depth of any camera."""
    padded = replace(SMALL, window=ModelWindow(160, 96, 2, padded=True))
    folder = write_wan_folder(tmp_path / "folder", padded)
    planner = load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))
    rollout = planner.imagine(make_observation("open the drawer"), "cam1", ["cam2"], 5, go_on)
    assert rollout.depth_m.shape == (2, 5, 96, 160)
    outside = np.ones((96, 160), bool)
    outside[3:93] = False
    assert not rollout.depth_m[:, :, outside].any()
    assert rollout.depth_m[:, :, ~outside].any()
    lens = RIG.camera("cam2").intrinsics
    assert rollout.intrinsics[1].cy_px == pytest.approx((lens.cy_px + 0.5) / 2 - 0.5 + 3)


def test_what_does_not_fit_is_refused_at_the_start_with_the_numbers(folder: Path) -> None:
    needed = needed_bytes(folder, load_config(folder / "config.json")[0], choose("bf16"))
    facts = {part.name: part for part in read_facts(folder).parts}
    assert needed["vae"] == facts["vae"].size
    assert needed["generator"] < 4 * sum(p.parameters for p in facts.values())
    check_room(needed, sum(needed.values()), "cuda:0")
    check_room({"generator": 10 << 30, "vae": 2 << 30}, 0, "cpu")
    words = r"weights take 12\.0 GiB \(generator 10\.0, vae 2\.0\), cuda:0 has 11\.0 GiB free"
    with pytest.raises(ConfigError, match=words):
        check_room({"generator": 10 << 30, "vae": 2 << 30}, 11 << 30, "cuda:0")
    assert choose("fp32").free_bytes() > 1 << 20


def test_a_model_wholly_in_bf16_runs_forward_and_backward(folder: Path) -> None:
    """No weight in float32, no autocast: what a card holds when memory is short."""
    generator = load_checkpoint(folder, choose("fp32")).generator.to(torch.bfloat16)
    assert {p.dtype for p in generator.parameters()} == {torch.bfloat16}
    rows, columns = SMALL.latent_size
    x = torch.randn(1, 48, SMALL.latent_frames, 2 * rows, 2 * columns)
    style = torch.zeros(1, SMALL.trajectory.tokens, SMALL.trajectory.channels, requires_grad=True)
    told = Conditions(torch.randn(1, 24, SMALL.text.hidden), make_cameras(1, 2), style)
    clean = torch.zeros(SMALL.latent_frames * 2 * rows // 2 * columns, dtype=torch.bool)
    velocity = generator(x, torch.tensor([0.5]), clean, told).velocity
    (gradient,) = torch.autograd.grad(velocity.float().square().mean(), style)
    assert torch.isfinite(velocity).all() and gradient.abs().max() > 0
