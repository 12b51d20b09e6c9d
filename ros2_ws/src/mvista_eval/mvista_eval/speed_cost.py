"""What each way of being quick saves, and what it costs: exact ones beside the plain path, knobs
as an error curve against the same seed imagined in many steps.

One seed is one path of the flow: two solvers of it differ by their error and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.records import Float32, Observation, RigCalibration, Rollout
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, ns_to_seconds
from mvista_eval.cell import arm_file, rig_file
from mvista_eval.figures import Figure, Measured
from mvista_sim.cell import SimCell
from mvista_world.attention import ExplicitAttention
from mvista_world.checkpoint import Checkpoint, load_checkpoint
from mvista_world.compiled import apply_blocks, why_not_compiled
from mvista_world.compute import PROCESSOR, choose
from mvista_world.config import SamplerConfig
from mvista_world.config_limits import SOLVERS
from mvista_world.metrics import abs_rel, psnr
from mvista_world.planner import WorldModelPlanner
from mvista_world.speed import PLAIN, Speed

SCENE = 10_000
SCALE = 2.0
FUSED = "fused attention"
ATTENTION = {FUSED: False, "attention written out": True}
"""Which of the two is quicker depends on number format, processor and tokens: both are measured."""
CACHES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Thresholds of the step cache."""
INTERVALS = ((0.0, 1.0), (0.3, 1.0), (0.3, 0.9))
LARGEST = 5e-6
"""Of the latents' range in float32: what an exact way may differ by. Each evaluation's rounding is
some 1e-7, and a guided solver of ten steps carries it on."""


@dataclass(frozen=True)
class SpeedLoad:
    """Which checkpoint, with how many repetitions of each; `steps` of the curve, all of them below
    `reference`'s; `compiled` adds compiled blocks, which take minutes the first time."""

    checkpoint: Path
    repeats: int = 3
    steps: tuple[int, ...] = (2, 4, 6, 10, 20)
    reference: int = 50
    compiled: bool = False
    precision: str = "fp32"
    threads: int = 1
    device: str = PROCESSOR

    def check(self) -> None:
        """`ConfigError` where there is nothing to measure."""
        if self.repeats < 1 or not self.steps or not 0 < min(self.steps) <= max(self.steps):
            raise ConfigError(f"--plans {self.repeats} --steps {self.steps}: 1 or more of each")
        if max(self.steps) >= self.reference:
            raise ConfigError(f"--reference {self.reference} is to be more than {self.steps}")


@dataclass(frozen=True)
class Setting:
    """One row: seconds to imagine (median), and how far its pictures are from what it is held
    against: `largest` difference of the latents over their range, `psnr_db` of colour (None where
    it is the same), `abs_rel` of depth."""

    name: str
    seconds: float
    largest: float
    psnr_db: float | None
    abs_rel: float

    def __str__(self) -> str:
        colour = "same" if self.psnr_db is None else f"{self.psnr_db:.1f}"
        return (
            f"  {self.name:34s} {self.seconds:8.2f} {self.largest:10.2e} {colour:>8s} "
            f"{self.abs_rel:8.4f}"
        )


class _Bench:
    """One scene, imagined from one seed again and again."""

    def __init__(self, load: SpeedLoad, checkpoint: Checkpoint, clock: Clock) -> None:
        self._rig, self._arm = load_rig(rig_file()), load_arm(arm_file())
        self._load, self.checkpoint, self._clock = load, checkpoint, clock
        self.usual = replace(checkpoint.config.sampler, step_cache=0.0)
        """Its own sampler, every step in full."""
        self._observation = _observe(self._rig, self._arm)

    def imagine(self, speed: Speed, sampler: SamplerConfig) -> tuple[Rollout, Float32, float]:
        """A rollout, its latents, and the median of its seconds; one more run is apart."""
        self.checkpoint.generator.speed = speed
        config = replace(self.checkpoint.config, sampler=sampler)
        checkpoint = replace(self.checkpoint, config=config)
        planner = WorldModelPlanner(checkpoint, self._rig, self._arm, self._clock)
        source, *targets = config.cameras
        taken = []
        for _ in range(self._load.repeats + 1):
            began_ns = self._clock.monotonic_ns()
            rollout = planner.imagine(self._observation, source, targets, 0, lambda *_: True)
            checkpoint.compute.wait()
            taken.append(self._clock.monotonic_ns() - began_ns)
        latents = planner.latents(rollout.rollout_id)
        return rollout, latents, ns_to_seconds(round(median(taken[1:])))


def measure_speed(load: SpeedLoad) -> Measured:
    """All rows.

    Raises:
        ConfigError: nothing to measure, or nothing here to compile with.
        WeightsError: the checkpoint is not whole.
    """
    load.check()
    compute = choose(load.precision, load.device, threads=load.threads)
    if load.compiled and (reason := why_not_compiled(compute)):
        raise ConfigError(f"--compiled: {reason}")
    bench = _Bench(load, load_checkpoint(load.checkpoint, compute), SystemClock())
    exact, attention, curve, caches, intervals = (
        list(rows(bench, load)) for rows in (_exact, _attention, _curve, _caches, _intervals)
    )
    head = f"  {'':34s} {'p50 s':>8s} {'largest':>10s} {'PSNR dB':>8s} {'AbsRel':>8s}   against "
    words = [
        f"imagining one scene, {compute}",
        head + "the plain path",
        *map(str, exact),
        head + FUSED,
        *map(str, attention),
        head + f"unipc in {load.reference} steps",
        *map(str, curve),
        head + "every step in full",
        *map(str, caches),
        head + f"guidance {SCALE:g} at every noise level",
        *map(str, intervals),
    ]
    document: dict[str, Any] = {
        "networks": str(compute),
        "exact": [asdict(row) for row in exact],
        "attention": [asdict(row) for row in attention],
        "solvers": {"reference_steps": load.reference, "rows": [asdict(row) for row in curve]},
        "step_caches": [asdict(row) for row in caches],
        "guidance_intervals": {"scale": SCALE, "rows": [asdict(row) for row in intervals]},
    }
    worst = max(row.largest for row in exact)
    # Half the bits, and rounding is larger than any difference of method.
    bound = LARGEST if str(compute.dtype) == "torch.float32" else 1.0
    figures = (Figure("exact ways, largest difference", worst, bound),)
    return Measured("what being quick costs", "\n".join(words), document, figures)


def _exact(bench: _Bench, load: SpeedLoad) -> Iterator[Setting]:
    guided = replace(bench.usual, guidance=SCALE)
    plain = bench.imagine(PLAIN, guided)
    yield _compared("plain", plain, plain)
    for name in ("distinct_times", "kept_context", "batched_guidance"):
        found = bench.imagine(replace(PLAIN, **{name: True}), guided)
        yield _compared(name, found, plain)
    yield _compared("all three", bench.imagine(Speed(), guided), plain)
    if load.compiled:
        blocks = bench.checkpoint.generator
        apply_blocks(blocks, bench.checkpoint.compute)
        yield _compared("all three, compiled", bench.imagine(Speed(), guided), plain)
        for block in blocks.backbone.blocks:
            block._compiled_call_impl = None


def _attention(bench: _Bench, load: SpeedLoad) -> Iterator[Setting]:
    """Two ways of adding up the same, which differ by their rounding and nothing else."""
    del load
    blocks, found = bench.checkpoint.generator, {}
    usual = isinstance(blocks.backbone.blocks[0].attn1.processor, ExplicitAttention)
    for name, explicit in ATTENTION.items():
        blocks.use_explicit_attention(explicit)
        found[name] = bench.imagine(Speed(), bench.usual)
    blocks.use_explicit_attention(usual)
    for name in ATTENTION:
        yield _compared(name, found[name], found[FUSED])


def _curve(bench: _Bench, load: SpeedLoad) -> Iterator[Setting]:
    usual = bench.usual
    wanted = replace(usual, solver="unipc", steps=load.reference)
    reference = bench.imagine(Speed(), wanted)
    for solver in SOLVERS:
        for steps in load.steps:
            found = bench.imagine(Speed(), replace(usual, solver=solver, steps=steps))
            yield _compared(f"{solver} {steps}", found, reference)


def _caches(bench: _Bench, load: SpeedLoad) -> Iterator[Setting]:
    del load
    if bench.checkpoint.config.transformer.num_layers < 2:
        return
    usual = bench.usual
    whole = bench.imagine(Speed(), usual)
    yield _compared("no step cache", whole, whole)
    for threshold in CACHES:
        found = bench.imagine(Speed(), replace(usual, step_cache=threshold))
        yield _compared(f"step_cache {threshold:g}", found, whole)


def _intervals(bench: _Bench, load: SpeedLoad) -> Iterator[Setting]:
    del load
    usual = bench.usual
    whole = bench.imagine(Speed(), replace(usual, guidance=SCALE))
    yield _compared("none", bench.imagine(Speed(), usual), whole)
    for low, high in INTERVALS:
        sampler = replace(usual, guidance=SCALE, guidance_low=low, guidance_high=high)
        yield _compared(f"t in [{low:g}, {high:g}]", bench.imagine(Speed(), sampler), whole)


def _compared(
    name: str,
    found: tuple[Rollout, Float32, float],
    wanted: tuple[Rollout, Float32, float],
) -> Setting:
    (rollout, latents, seconds), (other, reference, _) = found, wanted
    return Setting(
        name,
        seconds,
        float(np.abs(latents - reference).max() / np.abs(reference).max()),
        None if np.array_equal(rollout.color, other.color) else psnr(rollout.color, other.color),
        abs_rel(rollout.depth_m, other.depth_m),
    )


def _observe(rig: RigCalibration, arm: ArmModel) -> Observation:
    cell = SimCell(arm, rig)
    words = cell.reset("touch_cube", SCENE)
    frames = tuple(cell.latest(name) for name in cell.cameras())
    observation = Observation(frames, cell.state(), rig.content_hash, words)
    cell.close()
    return observation
