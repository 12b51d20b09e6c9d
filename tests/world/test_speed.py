"""What is done to be quick changes no number: each switch beside the plain path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan

from mvista_core.errors import ConfigError
from mvista_world import compiled
from mvista_world.codec import StackedCodec, WanCodec
from mvista_world.compute import choose
from mvista_world.config import CodecConfig, SamplerConfig
from mvista_world.denoise import solve
from mvista_world.generator import Conditions, KeptContext, MultiViewGenerator
from mvista_world.guidance import WordGuidance
from mvista_world.offload import check_offload, offload_blocks
from mvista_world.parts import split_bytes
from mvista_world.solvers import make_solver
from mvista_world.speed import EXACT, PLAIN, Running, Speed
from mvista_world.wan import vae_config
from tests.world.tiny import CONFIG, make_cameras, make_generator, make_latents, source_mask

pytestmark = pytest.mark.slow
VIEWS = 2


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """A sum's order is the thread count's, and guidance counts its rounding five times: what an
    earlier test had left made 1.2e-6 of 0.8e-6."""
    choose(threads=1)


def conditions(samples: int = 1) -> Conditions:
    rng = torch.Generator().manual_seed(3)
    z, text = CONFIG.trajectory, CONFIG.text
    return Conditions(
        torch.randn(1, text.max_tokens, text.hidden, generator=rng),
        make_cameras(1, VIEWS),
        torch.randn(1, z.tokens, z.channels, generator=rng),
    ).expand(samples)


def guidance(low: float = 0.0, high: float = 1.0) -> WordGuidance:
    return WordGuidance(5.0, low, high, torch.zeros(1, CONFIG.text.max_tokens, CONFIG.text.hidden))


def imagined(
    speed: Speed,
    guided: WordGuidance | None = None,
    change: Callable[[MultiViewGenerator], None] = lambda _: None,
) -> torch.Tensor:
    generator = make_generator()
    generator.speed = speed
    change(generator)
    given, noise = make_latents(1, VIEWS), make_latents(1, VIEWS, seed=9)
    solver = make_solver(SamplerConfig(4, 5.0, solver="unipc"))
    clean = source_mask(VIEWS)
    return solve(generator, given, clean, conditions(), noise, solver, guidance=guided)


@pytest.mark.parametrize("name", ["distinct_times", "kept_context", "batched_guidance"])
def test_each_switch_by_itself_gives_the_plain_paths_numbers(name: str) -> None:
    plain = imagined(PLAIN, guidance())
    quick = imagined(replace(PLAIN, **{name: True}), guidance())
    assert float((quick - plain).abs().max() / plain.abs().max()) < 1e-6
    unguided = imagined(PLAIN)
    assert float((plain - unguided).abs().max()) > 1e-3, "guidance does something"


def test_all_of_them_together_too() -> None:
    plain = imagined(PLAIN, guidance())
    quick = imagined(Speed(), guidance())
    assert float((quick - plain).abs().max() / plain.abs().max()) < 1e-6


def test_explicit_attention_keeps_the_same_keys() -> None:
    both = [
        imagined(speed, guidance(), MultiViewGenerator.use_explicit_attention)
        for speed in (PLAIN, Speed())
    ]
    assert float((both[1] - both[0]).abs().max() / both[0].abs().max()) < 1e-6


def test_outside_of_its_interval_nothing_is_guided() -> None:
    torch.testing.assert_close(imagined(Speed(), guidance(0.0, 1e-4)), imagined(Speed()))
    part = imagined(Speed(), guidance(0.3, 0.9))
    assert float((part - imagined(Speed(), guidance())).abs().max()) > 1e-3


def test_guidance_of_scale_one_is_none() -> None:
    one = imagined(PLAIN, replace(guidance(), scale=1.0))
    torch.testing.assert_close(one, imagined(PLAIN), atol=1e-5, rtol=1e-5)
    assert WordGuidance.of(SamplerConfig(), lambda _: torch.zeros(1)) is None
    for bad in (SamplerConfig(guidance=0.5), SamplerConfig(guidance_low=0.8, guidance_high=0.2)):
        with pytest.raises(ConfigError, match="guidance is 1"):
            replace(CONFIG, sampler=bad)


def test_nothing_is_kept_where_gradients_are_taken() -> None:
    generator, told = make_generator(), conditions()
    x, t = make_latents(1, VIEWS), torch.tensor([0.5])
    with pytest.raises(ConfigError, match=r"under autograd.*no_grad"):
        generator(x, t, source_mask(VIEWS), told, KeptContext())
    kept = KeptContext()
    with torch.no_grad():
        first = generator(x, t, source_mask(VIEWS), told, kept).velocity
        other = replace(told, style=told.style + 1.0)
        told_otherwise = generator(x, t, source_mask(VIEWS), other, kept).velocity
        plain = generator(x, t, source_mask(VIEWS), other).velocity
    assert not torch.allclose(first, plain)
    torch.testing.assert_close(told_otherwise, plain)


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    wanted = Running(Speed(compiled=True))
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler 'no-such-compiler'.*'compiled' off"):
        compiled.apply_speed(wanted, make_generator(), StackedCodec(CONFIG.codec), choose("fp32"))
    assert set(EXACT) < set(Speed.__dataclass_fields__)


def test_tiles_change_nothing_within_one_and_little_where_they_meet() -> None:
    torch.manual_seed(0)
    config = CodecConfig("wan", 48, 16, 4, 10)
    codec = WanCodec(AutoencoderKLWan.from_config(vae_config(config)).eval().requires_grad_(False))
    small, large = torch.randn(1, 48, 1, 8, 16), torch.randn(1, 48, 1, 12, 20)
    with torch.no_grad():
        plain = codec.decode(small), codec.decode(large)
        compiled.apply_speed(
            Running(Speed(tiled_decoding=True)), make_generator(), codec, choose("fp32")
        )
        tiled = codec.decode(small), codec.decode(large)
    assert torch.equal(plain[0], tiled[0])
    assert plain[1].shape == tiled[1].shape
    assert 0 < float((plain[1] - tiled[1]).abs().mean()) < 0.1
    with pytest.raises(ConfigError, match="autoencoder has none"):
        compiled.apply_speed(
            Running(Speed(tiled_decoding=True)),
            make_generator(),
            StackedCodec(CONFIG.codec),
            choose("fp32"),
        )


def test_blocks_that_wait_elsewhere_give_the_same_and_are_away_between() -> None:
    def wait(generator: MultiViewGenerator) -> None:
        offload_blocks(generator, torch.device("cpu"))
        weights = list(generator.backbone.blocks.parameters())
        assert all(weight.device.type == "meta" for weight in weights)

    speed = Speed(kept_context=False)
    torch.testing.assert_close(imagined(speed, change=wait), imagined(speed))
    gradients = []
    for change in (wait, lambda _: None):
        generator = make_generator()
        change(generator)
        told = conditions()
        style = told.style.clone().requires_grad_(True)
        x, t = make_latents(1, VIEWS), torch.tensor([0.5])
        found = generator(x, t, source_mask(VIEWS), replace(told, style=style))
        found.velocity.square().sum().backward()
        gradients.append(style.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_what_cannot_be_offloaded_is_refused(tmp_path: Path) -> None:
    here = choose("fp32")
    for running, words in (
        (Running(offload="disk"), "none of \\['none', 'blocks'\\]"),
        (Running(offload="blocks"), "computes there already"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_offload(running, here)
    there = replace(here, device=torch.device("cuda:0"))
    with pytest.raises(ConfigError, match="do not go together"):
        check_offload(Running(Speed(compiled=True), "blocks"), there)
    needed = {"generator": 3000, "vae": 70}
    assert split_bytes(needed, CONFIG, "none") == (needed, {})
    assert split_bytes(needed, CONFIG, "blocks") == (
        {"generator": 1500, "vae": 70},
        {"generator": 3000},
    )
