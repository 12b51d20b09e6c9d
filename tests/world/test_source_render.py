"""What the source shows of every view: the same for training and planner, heard by each stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvista_core.errors import ConfigError
from mvista_core.records import CameraFrame, ImagineOptions
from mvista_core.timing import ManualClock
from mvista_world import planner as planner_module
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.config import ModelConfig, SourcePointsConfig, SourceRenderConfig
from mvista_world.config_file import load_config, save_config
from mvista_world.denoise import solve_views
from mvista_world.encode import encode_shown
from mvista_world.generator import Conditions, MultiViewGenerator
from mvista_world.given import whole_window
from mvista_world.guidance import GuidedVelocity, WordGuidance
from mvista_world.latent_optimisation import Evidence, optimise_latent
from mvista_world.layout import SHOWN_BESIDE
from mvista_world.planner import load_planner
from mvista_world.presets import preset
from mvista_world.probe import load_probe
from mvista_world.reprojection import PosedLens
from mvista_world.shown import draw_source, on_grid
from mvista_world.source_render import SourceRender
from mvista_world.text import InstructionEncoder, build_tokenizer
from mvista_world.training import batches, data, recordings
from mvista_world.training.chance import Chance
from mvista_world.training.curriculum import TRAINING
from mvista_world.training.generator import Networks, losses
from mvista_world.trajectory import TrajectoryVae
from mvista_world.view_passes import take_views
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    TEMPLATES,
    awake,
    make_conditions,
    make_latents,
    make_observation,
    noting,
    source_mask,
    write_checkpoint,
    write_episodes,
)

TOLD = replace(CONFIG, source_render=SourceRenderConfig(8), source_points=SourcePointsConfig(8))


BOTH = ["source_render", "source_points", "vantage"]


def told_generator(awakened: bool = True) -> MultiViewGenerator:
    torch.manual_seed(0)
    generator = MultiViewGenerator(TOLD).eval().requires_grad_(False)
    return awake(generator) if awakened else generator


def told_conditions(batch: int, views: int, seed: int = 5) -> Conditions:
    x = make_latents(batch, views)
    shape = (batch, x.shape[1] + SHOWN_BESIDE, 1, *x.shape[3:])
    shown = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return replace(make_conditions(batch, views), shown=shown)


def test_weights_that_lack_it_go_on_from_the_still_scene() -> None:
    """What they find is no difference from the render: their output begins at zero."""
    torch.manual_seed(0)
    before = awake(MultiViewGenerator(CONFIG).eval().requires_grad_(False))
    after = told_generator(awakened=False)
    after.start_from(before.state_dict())
    t, told = torch.tensor([0.3, 0.8]), told_conditions(2, 3)
    asked = make_latents(2, 3), t, source_mask(3), told
    module = after.source_render
    assert module is not None and told.shown is not None
    nothing = torch.zeros(asked[0].shape)
    wanted = module.velocity(nothing, asked[0], t, told.shown)
    torch.testing.assert_close(after(*asked).velocity, wanted)
    torch.testing.assert_close(after(*asked).hidden, before(*asked).hidden)
    # Weights that have it keep their output.
    awake(after)
    again = told_generator(awakened=False)
    again.start_from(after.state_dict())
    torch.testing.assert_close(again(*asked).velocity, after(*asked).velocity)


def test_what_is_known_of_gaussian_latents_is_their_mean_and_the_rest_has_unit_variance() -> None:
    """EDM's preconditioning: of x0 ~ N(still, spread^2) nothing but noise is left to be found."""
    module = SourceRender(TOLD, SourceRenderConfig(8, 0.6, 1.3))
    rng, samples = torch.Generator().manual_seed(0), 40_000
    for share, spread in ((1.0, 0.6), (0.0, 1.3)):
        still = torch.full((samples, 1, 1, 1, 1), 0.8)
        depths = torch.zeros(samples, SHOWN_BESIDE - 1, 1, 1, 1)
        shown = torch.cat([still, torch.full_like(still, share), depths], dim=1)
        x0 = still + spread * torch.randn(still.shape, generator=rng)
        noise = torch.randn(still.shape, generator=rng)
        for level in (0.0, 0.2, 0.7, 1.0):
            t = torch.full((samples,), level)
            x = (1.0 - level) * x0 + level * noise
            nothing, one = torch.zeros_like(x), torch.ones_like(x)
            known = module.velocity(nothing, x, t, shown)
            scale = module.velocity(one, x, t, shown) - known
            left = (noise - x0 - known) / scale
            assert abs(left.mean()) < 0.03 and abs(left.std() - 1.0) < 0.02
            # The mean given x: what is left has nothing to do with x.
            assert level in (0.0, 1.0) or abs((left * (x - x.mean())).mean() / x.std()) < 0.03


def test_what_is_shown_of_a_place_is_told_to_its_tokens_at_all_times() -> None:
    module = awake(SourceRender(TOLD, SourceRenderConfig(8)))
    rows, columns = TOLD.token_grid
    shown = told_conditions(1, 2).shown
    assert shown is not None
    frames = TOLD.latent_frames
    tokens = torch.zeros(1, frames * 2 * rows * 2 * columns, TOLD.inner_dim)
    other = shown.clone()
    # The last cell of the lower view's depth: the last token of every frame.
    other[..., -1, -1] += 1.0
    with torch.no_grad():
        changed = (module(tokens, shown, frames) != module(tokens, other, frames)).any(dim=-1)[0]
    per_frame = changed.unflatten(0, (frames, -1))
    assert per_frame[:, -1].all() and not per_frame[:, :-1].any()


def test_a_generator_that_is_told_nothing_refuses_to_guess() -> None:
    with pytest.raises(ConfigError, match="lack it; see Conditions.shown"):
        told_generator()(make_latents(1, 2), torch.ones(1), source_mask(2), make_conditions(1, 2))


def test_what_is_shown_of_other_views_is_refused() -> None:
    told = replace(told_conditions(1, 3), shown=told_conditions(1, 1).shown)
    with pytest.raises(ConfigError, match="of other views than the latents"):
        told_generator()(make_latents(1, 3), torch.ones(1), source_mask(3), told)


def test_guidance_asks_both_of_its_questions_with_what_is_shown() -> None:
    generator, told = told_generator(), told_conditions(1, 2)
    guidance = WordGuidance(3.0, 0.0, 1.0, torch.zeros_like(told.text))
    x, mask, time = make_latents(1, 2), source_mask(2), torch.tensor(0.7)
    found = []
    with torch.no_grad():
        for batched in (True, False):
            generator.speed = replace(generator.speed, batched_guidance=batched)
            found.append(GuidedVelocity(generator, mask, told, guidance)(x, time))
    torch.testing.assert_close(*found)


def test_eq_11_explains_with_what_is_shown() -> None:
    generator, mask, x0 = told_generator(), source_mask(2), make_latents(1, 2)
    told = told_conditions(1, 2)
    start = torch.zeros(1, CONFIG.trajectory.tokens, CONFIG.trajectory.channels)

    def losses_of(shown: torch.Tensor | None) -> list[float]:
        evidence = Evidence(x0, mask, told.cameras, told.text, torch.ones(1), shown)
        rng = torch.Generator().manual_seed(0)
        eq11 = CONFIG.optimisation
        return optimise_latent(generator, evidence, start, 2, 0.1, eq11, rng).losses

    assert losses_of(told.shown) == losses_of(told.shown)
    assert losses_of(told.shown) != losses_of(told_conditions(1, 2, seed=6).shown)
    with pytest.raises(ConfigError, match="lack it"):
        losses_of(None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[batches.Sources, StackedCodec, Path]:
    """Recorded colours on smooth surfaces, encoded, with what each view shows of the others."""
    folder = write_episodes(tmp_path_factory.mktemp("episodes"), count=6)
    path = folder / "touch" / "shard-00000.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    slope = np.arange(arrays["depth_mm"].shape[-1], dtype=np.uint16)
    arrays["depth_mm"] = np.broadcast_to(700 + 3 * slope, arrays["depth_mm"].shape)
    np.savez(path, **arrays)
    torch.manual_seed(0)
    codec = awake(StackedCodec(TOLD.codec)).eval()
    cache = folder / "latents"
    video, scenes = (
        data.load_latents([folder / name], cache, codec, TOLD, "0" * 64, choose("fp32"), RIG)
        for name in ("touch", "grounding")
    )
    trajectory = TrajectoryVae(TOLD.trajectory, 7)
    return batches.make_sources([video], scenes, trajectory, ARM), codec, folder


def test_a_batch_is_shown_what_a_planner_would_be(
    sources: tuple[batches.Sources, StackedCodec, Path],
) -> None:
    """Else a model learns one thing and is told another."""
    recorded, codec, folder = sources
    shard = recordings.load_shard(folder / "touch" / "shard-00000.npz")
    chosen, order, episode = recorded.video[0], [2, 0, 3], 4
    lenses = [
        PosedLens(
            TOLD.window.intrinsics(RIG.cameras[v].intrinsics), RIG.cameras[v].base_from_camera
        )
        for v in order
    ]
    color, depth_m = shard.color[episode, 2, 0], shard.depth_mm[episode, 2, 0] / np.float32(1000)
    frame = CameraFrame(color, depth_m, lenses[0].intrinsics, 0, RIG.cameras[2].name)
    drawn = [whole_window(frame), *draw_source(color, depth_m, lenses[0], lenses[1:])]
    planned = encode_shown(codec, drawn, TOLD, choose("fp32"))
    shown = batches.shown_of(chosen, (np.array([[episode]]), np.array([order])), TOLD)
    assert planned is not None and shown is not None
    trained = on_grid(shown)
    torch.testing.assert_close(trained, planned, rtol=2e-3, atol=2e-3)
    share = planned[0, -SHOWN_BESIDE, 0]
    rows = TOLD.latent_size[0]
    assert share[:rows].eq(1.0).all() and 0.1 < share[rows:].mean() < 1.0


def test_first_frames_alone_are_shown_in_no_other_view(
    sources: tuple[batches.Sources, StackedCodec, Path],
) -> None:
    scenes = sources[0].grounding
    assert scenes is not None and scenes.drawn is None
    alone = batches.shown_of(scenes, (np.array([[1]]), np.array([[2]])), TOLD)
    assert alone is not None and alone.shape[:2] == (1, 1)
    with pytest.raises(ConfigError, match="alone are not shown in 2 views"):
        batches.shown_of(scenes, (np.array([[1]]), np.array([[2, 0]])), TOLD)


@pytest.mark.parametrize(("kind", "views"), [("ground", 1), ("one", 1), ("many", 3)])
def test_every_kind_of_step_is_shown_its_views(
    sources: tuple[batches.Sources, StackedCodec, Path], kind: str, views: int
) -> None:
    recorded = sources[0]
    training = replace(
        TRAINING["tiny"], ground_batch=4, one_batch=3, many_batch=3, view_counts=(3,)
    )
    batch = batches.draw_batch(kind, recorded, TOLD, training, 7)
    assert batch.shown is not None
    size, channels, _, *grid = batch.x0.shape
    assert (
        batch.shown.shape == (size, channels + SHOWN_BESIDE, 1, *grid)
        and batch.cameras.views == views
    )
    part = batch.rows(slice(1, 2)).shown
    assert part is not None and torch.equal(part, batch.shown[1:2])
    tokenizer = build_tokenizer(TEMPLATES)
    networks = Networks(awake(MultiViewGenerator(TOLD)), InstructionEncoder(TOLD.text, tokenizer))
    networks.decode_with(recorded.trajectory, recorded.arm)
    chance = Chance.drawn(batch.x0, training.extras)
    losses(networks, batch, training, 0.3, chance).total.backward()
    for module in (networks.generator.source_render, networks.generator.source_points):
        assert module is not None
        gradient = module.embed.weight.grad
        assert gradient is not None and gradient.abs().max() > 0


def test_a_cache_is_read_again_and_another_rigs_is_not_taken_for_it(
    sources: tuple[batches.Sources, StackedCodec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, codec, folder = sources
    moved = replace(
        RIG,
        cameras=tuple(
            replace(camera, base_from_camera=camera.base_from_camera @ _aside(0.02 * k))
            for k, camera in enumerate(RIG.cameras)
        ),
    )
    ask = [folder / "touch"], folder / "latents", codec, TOLD, "0" * 64, choose("fp32")
    other = data.load_latents(*ask, moved).drawn
    assert other is not None and recorded.video[0].drawn is not None
    assert not np.array_equal(other, recorded.video[0].drawn)

    def never(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(data, "drawn_latents", never)
    np.testing.assert_array_equal(data.load_latents(*ask, RIG).drawn, recorded.video[0].drawn)


def _aside(metres: float) -> np.ndarray:
    moved = np.eye(4)
    moved[0, 3] = metres
    return moved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("told"), TOLD)


@pytest.mark.parametrize(("mode", "targets"), [(1, 2), (2, 0), (2, 2), (2, 3)])
def test_every_run_of_a_plan_is_told_of_its_own_views(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, targets: int
) -> None:
    told: list[tuple[Any, Any]] = []

    def noted(*given: Any) -> torch.Tensor:
        told.append((given[3], given[4]))
        return solve_views(*given)

    monkeypatch.setattr(planner_module, "solve_views", noted)
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    names = [name for name in RIG.names if name != "cam1"][:targets]
    observation, options = make_observation("open the drawer"), ImagineOptions(view_mode=mode)
    rollout = planner.imagine(observation, "cam1", names, 3, noting([]), options)
    (runs, conditions), views = told[0], 1 + targets
    held = planner._find(rollout.rollout_id).asked
    assert held.shown is not None
    for run, own in zip(runs, conditions, strict=True):
        assert torch.equal(own.shown, take_views(held.shown, views, run.views))
    plan = planner.infer_actions(rollout.rollout_id, "head", 2, noting([]))
    assert np.isfinite(plan.refined.positions).all()
    # The render is heard: with another one and all else the same, the other views are others.
    monkeypatch.setattr(planner_module, "encode_shown", lambda *given: held.shown + 1.0)
    other = planner.imagine(observation, "cam1", names, 3, noting([]), options)
    assert not np.array_equal(other.depth_m, rollout.depth_m)


def test_guests_and_what_was_filmed_or_told_are_shown_too(folder: Path) -> None:
    planner = load_probe(folder, RIG, ARM, ManualClock(7))
    observation, cells = make_observation("open the drawer"), TOLD.latent_size[0]
    guest = replace(
        RIG.camera("cam2"),
        name="guest",
        base_from_camera=RIG.camera("cam2").base_from_camera @ _aside(0.05),
    )
    options = ImagineOptions((guest,), allow_out_of_range=True)
    planner.imagine(observation, "cam1", ["cam2"], 3, noting([]), options)
    frame = observation.frame("cam1")
    planner.adopt([[frame] * TOLD.frame_count], observation.joints, "open the drawer")
    actions = np.tile(ARM.home, (TOLD.trajectory.action_count, 1)).astype(np.float32)
    window = TOLD.window.frame(frame)
    planner.imagine_told(window, ["cam2"], observation.joints, "open the drawer", actions, 3)
    shown = [held.asked.shown for held in planner._held.values()]
    assert [one.shape[3] // cells for one in shown if one is not None] == [3, 1, 2]
    first, second = shown[0], shown[2]
    assert first is not None and second is not None
    torch.testing.assert_close(first[..., : 2 * cells, :], second)
    assert not torch.allclose(first[..., cells : 2 * cells, :], first[..., 2 * cells :, :])


def test_ranks_draw_what_a_cache_of_before_lacks(
    sources: tuple[batches.Sources, StackedCodec, Path],
) -> None:
    recorded, codec, folder = sources
    cache = folder / "latents"
    for path in cache.glob("drawn-*"):
        path.unlink()
    ask = [folder / "touch"], cache, codec, TOLD, "0" * 64, choose("fp32"), RIG
    assert data.fill_cache(*ask, (0, 1)) == 0, "their latents were there"
    assert len(list(cache.glob("drawn-*"))) == 1
    found, wanted = data.load_latents(*ask), recorded.video[0]
    np.testing.assert_array_equal(found.drawn, wanted.drawn)
    kept, held_out = found.split(2)
    assert kept.drawn is not None and held_out.drawn is not None
    np.testing.assert_array_equal(np.concatenate([kept.drawn, held_out.drawn]), found.drawn)


def test_a_config_says_whether_it_is_told(tmp_path: Path) -> None:
    whole = preset("tiny_views")
    assert whole.source_render is not None and whole.source_points is not None
    without = preset("tiny_views", ["source_points"]), preset("tiny_views", BOTH)
    assert without[0].source_render is not None and without[0].source_points is None
    assert without[1].source_render is None and without[1].source_points is None
    for config in (TOLD, CONFIG, whole, *without):
        save_config(config, TEMPLATES, tmp_path / "config.json")
        found: ModelConfig = load_config(tmp_path / "config.json")[0]
        assert found.source_render == config.source_render
        assert found.source_points == config.source_points
    with pytest.raises(ConfigError, match="leave out both"):
        preset("tiny_views", ["source_render"])
    with pytest.raises(ConfigError, match="width is 1 or more"):
        replace(CONFIG, source_render=SourceRenderConfig(0))
    with pytest.raises(ConfigError, match="width is 1 or more"):
        replace(TOLD, source_points=SourcePointsConfig(0))
    with pytest.raises(ConfigError, match="deviations are above 0"):
        replace(CONFIG, source_render=SourceRenderConfig(8, seen_std=0.0))
