"""Steps that leave out blocks: an approximation, off unless asked for, that ends with its run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mvista_core.errors import ConfigError
from mvista_world import compiled
from mvista_world.codec import StackedCodec
from mvista_world.compute import choose
from mvista_world.config import SamplerConfig
from mvista_world.denoise import solve
from mvista_world.generator import MultiViewGenerator
from mvista_world.guidance import WordGuidance
from mvista_world.solvers import make_solver
from mvista_world.speed import Running, Speed
from mvista_world.step_cache import cached_steps
from tests.world.test_speed import VIEWS, conditions, guidance
from tests.world.tiny import CONFIG, make_generator, make_latents, source_mask

pytestmark = pytest.mark.slow
STEPS = 6


def solved(
    generator: MultiViewGenerator, step_cache: float, guided: WordGuidance | None = None
) -> tuple[torch.Tensor, list[int]]:
    """The latents, and how often each block was computed."""
    counts = [0] * len(generator.backbone.blocks)

    def count(k: int) -> object:
        own = generator.backbone.blocks[k].ffn
        return own.register_forward_hook(
            lambda *_: counts.__setitem__(k, counts[k] + 1)  # type: ignore[misc]
        )

    handles = [count(k) for k in range(len(counts))]
    given, noise = make_latents(1, VIEWS), make_latents(1, VIEWS, seed=9)
    solver = make_solver(SamplerConfig(STEPS, 5.0))
    clean = source_mask(VIEWS)
    found = solve(
        generator,
        given,
        clean,
        conditions(),
        noise,
        solver,
        guidance=guided,
        step_cache=step_cache,
    )
    for handle in handles:
        handle.remove()  # type: ignore[attr-defined]
    return found, counts


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("guided", [None, guidance(), guidance(0.3, 0.9)])
def test_what_changes_too_much_is_computed(guided: WordGuidance | None, batched: bool) -> None:
    """With and without words, in one batch or two, within an interval."""
    generator = make_generator()
    generator.speed = Speed(batched_guidance=batched)
    plain, all_blocks = solved(generator, 0.0, guided)
    close, as_many = solved(generator, 1e-9, guided)
    assert torch.equal(close, plain) and as_many == all_blocks
    assert min(all_blocks) >= STEPS


def test_what_is_kept_of_the_words_is_not_used_without_them() -> None:
    """Steps that leave out blocks: words and no words in one batch, or one after the other."""
    found = []
    for batched in (True, False):
        generator = make_generator()
        generator.speed = Speed(batched_guidance=batched)
        found.append(solved(generator, 0.999, guidance())[0])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


def test_steps_alike_leave_out_the_blocks_after_the_first() -> None:
    generator = make_generator()
    plain, _ = solved(generator, 0.0)
    nearly, counts = solved(generator, 0.999)
    assert counts[0] == STEPS and all(1 <= count < STEPS for count in counts[1:])
    assert not torch.equal(nearly, plain)
    given = slice(0, plain.shape[3] // VIEWS)
    assert torch.equal(nearly[:, :, 0, given], plain[:, :, 0, given]), "given tokens stay"
    assert torch.equal(solved(generator, 0.0)[0], plain), "what was kept ends with its run"


def test_eq_11s_gradient_is_the_same_after_a_run() -> None:
    def gradient(generator: MultiViewGenerator) -> torch.Tensor:
        told = conditions()
        style = told.style.clone().requires_grad_()
        x, t = make_latents(1, VIEWS), torch.tensor([0.5])
        found = generator(x, t, source_mask(VIEWS), replace(told, style=style))
        return torch.autograd.grad(found.velocity.square().sum(), style)[0]

    generator = make_generator()
    solved(generator, 0.999)
    assert torch.equal(gradient(generator), gradient(make_generator()))
    assert float(gradient(generator).abs().max()) > 0.0


def test_a_run_that_is_broken_off_leaves_nothing_behind() -> None:
    generator = make_generator()
    broken = pytest.raises(RuntimeError, match="broken off")
    with broken, torch.no_grad(), cached_steps(generator, 0.5):
        raise RuntimeError("broken off")
    assert not generator.backbone.is_cache_enabled


def test_what_cannot_be_is_refused() -> None:
    generator = make_generator()
    refused = pytest.raises(ConfigError, match=r"0\.1 under autograd.*no_grad")
    with refused, cached_steps(generator, 0.1):
        pass
    generator.speed = Speed(compiled=True)
    refused = pytest.raises(ConfigError, match="with compiled blocks")
    with torch.no_grad(), refused, cached_steps(generator, 0.1):
        pass
    fast = Running(Speed(compiled=True))
    cached = replace(CONFIG, sampler=SamplerConfig(step_cache=0.1))
    with pytest.raises(ConfigError, match="with compiled blocks"):
        compiled.apply_speed(
            fast, MultiViewGenerator(cached), StackedCodec(CONFIG.codec), choose("fp32")
        )
    for bad in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="step_cache"):
            replace(CONFIG, sampler=SamplerConfig(step_cache=bad))
    one = replace(CONFIG.transformer, num_layers=1)
    with pytest.raises(ConfigError, match="one block"):
        replace(CONFIG, transformer=one, sampler=SamplerConfig(step_cache=0.1))
