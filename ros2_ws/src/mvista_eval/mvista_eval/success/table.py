"""`mvista eval success`: success rates of the whole pipeline in process, and what limits them."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_core.machine import describe
from mvista_eval.statistics import wilson
from mvista_eval.success.trials import WAYS, Job, Trial, pair_jobs, run_jobs


@dataclass(frozen=True)
class Row:
    """One line of the table; `low` and `high` are Wilson's 95 % interval of the success rate."""

    name: str
    episodes: int
    successes: int
    low: float
    high: float
    right_object: int | None
    refused: int
    median_tip_error_mm: float

    def __str__(self) -> str:
        right = "" if self.right_object is None else f"  right object {self.right_object:3d}"
        return (
            f"{self.name:36s} {self.successes:3d}/{self.episodes} "
            f"= {self.successes / self.episodes:4.0%} [{self.low:.0%}, {self.high:.0%}]{right}"
            f"  refused {self.refused}  tip error {self.median_tip_error_mm:.0f} mm"
        )


def run(args: argparse.Namespace) -> int:
    sha = weights.verify(args.checkpoint)
    jobs = _jobs(args)
    trials = run_jobs(jobs, args.workers)
    rows = _pair_rows(trials) if args.pairs else _rows(trials, args.task)
    sys.stdout.write("\n".join(str(row) for row in rows) + "\n")
    if args.json is not None:
        _write(args, sha, rows)
    return 0


def _jobs(args: argparse.Namespace) -> list[Job]:
    if args.pairs:
        if args.task != "touch_cube":
            raise ConfigError(f"--pairs is for touch_cube, whose scenes name four; not {args.task}")
        return pair_jobs(args.seed, args.episodes, args.checkpoint)
    named = {"all": tuple(WAYS), "full": tuple(WAYS)[:1]}
    ways = named.get(args.rows, tuple(args.rows.split(";")))
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise ConfigError(f"no rows {unknown}; there are {list(WAYS)}")
    seeds = range(args.seed, args.seed + args.episodes)
    return [Job(args.task, seed, args.checkpoint, ways) for seed in seeds]


def _rows(trials: Sequence[Trial], task: str) -> list[Row]:
    ways = dict.fromkeys(trial.way for trial in trials)
    named = task == "touch_cube"
    return [_row(way, [t for t in trials if t.way == way], named) for way in ways]


def _pair_rows(trials: Sequence[Trial]) -> list[Row]:
    """Per word, and per pair: a pair counts when both words were followed."""
    pairs = list(zip(trials[::2], trials[1::2], strict=True))
    joined = [
        Trial(
            a.way,
            a.seed,
            f"{a.instruction} / {b.instruction}",
            a.success and b.success,
            a.right_object and b.right_object,
            a.refused or b.refused,
            max(a.tip_error_mm, b.tip_error_mm),
        )
        for a, b in pairs
    ]
    return [_row("each word", trials, True), _row("both words of a pair", joined, True)]


def _row(name: str, trials: Sequence[Trial], named: bool) -> Row:
    successes = sum(t.success for t in trials)
    low, high = wilson(successes, len(trials))
    return Row(
        name,
        len(trials),
        successes,
        low,
        high,
        sum(t.right_object for t in trials) if named else None,
        sum(t.refused for t in trials),
        float(np.median([t.tip_error_mm for t in trials])),
    )


def _write(args: argparse.Namespace, sha: str, rows: Sequence[Row]) -> None:
    document = {
        "task": args.task,
        "pairs": args.pairs,
        "first_seed": args.seed,
        "episodes": args.episodes,
        "weights_sha256": sha,
        "machine": describe(),
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
