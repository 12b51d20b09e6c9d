"""`mvista eval experts`: how often the scripted experts succeed, in process, on held-out seeds.

The experts make the training data and are the ceiling of every success rate of the pipeline.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mvista_bringup import paths
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, MvistaError
from mvista_core.rig import load_rig
from mvista_eval.statistics import wilson
from mvista_sim.cell import SimCell
from mvista_sim.tasks import TEMPLATES

PROGRESS_EPISODES = 20


@dataclass(frozen=True)
class Failure:
    """A scene the expert did not solve, and what the cell or the expert said."""

    seed: int
    detail: str


@dataclass(frozen=True)
class ExpertRate:
    """One task's result; `low` and `high` bound the rate at 95 % (Wilson)."""

    task: str
    episodes: int
    successes: int
    low: float
    high: float
    failures: tuple[Failure, ...]


def run(args: argparse.Namespace) -> int:
    if args.episodes < 1 or args.seed < 0:
        raise ConfigError(
            f"--episodes {args.episodes} --seed {args.seed}: at least 1 episode, seeds from 0"
        )
    rig = load_rig(paths.config_file("rigs", "sim_cell.yaml"))
    cell = SimCell(load_arm(paths.config_file("arms", "piper.yaml")), rig)
    names = [args.task] if args.task else list(TEMPLATES)
    rates = [measure(cell, task, range(args.seed, args.seed + args.episodes)) for task in names]
    cell.close()
    for rate in rates:
        sys.stdout.write(_line(rate) + "\n")
    if args.json is not None:
        document = {
            "first_seed": args.seed,
            "rig_hash": rig.content_hash,
            "tasks": [asdict(rate) for rate in rates],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(cell: SimCell, task: str, seeds: Sequence[int]) -> ExpertRate:
    """Let the expert act in every scene; a plan that cannot be made is a failure too."""
    failures: list[Failure] = []
    for done, seed in enumerate(seeds, start=1):
        detail = _failure(cell, task, seed)
        if detail is not None:
            failures.append(Failure(seed, detail))
        if done % PROGRESS_EPISODES == 0 or done == len(seeds):
            sys.stdout.write(f"{task}: {done - len(failures)}/{done} of {len(seeds)}\n")
            sys.stdout.flush()
    successes = len(seeds) - len(failures)
    low, high = wilson(successes, len(seeds))
    return ExpertRate(task, len(seeds), successes, low, high, tuple(failures))


def _failure(cell: SimCell, task: str, seed: int) -> str | None:
    """What went wrong in one scene, or None."""
    cell.reset(task, seed)
    try:
        cell.run_actions(cell.expert())
    except MvistaError as error:
        return str(error)
    result = cell.evaluate()
    return None if result.success else result.detail


def _line(rate: ExpertRate) -> str:
    text = (
        f"{rate.task:12s} {rate.successes:4d}/{rate.episodes} = "
        f"{rate.successes / rate.episodes:6.1%} [{rate.low:.1%}, {rate.high:.1%}]"
    )
    return text + "".join(f"\n  seed {f.seed}: {f.detail}" for f in rate.failures)
