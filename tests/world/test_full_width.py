"""Two layers of Wan2.2-TI2V-5B at its full width: ours is diffusers' model, to rounding.

Weights are shared between the two and narrowed in place, so that all fits in 4 GB; the depth of 30
is run by `mvista bench planner --random-weights`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel

from mvista_core.imaging import ModelWindow
from mvista_world.cameras import window_cameras
from mvista_world.config import ModelConfig
from mvista_world.folder import BACKBONE_KEYS, is_added
from mvista_world.generator import TIME_SCALE, Conditions, MultiViewGenerator
from mvista_world.layout import clean_mask
from mvista_world.presets import wan22_ti2v_5b
from mvista_world.random_weights import additions, random_backbone
from mvista_world.views import ViewCameras
from mvista_world.wan import transformer_config
from tests.world.tiny import RIG

pytestmark = pytest.mark.slow

CONFIG = replace(
    wan22_ti2v_5b(),
    window=ModelWindow(64, 64, 2),
    frame_count=5,
    transformer=replace(wan22_ti2v_5b().transformer, num_layers=2),
)
"""The sizes of every weight as published; a small picture, since tokens change no sum."""
T = 0.7
FP32 = 1e-5


def generator_of(config: ModelConfig, number: torch.dtype) -> MultiViewGenerator:
    """Random backbone, additions as training starts with them (they add nothing)."""
    with init_empty_weights():
        generator = MultiViewGenerator(config)
    backbone = ((BACKBONE_KEYS + k, v) for k, v in random_backbone(config, 0, number))
    for tensors in (backbone, additions(config, 1, number, awake=False)):
        for key, tensor in tensors:
            generator.load_state_dict({key: tensor}, strict=False, assign=True)
    return generator.eval().requires_grad_(False)


def wan_of(generator: MultiViewGenerator) -> WanTransformer3DModel:
    """diffusers' own model on the same tensors, not on copies."""
    with init_empty_weights():
        wan = WanTransformer3DModel.from_config(transformer_config(generator.config))
    state = generator.backbone.state_dict()
    wan.load_state_dict(
        {key: state[key] for key in state if not is_added(BACKBONE_KEYS + key)}, assign=True
    )
    return wan.eval()


def conditions(views: int) -> Conditions:
    poses, k = window_cameras(RIG.cameras, CONFIG.window)
    cameras = ViewCameras.of(poses[None], k[None], CONFIG).pick(0, [list(range(views))])
    rng = torch.Generator().manual_seed(3)
    text = torch.randn(1, 8, CONFIG.text.hidden, generator=rng)
    z = CONFIG.trajectory
    return Conditions(text, cameras, torch.randn(1, z.tokens, z.channels, generator=rng))


def latents(views: int, modalities: int) -> torch.Tensor:
    rows, columns = CONFIG.latent_size
    shape = (1, 48, CONFIG.latent_frames, views * rows, modalities * columns)
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def known(views: int, modalities: int, first_frame: bool) -> torch.Tensor:
    given = torch.zeros(views, CONFIG.latent_frames, dtype=torch.bool)
    given[0, 0] = first_frame
    return clean_mask(given, CONFIG.token_grid, modalities)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


CASES = {
    "one view": (1, 1, False),
    "one view, first frame clean": (1, 1, True),
    "stacked grid": (2, 2, False),
    "stacked grid, first view's first frame clean": (2, 2, True),
}


HARDEST = list(CASES)[-1]


@torch.no_grad()
def both(
    pair: tuple[MultiViewGenerator, WanTransformer3DModel], case: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Our velocity and diffusers', per-token times from the same mask."""
    views, modalities, first = CASES[case]
    generator, wan = pair
    x, told, clean = latents(views, modalities), conditions(views), known(views, modalities, first)
    ours = generator(x, torch.tensor([T]), clean, told).velocity
    times = torch.where(clean, 0.0, T * TIME_SCALE)[None]
    number = wan.patch_embedding.weight.dtype
    theirs = wan(x.to(number), times, told.text.to(number), return_dict=False)[0]
    return ours.float(), theirs.float()


Answers = dict[str, tuple[torch.Tensor, torch.Tensor]]


def narrowed(generator: MultiViewGenerator, kept: set[str]) -> None:
    """Weights to bf16 in place, but for those with a name of `kept` in their key."""
    for key, parameter in generator.named_parameters():
        if not kept & set(key.split(".")):
            parameter.data = parameter.data.to(torch.bfloat16)


@pytest.fixture(scope="module")
def answers() -> dict[str, Answers]:
    """Ours and diffusers' for every case: float32, bf16 as diffusers loads it, all in bf16."""
    generator = generator_of(CONFIG, torch.float32)
    found: dict[str, Answers] = {}
    for number, kept in (
        ("float32", None),
        ("mixed", set(WanTransformer3DModel._keep_in_fp32_modules)),
        ("bf16", set[str]()),
    ):
        if kept is not None:
            narrowed(generator, kept)
        cases = [case for case in CASES if number == "float32" or case == HARDEST]
        pair = (generator, wan_of(generator))
        found[number] = {case: both(pair, case) for case in cases}
    assert {p.dtype for p in generator.parameters()} == {torch.bfloat16}
    return found


@pytest.mark.parametrize("case", CASES)
def test_ours_is_diffusers_model_in_float32(case: str, answers: dict[str, Answers]) -> None:
    ours, theirs = answers["float32"][case]
    assert relative(ours, theirs) < FP32
    assert theirs.std() > 0.1


@pytest.mark.parametrize("number", ["mixed", "bf16"])
def test_ours_in_bf16_errs_no_more_than_diffusers_does(
    number: str, answers: dict[str, Answers]
) -> None:
    exact = answers["float32"][HARDEST][1]
    ours, theirs = (relative(found, exact) for found in answers[number][HARDEST])
    assert 1e-4 < theirs < 0.1
    assert ours < 1.1 * theirs
