"""`mvista bench drift`: does the drift watch notice a moved camera, and stay quiet otherwise."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from mvista_bringup.paths import output_dir
from mvista_core.errors import ConfigError
from mvista_eval.drift.trials import MOVED_S, Detection, Trial
from mvista_eval.drift.trials import run as run_trial
from mvista_eval.figures import Figure, finish

QUIET_PARTS = 4
QUIET_SEED = 100


def run(args: argparse.Namespace) -> int:
    if args.seconds < 200 or args.seeds < 1 or args.workers < 1:
        raise ConfigError("allowed: at least 200 seconds, 1 seed and 1 worker")
    trials = [Trial("moved", seed) for seed in range(args.seeds)]
    trials += [Trial("zeros", 50)]
    part_s = args.seconds // QUIET_PARTS
    trials += [Trial("quiet", QUIET_SEED + part, part_s) for part in range(QUIET_PARTS)]
    found = _work(trials, args.workers, args.fresh)
    moved = [d for d in found if d.kind == "moved"]
    zeros = [d for d in found if d.kind == "zeros"]
    quiet = [d for d in found if d.kind == "quiet"]
    sys.stdout.write(_table(moved, zeros, quiet) + "\n")
    delays = [d.delay_s if d.delay_s is not None else np.inf for d in moved]
    figures = [
        Figure("moved cameras: slowest warning (s of frames)", float(max(delays)), float(MOVED_S)),
        Figure("moved cameras: not noticed", float(np.isinf(delays).sum()), 0.0),
        Figure("moved cameras: another thing accused too", float(_accused(moved)), 0.0),
        Figure(
            f"false alarms in {sum(d.frames_s for d in quiet)} s of unmoved frames",
            float(sum(len(d.wrong) for d in quiet)),
            0.0,
        ),
        Figure(
            "joint zeros 2 deg off, joints 1 to 3: not noticed",
            float(sum(d.delay_s is None for d in zeros[:3])),
            0.0,
        ),
    ]
    document = {"detections": [dataclasses.asdict(d) for d in found]}
    return finish("drift watch in the simulated cell", document, figures, args.json)


def _accused(moved: Sequence[Detection]) -> int:
    return sum(bool(d.wrong) for d in moved)


def _table(
    moved: Sequence[Detection], zeros: Sequence[Detection], quiet: Sequence[Detection]
) -> str:
    lines = [
        "| camera | moved | warned after, s | found | other warnings |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {d.subject} | {d.what} | {_seconds(d)} | {_size(d)} | {'; '.join(d.wrong) or '-'} |"
        for d in moved
    ]
    lines += ["", "| joint | zero off | warned after, s | found |", "|---|---|---|---|"]
    lines += [
        f"| {d.subject} | {d.what} | {_seconds(d)} | {np.rad2deg(d.estimate):.2f} deg |"
        for d in sorted(zeros, key=lambda d: d.subject)
    ]
    lines += ["", "| unmoved, s | largest motion seen, mm | warnings |", "|---|---|---|"]
    lines += [
        f"| {d.frames_s} | {d.estimate * 1e3:.2f} | {'; '.join(d.wrong) or 'none'} |" for d in quiet
    ]
    return "\n".join(lines)


def _seconds(detection: Detection) -> str:
    return "not noticed" if detection.delay_s is None else str(detection.delay_s)


def _size(detection: Detection) -> str:
    if "deg" in detection.what:
        return f"{np.rad2deg(detection.estimate):.2f} deg"
    return f"{detection.estimate * 1e3:.1f} mm"


def _work(trials: Sequence[Trial], workers: int, fresh: bool) -> list[Detection]:
    """Detections of all trials, those that an earlier run left included."""
    log = output_dir("bench", "drift") / "trials.jsonl"
    if fresh:
        log.unlink(missing_ok=True)
    done: dict[Trial, list[Detection]] = {}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done[Trial(**row["trial"])] = [
                Detection(**{**d, "wrong": tuple(d["wrong"])}) for d in row["found"]
            ]
    missing = [trial for trial in trials if trial not in done]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if missing:
        # GL contexts do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(workers, len(missing))) as pool, log.open("a") as file:
            for trial, found in zip(
                tqdm(missing, "trials", file=sys.stderr), pool.imap(run_trial, missing), strict=True
            ):
                done[trial] = found
                row = {
                    "trial": dataclasses.asdict(trial),
                    "found": [dataclasses.asdict(d) for d in found],
                }
                file.write(json.dumps(row) + "\n")
                file.flush()
    return [detection for trial in trials for detection in done[trial]]
