"""The stages in order: board, robot, depth bias, depth refinement, uncertainty, gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from mvista_calibration.judge.gate import judge
from mvista_calibration.records import (
    Calibration,
    CoarseResult,
    DepthBias,
    HandEyeResult,
    RefineResult,
    RigEstimate,
    Session,
    Verdict,
)
from mvista_calibration.solve.coarse import solve_bundle, solve_one_pose
from mvista_calibration.solve.depth_bias import estimate_depth_bias
from mvista_calibration.solve.hand_eye import solve_hand_eye
from mvista_calibration.solve.refine import refine
from mvista_calibration.solve.uncertainty import corner_sd, jackknife
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.geometry import invert
from mvista_core.ports import Clock, Progress
from mvista_core.records import Float64
from mvista_core.timing import SystemClock, ns_to_seconds

METHODS = ("ours", "one_pose", "one_pose_icp", "bundle", "bundle_icp")
"""Ours; the paper's coarse stage; the paper; bundle adjustment alone; and with sequential ICP."""

T = TypeVar("T")


def calibrate(
    session: Session,
    method: str = "ours",
    progress: Progress | None = None,
    clock: Clock | None = None,
    keep_lenses: bool = False,
) -> Calibration:
    """Solve a session.

    Lenses are estimated under what their reported values are trusted to; with `keep_lenses` they
    stay as reported, and sigma counts them as uncertain.
    The baselines in `METHODS` take what their stages give and are never judged. A later stage of
    ours that cannot work is a failed check, not an exception: the board's answer is still reported.

    Raises:
        CalibrationError: no such method, or the board stage cannot answer.
        CancelledError: `progress` returned False.
    """
    if method not in METHODS:
        raise CalibrationError(f"no method '{method}'; there are {', '.join(METHODS)}")
    run = _Run(progress or (lambda stage, fraction: True), clock or SystemClock())
    solve = _ours if method == "ours" else partial(_baseline, method)
    calibration = solve(session, run, keep_lenses)
    run.report("done", 1.0)
    return calibration


@dataclass
class _Run:
    """Progress, times and the stages that could not answer."""

    progress: Progress
    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def report(self, stage: str, fraction: float) -> None:
        if not self.progress(stage, fraction):
            raise CancelledError(f"calibration was cancelled before stage '{stage}'")

    def stage(self, name: str, fraction: float, work: Callable[[], T]) -> T:
        """Do `work` and note its time."""
        self.report(name, fraction)
        started_ns = self.clock.monotonic_ns()
        try:
            return work()
        finally:
            self.seconds[name] = ns_to_seconds(self.clock.monotonic_ns() - started_ns)

    def optional(self, name: str, fraction: float, work: Callable[[], T]) -> T | None:
        """As `stage`; None, and a problem for the gate, where it cannot answer."""
        try:
            return self.stage(name, fraction, work)
        except CalibrationError as error:
            self.problems.append((name, str(error)))
            return None


def _ours(session: Session, run: _Run, keep_lenses: bool) -> Calibration:
    solve = partial(solve_bundle, fixed_lenses=keep_lenses)
    coarse = run.stage("board", 0.0, lambda: solve(session))
    # With the lenses as reported: what some shots make of them is part of the spread.
    spread = run.optional("jackknife", 0.25, lambda: jackknife(session, lambda s: solve(s).rig))
    reported, session = session.cameras, _with_lenses(session, coarse)
    hand_eye = None
    if session.gripper:
        hand_eye = run.optional("robot", 0.5, lambda: solve_hand_eye(session, coarse))
    bias = run.optional("depth bias", 0.6, lambda: estimate_depth_bias(session, coarse)) or ()
    refined = _refined(session, coarse, spread, bias, run)
    rig = refined.rig if refined is not None and refined.accepted else coarse.rig
    rig = _widened(rig, spread)
    base = run.optional("base", 0.8, lambda: _base_from_reference(session, coarse, hand_eye))
    sd = corner_sd(rig, base, session.workspace)
    verdict = judge(
        session, coarse, bias, refined, hand_eye, sd, run.problems,
        () if keep_lenses else reported,
    )  # fmt: skip
    return Calibration(
        session.name, session.board, session.cameras, coarse, bias, refined, hand_eye, rig,
        base, sd, verdict, run.seconds,
    )  # fmt: skip


def _refined(
    session: Session,
    coarse: CoarseResult,
    spread: Float64 | None,
    bias: Sequence[DepthBias],
    run: _Run,
) -> RefineResult | None:
    if not session.scene or len(session.cameras) < 2:
        return None
    # Depth is weighed against the board: a board sigma that is too small would never yield.
    widened = replace(coarse, rig=_widened(coarse.rig, spread))
    return run.optional("depth", 0.7, lambda: refine(session, widened, bias))


def _baseline(method: str, session: Session, run: _Run, keep_lenses: bool) -> Calibration:
    solve: Callable[[Session], CoarseResult] = partial(solve_bundle, fixed_lenses=keep_lenses)
    if method.startswith("one_pose"):
        solve = solve_one_pose
    coarse = run.stage("board", 0.0, lambda: solve(session))
    session = _with_lenses(session, coarse)
    bias: tuple[DepthBias, ...] = ()
    refined: RefineResult | None = None
    rig = coarse.rig
    if method.endswith("_icp"):
        refined = run.stage("depth", 0.5, lambda: refine(session, coarse, bias, "sequential"))
        rig = refined.rig
    hand_eye = None
    if session.gripper and not method.startswith("one_pose"):
        hand_eye = run.optional("robot", 0.9, lambda: solve_hand_eye(session, coarse))
    base = run.optional("base", 0.95, lambda: _base_from_reference(session, coarse, hand_eye))
    sd = np.full((len(session.cameras), 8), np.nan)
    said = "".join(f"; stage '{stage}': {why}" for stage, why in run.problems)
    words = f"'{method}' is a baseline for comparison: nothing was checked{said}"
    return Calibration(
        session.name, session.board, session.cameras, coarse, bias, refined, hand_eye, rig, base,
        sd, Verdict((), False, words), run.seconds,
    )  # fmt: skip


def _with_lenses(session: Session, coarse: CoarseResult) -> Session:
    """The session with the lenses that the coarse stage's poses go with."""
    return replace(session, cameras=coarse.cameras) if coarse.cameras else session


def _base_from_reference(
    session: Session, coarse: CoarseResult, hand_eye: HandEyeResult | None
) -> Float64 | None:
    if hand_eye is not None:
        return hand_eye.base_from_reference
    if session.base_from_board is None:
        return None
    # Said of shot 0's board, and no other's: it may be among those left out.
    if 0 not in coarse.shots:
        raise CalibrationError(
            f"session '{session.name}' says where shot 0's board lay (base_from_board), and of "
            f"shot 0 no view was used, only of shots {list(coarse.shots)}; record again with that "
            "board well in view, or leave the key out"
        )
    board = coarse.reference_from_board[coarse.shots.index(0)]
    return np.asarray(session.base_from_board @ invert(board))


def _widened(rig: RigEstimate, spread: Float64 | None) -> RigEstimate:
    """The covariance, no smaller for any camera than what leaving shots out makes of it."""
    if spread is None or rig.covariance is None:
        return rig
    covariance = rig.covariance.copy()
    for k in range(len(rig.cameras) - 1):
        rows = slice(6 * k, 6 * k + 6)
        formal, resampled = covariance[rows, rows], spread[rows, rows]
        # Mean ratio of variances over the six directions; rows and columns by its root keep P
        # symmetric and positive.
        ratio = float(np.trace(np.linalg.solve(formal, resampled))) / 6.0
        if ratio > 1.0:
            covariance[rows, :] *= np.sqrt(ratio)
            covariance[:, rows] *= np.sqrt(ratio)
    return RigEstimate(rig.cameras, rig.reference_from_camera, covariance, rig.stage)
