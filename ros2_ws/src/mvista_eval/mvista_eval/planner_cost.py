"""What a plan costs on this machine: each stage's time, the processor's, and memory.

One scene of the shipped cell is planned again and again, with another seed of imagination each
time. The first plan is apart: kernels are chosen and memory is taken in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.machine import native_bf16, peak_memory
from mvista_core.records import Observation
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_eval.cell import arm_file, rig_file
from mvista_eval.figures import Figure, Measured
from mvista_eval.stage_times import PlanStage, StageTimes
from mvista_sim.cell import SimCell
from mvista_world.choices import MethodChoices
from mvista_world.compute import PROCESSOR, choose
from mvista_world.config import INITIALISATIONS
from mvista_world.planner import WorldModelPlanner, load_planner

CPU_S, CPU_S_NATIVE_BF16, MEMORY_MIB = 20.0, 10.0, 2048.0
"""A plan on a processor without bf16 products, on one with them; the process at its largest."""
SCENE = 10_000


@dataclass(frozen=True)
class PlannerLoad:
    """What is planned: so many plans after the first, from a start of Eq. 11 (`steps` None: as
    many as it is used to), in numbers, on threads and a device as `compute.choose`
    takes them."""

    checkpoint: Path
    plans: int
    initialisation: str = INITIALISATIONS[0]
    steps: int | None = None
    precision: str = "auto"
    threads: int = 1
    choices: MethodChoices | None = None
    device: str = PROCESSOR


@dataclass(frozen=True)
class StageCost:
    """One stage over all plans but the first: wall and processor time (s), and the most that the
    process held at its end."""

    name: str
    p50_s: float
    p95_s: float
    p50_cpu_s: float
    p95_cpu_s: float
    held_mib: float = 0.0

    @staticmethod
    def of(name: str, found: Sequence[tuple[float, float]], held_mib: float = 0.0) -> StageCost:
        """Of (wall, processor) times, one pair a plan."""
        (p50, cpu_50), (p95, cpu_95) = np.quantile(np.array(found), (0.5, 0.95), axis=0)
        return StageCost(name, float(p50), float(p95), float(cpu_50), float(cpu_95), held_mib)

    def __str__(self) -> str:
        wall = f"{self.p50_s:8.2f} {self.p95_s:8.2f}"
        cpu = f"{self.p50_cpu_s:8.2f} {self.p95_cpu_s:8.2f}"
        return f"  {self.name:12s} {wall} {cpu} {self.held_mib:8.0f}"


def measure(load: PlannerLoad) -> Measured:
    """Times of every stage and of the whole plan, and the most memory this process held, the
    simulated scene's included.

    Raises:
        ConfigError: no plan to measure, negative steps, or a choice there is not.
        WeightsError: the checkpoint is not whole.
    """
    if load.plans < 1 or (load.steps is not None and load.steps < 0):
        raise ConfigError(f"--plans {load.plans} --steps {load.steps}: at least 1 plan, 0 steps")
    rig, arm = load_rig(rig_file()), load_arm(arm_file())
    compute = choose(load.precision, load.device, threads=load.threads)
    cell = SimCell(arm, rig)
    words = cell.reset("touch_cube", SCENE)
    frames = tuple(cell.latest(name) for name in cell.cameras())
    observation = Observation(frames, cell.state(), rig.content_hash, words)
    cell.close()
    planner = load_planner(load.checkpoint, rig, arm, SystemClock(), compute, load.choices)
    plans = [_planned(planner, observation, load, seed) for seed in range(load.plans + 1)]
    return measured(plans[0], plans[1:], str(compute), planner, load)


def _planned(
    planner: WorldModelPlanner, observation: Observation, load: PlannerLoad, seed: int
) -> tuple[PlanStage, ...]:
    times = StageTimes(SystemClock())
    source, *targets = planner.config.cameras
    usual = planner.config.optimisation.steps_from(load.initialisation)
    rollout = planner.imagine(observation, source, targets, seed, times)
    steps = usual if load.steps is None else load.steps
    plan = planner.infer_actions(rollout.rollout_id, load.initialisation, steps, times)
    planner.judge(rollout.rollout_id, plan, times)
    return times.stages()


def costs_of(plans: Sequence[tuple[PlanStage, ...]]) -> list[StageCost]:
    """A row for each stage in its order, and one for whole plans."""
    names = [stage.name for stage in plans[0]]
    rows = [
        StageCost.of(
            name,
            [(plan[k].seconds, plan[k].cpu_s) for plan in plans],
            max(plan[k].held_mib for plan in plans),
        )
        for k, name in enumerate(names)
    ]
    most = max(row.held_mib for row in rows)
    return [*rows, StageCost.of("plan", [_whole(plan) for plan in plans], most)]


def _whole(plan: Sequence[PlanStage]) -> tuple[float, float]:
    return sum(stage.seconds for stage in plan), sum(stage.cpu_s for stage in plan)


def measured(
    first: tuple[PlanStage, ...],
    plans: Sequence[tuple[PlanStage, ...]],
    compute: str,
    planner: WorldModelPlanner,
    load: PlannerLoad,
) -> Measured:
    """The bench's words, document and bounds."""
    rows = costs_of(plans)
    peak_mib = peak_memory() / 2**20
    sampler = planner.config.sampler
    allowed = CPU_S_NATIVE_BF16 if native_bf16() else CPU_S
    document: dict[str, Any] = {
        "networks": compute,
        "weights_sha256": planner.weights_sha256,
        "view_mode": sampler.mode,
        "initialisation": load.initialisation,
        "steps": load.steps,
        "processor_multiplies": planner.compute.capability,
        "plans": len(plans),
        "first_plan": [asdict(stage) for stage in first],
        "stages": [asdict(row) for row in rows],
        "peak_memory_mib": peak_mib,
        "peak_device_mib": planner.compute.peak_bytes() / 2**20,
    }
    words = [
        f"{len(plans)} plans, mode {sampler.mode}, {compute}",
        f"  {'stage':12s} {'p50 s':>8s} {'p95 s':>8s} {'CPU p50':>8s} {'CPU p95':>8s} {'MiB':>8s}",
        *map(str, rows),
        f"  the first, apart: {_whole(first)[0]:.2f} s, CPU {_whole(first)[1]:.2f} s",
    ]
    figures = (
        Figure("CPU seconds of a plan, p50", rows[-1].p50_cpu_s, allowed),
        Figure("memory at the most, MiB", peak_mib, MEMORY_MIB),
    )
    return Measured("a plan in process", "\n".join(words), document, figures)
