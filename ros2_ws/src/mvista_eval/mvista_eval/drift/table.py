"""Does the drift watch notice a moved camera, and stay quiet otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mvista_core.errors import ConfigError
from mvista_eval.drift import PARTS
from mvista_eval.drift.trials import MOVED_S, DriftDetection, DriftTrial, study
from mvista_eval.figures import Figure, Measured
from mvista_eval.trials import ALONE, Repeating, run_study

QUIET_SCENES, LEAST_QUIET_S = 4, 50
"""Unmoved frames are of so many scenes; of each more than the watch takes to learn."""
QUIET_SEED = 100


def measure(
    seconds: int,
    seeds: int,
    how: Repeating = ALONE,
    parts: Sequence[str] = PARTS,
) -> Measured:
    """`seconds` of unmoved frames in up to four scenes, and cameras moved in `seeds` scenes.

    Raises:
        ConfigError: fewer than 50 seconds or one seed; see `run_study`.
    """
    if seconds < LEAST_QUIET_S or seeds < 1:
        raise ConfigError(
            f"{seconds} seconds and {seeds} seeds; allowed: at least {LEAST_QUIET_S} seconds and "
            "1 seed"
        )
    scenes = min(QUIET_SCENES, seconds // LEAST_QUIET_S)
    trials = {
        "moved": [DriftTrial("moved", seed) for seed in range(seeds)],
        "zeros": [DriftTrial("zeros", 50)],
        "quiet": [
            DriftTrial("quiet", QUIET_SEED + scene, seconds // scenes) for scene in range(scenes)
        ],
    }
    found = run_study(study(), [t for part in parts for t in trials[part]], how)
    moved = [d for d in found if d.kind == "moved"]
    zeros = [d for d in found if d.kind == "zeros"]
    quiet = [d for d in found if d.kind == "quiet"]
    figures = {
        "moved": _of_moved(moved),
        "zeros": [
            Figure(
                "joint zeros 2 deg off, joints 1 to 3: not noticed",
                float(sum(d.delay_s is None for d in zeros[:3])),
                0.0,
            )
        ],
        "quiet": [
            Figure(
                f"false alarms in {sum(d.frames_s for d in quiet)} s of unmoved frames",
                float(sum(len(d.wrong) for d in quiet)),
                0.0,
            )
        ],
    }
    document = {"detections": [dataclasses.asdict(d) for d in found]}
    words = _table(moved, zeros, quiet)
    asked = [figure for part in parts for figure in figures[part]]
    return Measured("drift watch in the simulated cell", words, document, asked)


def _of_moved(moved: Sequence[DriftDetection]) -> list[Figure]:
    delays = [d.delay_s if d.delay_s is not None else np.inf for d in moved]
    slowest_s, accused = max(delays, default=0.0), sum(bool(d.wrong) for d in moved)
    return [
        Figure("moved cameras: slowest warning (s of frames)", float(slowest_s), float(MOVED_S)),
        Figure("moved cameras: not noticed", float(np.isinf(delays).sum()), 0.0),
        Figure("moved cameras: another thing accused too", float(accused), 0.0),
    ]


def _table(
    moved: Sequence[DriftDetection],
    zeros: Sequence[DriftDetection],
    quiet: Sequence[DriftDetection],
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


def _seconds(detection: DriftDetection) -> str:
    return "not noticed" if detection.delay_s is None else str(detection.delay_s)


def _size(detection: DriftDetection) -> str:
    if "deg" in detection.what:
        return f"{np.rad2deg(detection.estimate):.2f} deg"
    return f"{detection.estimate * 1e3:.1f} mm"
