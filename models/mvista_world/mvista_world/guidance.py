"""Classifier-free guidance (Ho & Salimans 2021): the velocity that a solver follows.

v = v(no words) + scale * (v(words) - v(no words)), over an interval of noise levels (Kynkaanniemi
et al. 2024). Both are asked in one batch (`Speed.batched_guidance`): a card that multiplies few
tokens at a time waits for weights, and reads them once for two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mvista_world.config import SamplerConfig
from mvista_world.generator import Conditions, KeptContext, MultiViewGenerator
from mvista_world.step_cache import cache_of
from mvista_world.text import NO_WORDS, TextEncoder


@dataclass(frozen=True)
class WordGuidance:
    """Scale, the noise levels [low, high] where it is applied, features [1, n, C] of no words."""

    scale: float
    low: float
    high: float
    empty: torch.Tensor

    @staticmethod
    def of(sampler: SamplerConfig, text: TextEncoder) -> WordGuidance | None:
        """As a sampler says; None where it guides nothing.

        Raises:
            InstructionError: no words were never encoded (`text_cache`).
        """
        if not sampler.guided:
            return None
        low, high = sampler.guidance_low, sampler.guidance_high
        with torch.no_grad():
            return WordGuidance(sampler.guidance, low, high, text([NO_WORDS]))


class GuidedVelocity:
    """The velocity at (x, t) under fixed conditions; what does not change between is kept."""

    def __init__(
        self,
        generator: MultiViewGenerator,
        clean: torch.Tensor,
        told: Conditions,
        guidance: WordGuidance | None,
    ) -> None:
        self._generator, self._guidance = generator, guidance
        self._told = _Asked(generator, clean, told, "words")
        if guidance is None:
            return
        # Words alone are left out: cameras and style are the same on both sides.
        untold = replace(told, text=guidance.empty.expand_as(told.text))
        if generator.speed.batched_guidance:
            both = replace(told.twice(), text=torch.cat([told.text, untold.text]))
            twice = clean if clean.ndim == 1 else torch.cat([clean, clean])
            self._both = _Asked(generator, twice, both, "words and none")
        else:
            self._untold = _Asked(generator, clean, untold, "no words")

    def __call__(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Float32, like x [B, C, T, V*h, M*w]; `time` is a scalar."""
        guidance, t = self._guidance, time.to(x.device).expand(x.shape[0])
        if guidance is None or not guidance.low <= float(time) <= guidance.high:
            return self._told(x, t)
        if self._generator.speed.batched_guidance:
            told, untold = self._both(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        else:
            told, untold = self._told(x, t), self._untold(x, t)
        return untold + guidance.scale * (told - untold)


class _Asked:
    """One set of conditions, and what is kept of them."""

    def __init__(
        self, generator: MultiViewGenerator, clean: torch.Tensor, told: Conditions, name: str
    ) -> None:
        self._generator, self._clean, self._conditions = generator, clean, told
        self._name = name
        self._kept = KeptContext() if generator.speed.kept_context else None

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with cache_of(self._generator, self._name):
            found = self._generator(x, t, self._clean, self._conditions, self._kept)
        return found.velocity.float()
