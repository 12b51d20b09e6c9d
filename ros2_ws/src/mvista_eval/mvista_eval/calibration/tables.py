"""Calibration against truth over many simulated sessions: which ones, and what is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mvista_calibration.judge.gate import JOINT_TENSION, PLANE, PULL, TENSION
from mvista_calibration.pipeline import METHODS
from mvista_core.errors import ConfigError
from mvista_eval.calibration.trials import RENDERED_PX, Outcome, jobs, study
from mvista_eval.figures import Figure, Measured
from mvista_eval.statistics import rms
from mvista_eval.trials import ALONE, Repeating, run_study

FIRST_SEED = {"extrinsics": 0, "base": 0, "gate": 5000, "rendered": 802, "time": 0}
SEEDS_OF_LIMITS = (
    "0 to 99 and 1000 to 1099, 60 pushes and 100 right ones from 20000, 12 right ones within "
    "30000 to 30029, and 13 pushes and turns within 31000 to 31019"
)
"""Sessions that the gate's limits were set by; the gate's first seed lies beside them."""
SESSIONS = {"extrinsics": 20, "base": 20, "gate": 200, "rendered": 10, "time": 2}
NAMES = {
    "one_pose": "one pose",
    "one_pose_icp": "one pose + sequential ICP (the paper)",
    "bundle": "bundle adjustment",
    "bundle_icp": "bundle adjustment + sequential ICP",
    "ours": "ours",
}


def measure(
    part: str,
    sessions: int | None = None,
    first_seed: int | None = None,
    how: Repeating = ALONE,
) -> Measured:
    """One part, with its own number of sessions and first seed where none is given.

    Raises:
        ConfigError: fewer than two sessions; see `run_study`.
    """
    if sessions is not None and sessions < 2:
        raise ConfigError(f"{sessions} sessions; allowed: at least 2")
    count = SESSIONS[part] if sessions is None else sessions
    first = FIRST_SEED[part] if first_seed is None else first_seed
    outcomes = run_study(study(part), jobs(part, count, first), how)
    words, figures = REPORTS[part](outcomes)
    document = {part: [dataclasses.asdict(outcome) for outcome in outcomes]}
    return Measured(f"calibration, {part}", words, document, figures)


def together(parts: Sequence[Measured]) -> Measured:
    """Several parts as one bench."""
    return Measured(
        "calibration of simulated sessions",
        "\n\n".join(part.words for part in parts) + "\n",
        {name: rows for part in parts for name, rows in part.document.items()},
        [figure for part in parts for figure in part.figures],
    )


def _extrinsics(outcomes: Sequence[Outcome]) -> tuple[str, list[Figure]]:
    lines = [
        "## Extrinsics",
        "4K board images, 0.3 px corner noise, factory intrinsics (0.1 %, 2 px), A4 board in 15 "
        "poses; error of the other cameras' points over 0.6 x 0.6 x 0.3 m, mm. Biased: ToF "
        "offset 5 mm sd and scale 0.2 % sd per unit. Fused: distance between two cameras' "
        "positions of one point.",
    ]
    figures = []
    for kind in ("biased", "unbiased"):
        chosen = [o for o in outcomes if o.kind == kind]
        lines += ["", f"### {kind}, {len({o.seed for o in chosen})} sessions", ""]
        lines += ["| way | RMS | p90 | worst | fused |", "|---|---|---|---|---|"]
        for method in METHODS[1:] + METHODS[:1]:
            rows = [o for o in chosen if o.method == method]
            errors, p90 = [o.rms_mm for o in rows], [o.p90_mm for o in rows]
            lines.append(
                f"| {NAMES[method]} | {rms(errors):.2f} | {np.mean(p90):.2f} | "
                f"{max(errors):.2f} | {rms([o.fused_mm for o in rows]):.2f} |"
            )
        ours = [o for o in chosen if o.method == "ours"]
        paper = [o for o in chosen if o.method == "one_pose_icp"]
        figures.append(
            Figure(
                f"ours, {kind}: RMS (mm)",
                rms([o.rms_mm for o in ours]),
                2.5 if kind == "biased" else 2.2,
            )
        )
        if kind == "biased":
            worse = max(o.rms_mm - o.coarse_mm for o in ours)
            ratio = rms([o.fused_mm for o in ours]) / rms([o.fused_mm for o in paper])
            figures += [
                Figure("ours over its own coarse stage, worst (mm)", worse, 0.0),
                Figure("fused disagreement, ours over the paper's", ratio, 0.5),
            ]
        refined = sum(o.refined for o in ours)
        lines.append(f"\nRefinement was accepted in {refined} of {len(ours)} sessions.")
    return "\n".join(lines), figures


def _base(outcomes: Sequence[Outcome]) -> tuple[str, list[Figure]]:
    errors = [o.base_mm for o in outcomes]
    text = (
        "## Robot base\n"
        "15 gripper poses, arm error 1 mm and 0.1 degrees: base_from_camera over the workspace and "
        f"all cameras: RMS {rms(errors):.2f} mm, worst session {max(errors):.2f} mm "
        f"({len(errors)} sessions)."
    )
    return text, [Figure("base_from_camera, RMS (mm)", rms(errors), 3.0)]


def _gate(outcomes: Sequence[Outcome]) -> tuple[str, list[Figure]]:
    lines = [
        "## Gate",
        f"Seeds from {min(o.seed for o in outcomes)}; the limits were set while looking at seeds "
        f"{SEEDS_OF_LIMITS}.",
        "",
        "| session | n | passed | failed checks |",
        "|---|---|---|---|",
    ]
    for kind in dict.fromkeys(o.kind for o in outcomes):
        rows = [o for o in outcomes if o.kind == kind]
        names = [name for o in rows for name in o.failed_checks]
        said = ", ".join(f"{n} {names.count(n)}" for n in sorted(set(names), key=names.count)[::-1])
        lines.append(f"| {kind} | {len(rows)} | {sum(o.passed for o in rows)} | {said} |")
    right = [o for o in outcomes if o.kind == "right"]
    wrong = [o for o in outcomes if o.kind != "right"]
    inside = float(np.nanmean([o.inside for o in right]))
    lines.append(
        f"\nSigma: the true error lies within two reported sigmas at {inside:.1%} of the "
        f"workspace's corners ({len(right)} right sessions, 3 cameras, 8 corners). Right ones: "
        f"RMS {rms([o.rms_mm for o in right if np.isfinite(o.rms_mm)]):.2f} mm."
    )
    missed = [f"- passed, seed {o.seed}, {o.kind}: {o.detail}" for o in wrong if o.passed]
    refused = [
        f"- refused, seed {o.seed}: {', '.join(o.failed_checks)}" for o in right if not o.passed
    ]
    lines += missed + refused
    return "\n".join(lines), [
        Figure("wrong sessions that passed", float(np.mean([o.passed for o in wrong])), 0.02),
        Figure("right sessions refused", float(np.mean([not o.passed for o in right])), 0.05),
        Figure("corners outside two sigmas", 1.0 - inside, 0.1),
    ]


def _rendered(outcomes: Sequence[Outcome]) -> tuple[str, list[Figure]]:
    errors = [o.rms_mm for o in outcomes]
    refused = [f"- refused, seed {o.seed}: {o.words}" for o in outcomes if not o.passed]
    largest = {
        name: max(dict(o.values).get(name, np.nan) for o in outcomes)
        for name in (JOINT_TENSION.name, TENSION.name, PULL.name, PLANE.name)
    }
    near = ", ".join(f"{name} {value:.3g}" for name, value in largest.items())
    text = "\n".join(
        [
            "## Rendered sessions",
            f"Drawn images of {RENDERED_PX} px read from the disk (`mvista calibrate simulate`), "
            f"seeds from {min(o.seed for o in outcomes)}: "
            f"{sum(o.passed for o in outcomes)} of {len(outcomes)} passed, "
            f"RMS {rms(errors):.2f} mm, worst {max(errors):.2f} mm. Largest values: {near}.",
            *refused,
        ]
    )
    share = float(np.mean([not o.passed for o in outcomes]))
    return text, [Figure("right rendered sessions refused", share, 0.05)]


def _time(outcomes: Sequence[Outcome]) -> tuple[str, list[Figure]]:
    seconds = [o.seconds for o in outcomes]
    text = (
        "## Time\n"
        f"Four cameras, 15 poses of a 14x9 board, depth 1280x720, all stages after detection: "
        f"{max(seconds):.1f} s (the slower of {len(seconds)}), one process of one thread."
    )
    return text, [Figure("solve (s)", max(seconds), 60.0)]


REPORTS: dict[str, Callable[[Sequence[Outcome]], tuple[str, list[Figure]]]] = {
    "extrinsics": _extrinsics,
    "base": _base,
    "gate": _gate,
    "rendered": _rendered,
    "time": _time,
}
HEAD = (
    "# Calibration against truth\n"
    "Written by `mvista bench calibration --results calibration/RESULTS.md`: sessions simulated\n"
    "by `mvista_calibration_sim.sessions`, geometry and errors as in its docstrings. Real\n"
    "units have errors that it lacks (multipath): expect less gain there.\n\n"
)
