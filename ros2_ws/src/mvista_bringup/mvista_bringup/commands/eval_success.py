"""`mvista eval success`: success rates of the whole pipeline in process, and what limits them.

Every arm of the table plans from the same observations; the executor streams at 200 Hz into the
simulated arm. Rows named `true-*` replace a stage by the truth: what is left is what that stage
costs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.records import ActionTrajectory, InferredPlan, Observation, Rollout
from mvista_core.rig import load_rig
from mvista_executor.in_process import execute_in_process
from mvista_sim import tasks
from mvista_sim.cell import SimCell, SimClock
from mvista_world.planner import WorldModelPlanner, load_planner

from mvista_bringup import paths

HEAD_STEPS = 15
RANDOM_STEPS = 100
FRAME_TIMES_S = np.arange(9) * 0.8
CAMERAS = ("cam1", "cam2", "cam0")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    episodes: int
    successes: int
    right_object: int | None
    refused: int
    low: float
    high: float
    tip_error_mm: float


@dataclass(frozen=True)
class Trial:
    """What one way of planning did in one episode."""

    success: bool
    right_object: bool
    refused: bool
    tip_error_mm: float


@dataclass
class Bench:
    """The cell, the planner and the scene at hand."""

    cell: SimCell
    planner: WorldModelPlanner
    arm: ArmModel
    task: str
    seed: int = 0
    instruction: str | None = None

    def reset(self) -> None:
        self.cell.reset(self.task, self.seed, self.instruction)

    def observe(self) -> Observation:
        """All cameras and joints now."""
        frames = tuple(self.cell.latest(name) for name in self.cell.cameras())
        joints = self.cell.state()
        return Observation(frames, joints, self.cell.rig.content_hash, self.cell.instruction)

    def imagine(self) -> Rollout:
        """Text-only imagination, seeded by the scene."""
        source, *targets = CAMERAS
        return self.planner.imagine(self.observe(), source, targets, self.seed, _quiet)

    def truth(self, expert: ActionTrajectory) -> Rollout:
        """The expert's own future, filmed, in place of the imagined one."""
        joints = self.cell.state()
        frames = self.cell.run_actions(expert, FRAME_TIMES_S)
        views = [
            [next(f for f in row if f.camera == name) for row in frames] for name in CAMERAS
        ]
        rollout = self.planner.adopt(views, joints, self.cell.instruction)
        self.reset()
        return rollout

    def infer(self, rollout: Rollout, initialisation: str, steps: int) -> InferredPlan:
        return self.planner.infer_actions(rollout.rollout_id, initialisation, steps, _quiet)

    def execute(self, actions: ActionTrajectory, expert: ActionTrajectory) -> Trial:
        """Carry actions out from the start of the scene and judge on simulator state."""
        self.reset()
        goal = self.arm.base_from_tip(expert.positions[-1])[:3, 3]
        aimed = self.arm.base_from_tip(actions.positions[-1])[:3, 3]
        error_mm = float(np.linalg.norm(goal - aimed) * 1000)
        try:
            execute_in_process(self.cell, actions, self.arm, SimClock(self.cell))
        except MvistaError as error:
            sys.stderr.write(f"seed {self.seed}: refused: {error}\n")
            return Trial(False, False, True, error_mm)
        result = self.cell.evaluate()
        right = self.task == "touch_cube" and self.cell.approached_object().startswith(
            self.cell.instruction.split()[2]
        )
        return Trial(result.success, right, False, error_mm)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=sorted(tasks.TEMPLATES), default="touch_cube")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=10_000, help="first held-out seed")
    parser.add_argument("--checkpoint", type=Path, default=paths.checkpoint_dir())
    parser.add_argument("--rows", default="all", help="comma-separated row names, or 'all'")
    parser.add_argument("--pairs", action="store_true", help="same scene, another colour word")
    parser.add_argument("--json", type=Path, help="write the table here")


def run(args: argparse.Namespace) -> int:
    rig = load_rig(paths.config_file("rigs", "sim_cell.yaml"))
    arm = load_arm(paths.config_file("arms", "piper.yaml"))
    cell = SimCell(arm, rig)
    planner = load_planner(args.checkpoint, rig, arm, SimClock(cell))
    bench = Bench(cell, planner, arm, args.task)
    rows = _pairs(bench, args) if args.pairs else _table(bench, args)
    cell.close()
    for row in rows:
        sys.stdout.write(_line(row) + "\n")
    if args.json is not None:
        document = {
            "task": args.task,
            "first_seed": args.seed,
            "weights_sha256": planner.weights_sha256,
            "pairs": args.pairs,
            "rows": [asdict(row) for row in rows],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0


Plan = Callable[[Bench, Rollout, Rollout, ActionTrajectory], ActionTrajectory]


def _random_latent(
    bench: Bench, imagined: Rollout, true: Rollout, expert: ActionTrajectory
) -> ActionTrajectory:
    return bench.infer(imagined, "random", 0).prior


ROWS: dict[str, Plan] = {
    "full (+ActionInit, refined)": lambda b, i, t, e: b.infer(i, "head", HEAD_STEPS).refined,
    "+ActionInit, no refinement": lambda b, i, t, e: b.infer(i, "head", HEAD_STEPS).prior,
    "head alone, refined": lambda b, i, t, e: b.infer(i, "head", 0).refined,
    "head alone": lambda b, i, t, e: b.infer(i, "head", 0).prior,
    "100 steps from random, refined": lambda b, i, t, e: b.infer(i, "random", RANDOM_STEPS).refined,
    "100 steps from random": lambda b, i, t, e: b.infer(i, "random", RANDOM_STEPS).prior,
    "random latent, refined": lambda b, i, t, e: b.infer(i, "random", 0).refined,
    "random latent": _random_latent,
    "true-rollout, +ActionInit, refined": lambda b, i, t, e: b.infer(t, "head", HEAD_STEPS).refined,
    "true-rollout, +ActionInit": lambda b, i, t, e: b.infer(t, "head", HEAD_STEPS).prior,
    "true-rollout, head alone": lambda b, i, t, e: b.infer(t, "head", 0).prior,
    "true-latent": lambda b, i, t, e: b.planner.reconstruct(e),
    "true-actions": lambda b, i, t, e: e,
}


def _table(bench: Bench, args: argparse.Namespace) -> list[Row]:
    names = list(ROWS) if args.rows == "all" else args.rows.split(";")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ConfigError(f"no row {unknown}; there are {list(ROWS)} (separate with ';')")
    trials: dict[str, list[Trial]] = {name: [] for name in names}
    for seed in range(args.seed, args.seed + args.episodes):
        bench.seed = seed
        bench.reset()
        expert = bench.cell.expert()
        imagined = bench.imagine()
        needs_truth = any(name.startswith("true-rollout") for name in names)
        true = bench.truth(expert) if needs_truth else imagined
        for name in names:
            actions = ROWS[name](bench, imagined, true, expert)
            trials[name].append(bench.execute(actions, expert))
        done = seed - args.seed + 1
        counts = ", ".join(f"{sum(t.success for t in trials[n])}" for n in names)
        sys.stdout.write(f"{bench.task}: {done}/{args.episodes}: {counts}\n")
        sys.stdout.flush()
    return [_row(name, trials[name], bench.task) for name in names]


def _pairs(bench: Bench, args: argparse.Namespace) -> list[Row]:
    """The same scene asked for two colours: does the hand go to the named cube?"""
    if args.task != "touch_cube":
        raise ConfigError(f"pairs are for touch_cube, not {args.task}")
    trials: list[Trial] = []
    colors = list(tasks.COLORS)
    for seed in range(args.seed, args.seed + args.episodes):
        bench.seed = seed
        picks = np.random.default_rng(seed).permutation(colors)[:2]
        for color in picks:
            bench.instruction = f"touch the {color} cube"
            bench.reset()
            expert = bench.cell.expert()
            plan = bench.infer(bench.imagine(), "head", HEAD_STEPS)
            trials.append(bench.execute(plan.refined, expert))
        sys.stdout.write(f"pairs {seed - args.seed + 1}: {sum(t.right_object for t in trials)}\n")
        sys.stdout.flush()
    both = [a.right_object and b.right_object for a, b in zip(trials[::2], trials[1::2], strict=True)]
    joined = [
        Trial(a.success and b.success, r, a.refused or b.refused, (a.tip_error_mm + b.tip_error_mm) / 2)
        for a, b, r in zip(trials[::2], trials[1::2], both, strict=True)
    ]
    return [_row("each word", trials, args.task), _row("both words of a pair", joined, args.task)]


def _row(name: str, trials: Sequence[Trial], task: str) -> Row:
    successes = sum(t.success for t in trials)
    low, high = wilson(successes, len(trials))
    right = sum(t.right_object for t in trials) if task == "touch_cube" else None
    median = float(np.median([t.tip_error_mm for t in trials]))
    refused = sum(t.refused for t in trials)
    return Row(name, len(trials), successes, right, refused, low, high, median)


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    if count == 0:
        return 0.0, 1.0
    p = successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _line(row: Row) -> str:
    right = "" if row.right_object is None else f"  right object {row.right_object / row.episodes:4.0%}"
    return (
        f"{row.name:38s} {row.successes:3d}/{row.episodes} = {row.successes / row.episodes:4.0%} "
        f"[{row.low:.0%}, {row.high:.0%}]{right}  refused {row.refused}  "
        f"tip {row.tip_error_mm:.0f} mm"
    )


def _quiet(stage: str, fraction: float) -> bool:
    return True
