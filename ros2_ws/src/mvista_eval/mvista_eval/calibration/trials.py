"""Calibration of simulated sessions against their truth: the work behind its bench."""

from __future__ import annotations

from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

import numpy as np

from mvista_bringup.paths import config_file
from mvista_calibration.pipeline import METHODS, calibrate
from mvista_calibration.records import Calibration
from mvista_calibration.session.reader import load_session
from mvista_calibration.solve.uncertainty import rig_error
from mvista_calibration_sim.board_cell import CellSession, render_session
from mvista_calibration_sim.sessions import (
    LARGE_BOARD,
    SessionSettings,
    SimulatedSession,
    simulate_session,
)
from mvista_calibration_sim.tof_depth import DepthSettings
from mvista_calibration_sim.truth import true_fused_disagreement
from mvista_calibration_sim.world import SPOILERS
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, transform_points
from mvista_eval.trials import Study, sum_of_files

NO_BIAS = DepthSettings(offset_sd_m=0.0, scale_sd=0.0, wiggle_m=0.0)
INSIDE_SIGMAS = 2.0
RENDERED_PX = 1280


@dataclass(frozen=True)
class SessionJob:
    """One session: `kind` names the variant of its part, `seed` the session."""

    part: str
    kind: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of one method on one session; errors in mm, NaN where there is none."""

    part: str
    kind: str
    seed: int
    method: str
    rms_mm: float
    p90_mm: float
    coarse_mm: float
    fused_mm: float
    base_mm: float
    inside: float
    passed: bool
    refined: bool
    seconds: float
    failed_checks: tuple[str, ...]
    words: str
    detail: str
    values: tuple[tuple[str, float], ...] = ()
    """(check, value) of the gate, in its order: what the limits are set by."""


def jobs(part: str, sessions: int, first_seed: int = 0) -> list[SessionJob]:
    """All sessions of a part; `sessions` per variant, for "gate" in all."""
    if part == "gate":
        right = [SessionJob(part, "right", first_seed + k) for k in range(sessions // 2)]
        spoils = [SPOILERS[k % len(SPOILERS)] for k in range(sessions - len(right))]
        return right + [
            SessionJob(part, spoil, first_seed + 1000 + k) for k, spoil in enumerate(spoils)
        ]
    kinds = {
        "extrinsics": ("biased", "unbiased"),
        "base": ("a4",),
        "rendered": ("gripper",),
        "time": ("large",),
    }[part]
    return [SessionJob(part, kind, first_seed + k) for kind in kinds for k in range(sessions)]


def study(part: str) -> Study[SessionJob, Outcome]:
    """Sessions of one part, each in a process of one thread: their times are told."""
    settings = {"arm": sum_of_files(config_file("arms", "piper.yaml"))}
    return Study(f"calibration/{part}", run, Outcome, settings, one_thread=True)


def run(job: SessionJob) -> list[Outcome]:
    """Simulate the session and calibrate it, in the baselines' ways too for "extrinsics"."""
    if job.part == "rendered":
        return [_rendered(job)]
    spoil = job.kind if job.kind in SPOILERS else None
    simulated = simulate_session(job.seed, settings_of(job), spoil)
    methods = METHODS if job.part == "extrinsics" else METHODS[:1]
    return [_outcome(job, simulated, method) for method in methods]


def settings_of(job: SessionJob) -> SessionSettings:
    """What is simulated for a job."""
    settings = SessionSettings()
    if job.part == "extrinsics":
        return replace(settings, depth=NO_BIAS if job.kind == "unbiased" else settings.depth)
    settings = replace(settings, arm=load_arm(config_file("arms", "piper.yaml")))
    if job.part == "time":
        return replace(settings, arm=None, board=LARGE_BOARD, depth_width_px=1280)
    return settings


def _outcome(job: SessionJob, simulated: SimulatedSession, method: str) -> Outcome:
    session, truth = simulated.session, simulated.truth
    try:
        found = calibrate(session, method)
    except CalibrationError as refusal:
        nan = float("nan")
        return Outcome(
            job.part, job.kind, job.seed, method, nan, nan, nan, nan, nan, nan, False, False, nan,
            ("board",), str(refusal), truth.detail,
        )  # fmt: skip
    reference_from_camera, base = truth.reference_from_camera, truth.base_from_reference
    error = rig_error(found.rig, reference_from_camera, session.workspace, base)
    coarse = rig_error(found.coarse.rig, reference_from_camera, session.workspace, base)
    return Outcome(
        job.part,
        job.kind,
        job.seed,
        method,
        error.rms_m * 1e3,
        error.p90_m * 1e3,
        coarse.rms_m * 1e3,
        _fused_m(found, simulated) * 1e3,
        _base_error_m(found, simulated) * 1e3,
        _inside(found, simulated),
        found.verdict.passed,
        found.refine is not None and found.refine.accepted,
        float(sum(found.seconds.values())),
        _failed(found),
        found.verdict.words,
        truth.detail,
        tuple((c.name, c.value) for c in found.verdict.checks),
    )


def _rendered(job: SessionJob) -> Outcome:
    """Drawn images from the disk, as `mvista calibrate simulate` writes them: detection too."""
    wanted = CellSession(job.seed, colour_width_px=RENDERED_PX, depth_width_px=RENDERED_PX)
    with TemporaryDirectory() as folder:
        truth = render_session(folder, wanted, load_arm(config_file("arms", "piper.yaml")))
        session = load_session(folder)
        found = calibrate(session)
    nan, base = float("nan"), truth.base_from_camera[0]
    true = invert(base) @ truth.base_from_camera
    error = rig_error(found.rig, true, session.workspace, base)
    coarse = rig_error(found.coarse.rig, true, session.workspace, base)
    return Outcome(
        job.part, job.kind, job.seed, METHODS[0], error.rms_m * 1e3, error.p90_m * 1e3,
        coarse.rms_m * 1e3, nan, nan, nan, found.verdict.passed,
        found.refine is not None and found.refine.accepted, float(sum(found.seconds.values())),
        _failed(found), found.verdict.words, "",
        tuple((c.name, c.value) for c in found.verdict.checks),
    )  # fmt: skip


def _failed(found: Calibration) -> tuple[str, ...]:
    return tuple(c.name for c in found.verdict.checks if not c.passed and c.level == "refuse")


def _fused_m(found: Calibration, simulated: SimulatedSession) -> float:
    """With the lenses that the poses go with."""
    session = replace(simulated.session, cameras=found.cameras)
    return true_fused_disagreement(replace(simulated, session=session), found.rig, found.depth_bias)


def _base_error_m(found: Calibration, simulated: SimulatedSession) -> float:
    """RMS over the workspace and all cameras of base_from_camera."""
    if found.base_from_reference is None or found.hand_eye is None:
        return float("nan")
    truth, corners = simulated.truth, simulated.session.workspace.corners_m
    errors = []
    for pose, true in zip(
        found.rig.reference_from_camera, truth.reference_from_camera, strict=True
    ):
        seen = transform_points(invert(truth.base_from_reference @ true), corners)
        errors.append(transform_points(found.base_from_reference @ pose, seen) - corners)
    return float(np.sqrt((np.stack(errors) ** 2).sum(axis=-1).mean()))


def _inside(found: Calibration, simulated: SimulatedSession) -> float:
    """Share of workspace corners, over the other cameras, within two of the reported sigmas."""
    truth, corners = simulated.truth, simulated.session.workspace.corners_m
    corners = transform_points(invert(truth.base_from_reference), corners)
    shares = []
    for k in range(1, len(found.rig.cameras)):
        seen = transform_points(invert(truth.reference_from_camera[k]), corners)
        away = transform_points(found.rig.reference_from_camera[k], seen) - corners
        shares.append(np.linalg.norm(away, axis=1) < INSIDE_SIGMAS * found.corner_sd_m[k])
    return float(np.mean(shares))
