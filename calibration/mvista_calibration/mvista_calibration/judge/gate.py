"""The gate: what a calibration must show before anyone may use it, each limit with its reason.

Low residuals are no proof: ICP repeats to a millimetre and is wrong by tens. So the checks compare
what was measured independently: views against each other, board against depth, board against arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvista_calibration.board.pose import view_pose
from mvista_calibration.records import (
    CoarseResult,
    DepthBias,
    GateCheck,
    HandEyeResult,
    RefineResult,
    Session,
    SessionCamera,
    Verdict,
)
from mvista_calibration.solve.bundle import lens_prior, reported_lenses
from mvista_calibration.solve.depth_bias import LARGEST_OFFSET_M
from mvista_core.records import Float64

REFUSE, WARN = "refuse", "warn"


@dataclass(frozen=True)
class Limit:
    """One row of the gate. `least` turns "at most" into "at least"."""

    name: str
    value: float
    unit: str
    level: str
    reason: str
    least: bool = False

    def check(self, value: float, subject: str = "") -> GateCheck:
        """The check of a measured value; NaN fails."""
        passed = bool(value >= self.value if self.least else value <= self.value)
        return GateCheck(
            self.name, float(value), self.value, self.unit, passed, self.level, self.reason, subject
        )


VIEWS = Limit("usable views of a camera", 5, "", REFUSE, "one bad view must not decide", True)
SHARED = Limit(
    "shots that cameras share", 5, "", REFUSE, "cameras are tied together by nothing else", True
)
LEFT_OUT = Limit(
    "views left out", 0.15, "of all", REFUSE,
    "views that do not fit are a symptom: another board, a mirrored image, a moving board",
)  # fmt: skip
JOINT_RMS = Limit(
    "corners, all views jointly",
    0.6,
    "px",
    WARN,
    "real 4K frames reach 0.5 px; twice that is a lens that does not fit or a board that bends",
)
CONSISTENCY = Limit(
    "corners jointly over each view by itself", 1.25, "times", REFUSE,
    "a still board seen by cameras that expose together is explained by one pose as by many",
)  # fmt: skip
BLUR = Limit("edge width", 5.0, "px", REFUSE, "a focused lens draws an edge in 2 to 3 px")
OFFSET = Limit(
    "depth offset", 0.999 * LARGEST_OFFSET_M * 1e3, "mm", REFUSE,
    "real units are off by 5 to 15 mm; more is another board or another camera",
)  # fmt: skip
PLANE = Limit(
    "depth on the board after correction", 3.0, "mm", REFUSE,
    "a flat board read through one offset is flat to a millimetre or two; more is depth of another "
    "thing, or not registered to colour",
)  # fmt: skip
TENSION = Limit(
    "depth against board", 9.0, "sigma", REFUSE,
    "a camera moved between the two, or images belong to other cameras; good sets show up to 6 "
    "and, one in a hundred, 8.6",
)  # fmt: skip
JOINT_TENSION = Limit(
    "depth against board, all cameras at once", 12.0, "sigma", REFUSE,
    "as above; of 210 good sets one shows 10.5 and one 20, cameras pushed by 7 mm 16 and more",
)  # fmt: skip
LENS = Limit(
    "lens against the reported one", 5.0, "sigma", REFUSE,
    "factories are off by 0.1 % and 2 px at 3840; more is another stream's or another unit's lens",
)  # fmt: skip
PULL = Limit(
    "clouds of a pair would agree better without the board", 2.8, "times", REFUSE,
    "good sets show 1.2 and, one in 200, 4.0; a camera pushed by 5 mm 3.3",
)  # fmt: skip
HELD_OUT = Limit(
    "disagreement of clouds, held out", 3.0, "mm", REFUSE,
    "corrected depth of one surface agrees to a millimetre where the rig is right",
)  # fmt: skip
SCALE = Limit(
    "board size by the arm", 0.5, "%", REFUSE,
    "15 poses measure it to 0.15 %; a printer that scales is off by 1 % and more",
)  # fmt: skip
SOLVERS = Limit(
    "robot: disagreement of solvers", 10.0, "mm", REFUSE, "good sets 0.6 mm, bad ones above 60"
)
ARM_M = Limit(
    "robot: arm against cameras",
    6.0,
    "mm",
    REFUSE,
    "a Piper repeats to 1 mm; good sets show 2 to 5",
)
ARM_RAD = Limit(
    "robot: arm against cameras, turned", 0.7, "deg", REFUSE, "good sets show 0.1 to 0.6 degrees"
)
SIGMA = Limit(
    "sigma at the workspace's corners", 5.0, "mm", REFUSE,
    "at 320x180 a pixel at 1 m is 5 mm: beyond that fused views double",
)  # fmt: skip
WARM = Limit(
    "minutes since power-on", 40.0, "min", WARN, "depth drifts until 40 to 50 minutes", True
)


def judge(
    session: Session,
    coarse: CoarseResult,
    bias: Sequence[DepthBias],
    refined: RefineResult | None,
    hand_eye: HandEyeResult | None,
    corner_sd_m: Float64,
    problems: Sequence[tuple[str, str]] = (),
    reported: Sequence[SessionCamera] = (),
) -> Verdict:
    """All checks that the session allows.

    `problems` are stages that could not answer; `reported` are the cameras with the lenses that
    the session came with, where those of `session` have been estimated anew.
    """
    checks = [
        GateCheck(f"stage '{stage}'", np.nan, np.nan, "", False, REFUSE, why)
        for stage, why in problems
    ]
    checks += _of_views(session, coarse)
    checks += _of_lenses(session, reported)
    checks += _of_depth(bias, refined)
    checks += _of_robot(hand_eye)
    worst = np.unravel_index(np.nanargmax(corner_sd_m), corner_sd_m.shape)
    checks.append(SIGMA.check(corner_sd_m[worst] * 1e3, session.names[int(worst[0])]))
    checks.append(WARM.check(session.warm_up_minutes))
    failed = [check for check in checks if not check.passed and check.level == REFUSE]
    return Verdict(tuple(checks), not failed, _words(checks, failed, refined))


def _of_views(session: Session, coarse: CoarseResult) -> list[GateCheck]:
    counts = {name: sum(v.camera == name for v in coarse.views) for name in session.names}
    fewest = min(counts, key=lambda name: counts[name])
    shared = {
        name: len(
            {
                a.shot
                for a in coarse.views
                for b in coarse.views
                if a.camera == name and b.shot == a.shot and b.camera != name
            }
        )
        for name in session.names
    }
    loneliest = min(shared, key=lambda name: shared[name])
    total = len(coarse.views) + len(coarse.rejected)
    alone = np.array(
        [view_pose(view, session.camera(view.camera), session.board)[1] for view in coarse.views]
    )
    jointly = np.array([np.sqrt((r**2).sum(axis=1).mean()) for r in coarse.residuals_px])
    ratios = {
        name: float(
            np.sqrt((jointly[mine] ** 2).sum() / (np.maximum(alone[mine], 0.05) ** 2).sum())
        )
        for name in session.names
        if (mine := np.array([v.camera == name for v in coarse.views])).any()
    }
    oddest = max(ratios, key=lambda name: ratios[name])
    checks = [
        VIEWS.check(counts[fewest], fewest),
        LEFT_OUT.check(len(coarse.rejected) / total),
        JOINT_RMS.check(coarse.rms_px),
        CONSISTENCY.check(ratios[oddest], oddest),
    ]
    if len(session.names) > 1:
        checks.append(SHARED.check(shared[loneliest], loneliest))
    widths = {
        name: float(np.median([v.blur_px for v in session.views if v.camera == name and v.blur_px]))
        for name in session.names
        if any(v.blur_px for v in session.views if v.camera == name)
    }
    if widths:
        widest = max(widths, key=lambda name: widths[name])
        checks.append(BLUR.check(widths[widest], widest))
    return checks


def _of_lenses(session: Session, reported: Sequence[SessionCamera]) -> list[GateCheck]:
    """The estimated lens farthest from its reported one, in sigmas of what those are trusted to."""
    if not reported:
        return []
    away = reported_lenses(session.cameras) - reported_lenses(reported)
    sigmas = [
        float(np.sqrt(step @ np.linalg.solve(lens_prior(camera), step)))
        for step, camera in zip(away, reported, strict=True)
    ]
    worst = int(np.argmax(sigmas))
    return [LENS.check(sigmas[worst], reported[worst].name)]


def _of_depth(bias: Sequence[DepthBias], refined: RefineResult | None) -> list[GateCheck]:
    checks = []
    if bias:
        largest = max(bias, key=lambda entry: abs(_at_a_metre(entry)))
        roughest = max(bias, key=lambda entry: entry.plane_rms_m)
        checks += [
            OFFSET.check(abs(_at_a_metre(largest)) * 1e3, largest.camera),
            PLANE.check(roughest.plane_rms_m * 1e3, roughest.camera),
        ]
    if refined is not None:
        k = int(np.argmax(refined.mahalanobis))
        kept = refined.held_out_after_m if refined.accepted else refined.held_out_before_m
        checks += [
            TENSION.check(refined.mahalanobis[k], refined.rig.cameras[k + 1]),
            JOINT_TENSION.check(refined.tension),
            PULL.check(refined.pull, refined.pull_pair),
            HELD_OUT.check(kept * 1e3),
        ]
    return checks


def _at_a_metre(bias: DepthBias) -> float:
    # measured = scale x true + offset: the error at one metre.
    return bias.offset_m + (bias.scale - 1.0)


def _of_robot(hand_eye: HandEyeResult | None) -> list[GateCheck]:
    if hand_eye is None:
        return []
    return [
        SCALE.check(abs(hand_eye.board_scale - 1.0) * 100),
        SOLVERS.check(hand_eye.solver_spread_m * 1e3),
        ARM_M.check(hand_eye.residual_m * 1e3),
        ARM_RAD.check(float(np.rad2deg(hand_eye.residual_rad))),
    ]


def _words(
    checks: Sequence[GateCheck], failed: Sequence[GateCheck], refined: RefineResult | None
) -> str:
    stood = f" Depth refinement: {refined.why}." if refined is not None else ""
    if failed:
        return "FAILED: " + "; ".join(_sentence(check) for check in failed) + "." + stood
    warned = [check for check in checks if not check.passed]
    more = f" Mind: {'; '.join(_sentence(check) for check in warned)}." if warned else ""
    return f"Passed {len(checks) - len(warned)} checks.{more}{stood}"


def _sentence(check: GateCheck) -> str:
    where = f" ({check.subject})" if check.subject else ""
    if np.isnan(check.limit):
        return f"{check.name}: {check.reason}"
    side = "at least" if check.value < check.limit else "at most"
    return (
        f"{check.name}{where} is {check.value:.3g} {check.unit}, {side} {check.limit:.3g}: "
        f"{check.reason}"
    )
