"""Refinement on depth: the baselines do what the paper's does; ours is never taken on trust."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_calibration.records import RefineResult
from mvista_calibration.solve.clouds import scene_clouds
from mvista_calibration.solve.overlap import fused_disagreement
from mvista_calibration.solve.refine import refine
from mvista_calibration.solve.uncertainty import rig_error
from mvista_calibration_sim.sessions import SessionSettings, SimulatedSession, simulate_session
from mvista_calibration_sim.tof_depth import DepthSettings
from mvista_core.errors import CalibrationError
from mvista_core.geometry import is_pose
from tests.calibration.truths import coarse_of_truth

pytestmark = pytest.mark.slow

EXACT_LENS = SessionSettings(
    shots=3,
    focal_error=0.0,
    centre_error_px=0.0,
    depth_width_px=640,
    depth=DepthSettings(offset_sd_m=0.0, scale_sd=0.0),
)
SEED = 2


@pytest.fixture(scope="module")
def simulated() -> SimulatedSession:
    return simulate_session(SEED, EXACT_LENS)


def error_m(result: RefineResult, simulated: SimulatedSession) -> float:
    """RMS over the workspace."""
    truth = simulated.truth
    return rig_error(
        result.rig,
        truth.reference_from_camera,
        simulated.session.workspace,
        truth.base_from_reference,
    ).rms_m


def test_the_papers_way_pulls_a_rough_start_together(simulated: SimulatedSession) -> None:
    rough = coarse_of_truth(simulated, 0.008, 0.012, seed=1)
    result = refine(simulated.session, rough, (), "sequential")
    assert result.held_out_after_m < 0.5 * result.held_out_before_m
    assert error_m(result, simulated) < 5e-3
    assert result.accepted
    assert all(is_pose(pose) for pose in result.rig.reference_from_camera)
    assert np.allclose(result.rig.reference_from_camera[0], np.eye(4), atol=1e-12)


def test_all_pairs_at_once_pull_a_rough_start_together(simulated: SimulatedSession) -> None:
    rough = coarse_of_truth(simulated, 0.008, 0.012, seed=1)
    before = rig_error(
        rough.rig,
        simulated.truth.reference_from_camera,
        simulated.session.workspace,
        simulated.truth.base_from_reference,
    ).rms_m
    result = refine(simulated.session, rough, ())
    assert result.accepted, result.why
    assert error_m(result, simulated) < 0.5 * before


def test_biased_depth_makes_the_papers_way_worse_and_ours_stays() -> None:
    """The field notes' B.1: with a bias of 5 mm sd sequential ICP leaves a good board behind."""
    biased = simulate_session(
        SEED, replace(EXACT_LENS, depth=DepthSettings(offset_sd_m=0.006, scale_sd=0.002))
    )
    good = coarse_of_truth(biased, 0.0005, 0.0005, seed=2)
    paper = refine(biased.session, good, (), "sequential")
    assert error_m(paper, biased) > 3e-3
    ours = refine(biased.session, good, ())
    kept = ours.rig if ours.accepted else good.rig
    assert error_m(replace(ours, rig=kept), biased) < 2e-3


def test_a_camera_bumped_between_the_stages_is_contradicted_by_depth(
    simulated: SimulatedSession,
) -> None:
    coarse = coarse_of_truth(simulated)
    bumped = coarse.rig.reference_from_camera.copy()
    bumped[2, :3, 3] += [0.008, -0.006, 0.004]
    moved = replace(coarse, rig=replace(coarse.rig, reference_from_camera=bumped))
    still, result = refine(simulated.session, coarse, ()), refine(simulated.session, moved, ())
    assert not result.accepted
    assert "cam2" in result.why
    assert result.mahalanobis[1] == result.mahalanobis.max()
    assert result.mahalanobis[1] > 2 * still.mahalanobis.max()


def test_the_same_surface_lies_closer_under_the_true_rig(simulated: SimulatedSession) -> None:
    true, rough = coarse_of_truth(simulated), coarse_of_truth(simulated, 0.006, 0.006, seed=3)
    near = fused_disagreement(true.rig, scene_clouds(simulated.session, true.rig, ()))
    far = fused_disagreement(rough.rig, scene_clouds(simulated.session, rough.rig, ()))
    assert near < 2e-3
    assert far > 2 * near


def test_bad_input_is_refused(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    with pytest.raises(CalibrationError, match="sequential"):
        refine(simulated.session, coarse, (), "magic")
    unknown = replace(coarse, rig=replace(coarse.rig, covariance=None))
    with pytest.raises(CalibrationError, match="covariance"):
        refine(simulated.session, unknown, ())
