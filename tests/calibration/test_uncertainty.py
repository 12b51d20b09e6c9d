"""Sigma means what it says: propagation, coverage of the truth over seeds, and the jackknife."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_calibration.records import RigEstimate, Session, WorkspaceBox
from mvista_calibration.solve.coarse import solve_bundle
from mvista_calibration.solve.uncertainty import corner_sd, jackknife, rig_error
from mvista_calibration.twists import moved
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64
from tests.calibration.synthetic_views import LARGE, Scene, scene

pytestmark = pytest.mark.slow

WORKSPACE = WorkspaceBox((0.05, -0.3, 0.0), (0.65, 0.3, 0.3))
NAMES = ("cam0", "cam1")
twist = st.lists(st.floats(-0.05, 0.05), min_size=6, max_size=6).map(np.array)


def pair(pose: Float64, covariance: Float64 | None = None) -> RigEstimate:
    return RigEstimate(NAMES, np.stack([np.eye(4), pose]), covariance, "made")


@settings(max_examples=20, deadline=None)
@given(twist)
def test_the_error_of_a_shift_is_the_shift_everywhere(step: Float64) -> None:
    truth = moved(np.eye(4), step)
    shift = np.array([3e-3, -4e-3, 0.0, 0.0, 0.0, 0.0])
    found = rig_error(pair(moved(truth, shift)), np.stack([np.eye(4), truth]), WORKSPACE)
    assert found.rms_m == pytest.approx(5e-3) and found.p90_m == pytest.approx(5e-3)
    assert rig_error(pair(truth), np.stack([np.eye(4), truth]), WORKSPACE).rms_m < 1e-12


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), twist)
def test_corner_sd_is_the_spread_of_drawn_errors(seed: int, step: Float64) -> None:
    rng = np.random.default_rng(seed)
    mix = rng.normal(0, 1, (6, 6)) * np.repeat([1e-3, 2e-3], 3)[:, None]
    base_from_reference = moved(np.eye(4), 5 * step)
    rig = pair(moved(np.eye(4), step), mix @ mix.T)
    sd = corner_sd(rig, base_from_reference, WORKSPACE)
    corners = transform_points(invert(base_from_reference), WORKSPACE.corners_m)
    drawn = [
        np.linalg.norm(transform_points(moved(np.eye(4), mix @ draw), corners) - corners, axis=1)
        for draw in rng.normal(0, 1, (1500, 6))
    ]
    assert np.all(sd[0] == 0.0) and sd.shape == (2, 8)
    assert np.sqrt(np.mean(np.square(drawn), axis=0)) == pytest.approx(sd[1], rel=0.12)


def test_no_covariance_no_sigma() -> None:
    with pytest.raises(CalibrationError, match="'made' gives no covariance"):
        corner_sd(pair(np.eye(4)), None, WORKSPACE)


def within_two_sigma(made: Scene, fixed_lenses: bool = False) -> Float64:
    """Per camera: the share of the workspace's corners whose true error is below 2 sigma."""
    rig = solve_bundle(made.session, fixed_lenses=fixed_lenses).rig
    sd = corner_sd(rig, made.base_from_reference, made.session.workspace)
    corners = transform_points(invert(made.base_from_reference), made.session.workspace.corners_m)
    errors = [
        np.linalg.norm(transform_points(found @ invert(true), corners) - corners, axis=1)
        for found, true in zip(rig.reference_from_camera, made.reference_from_camera, strict=True)
    ]
    return np.asarray((np.stack(errors)[1:] <= 2.0 * sd[1:]).mean(axis=1))


@pytest.mark.parametrize(
    ("focal_error", "centre_error_px", "fixed_lenses"),
    [(0.0, 0.0, False), (1e-3, 2.0, False), (1e-3, 2.0, True)],
)
def test_truth_lies_within_two_sigma(
    focal_error: float, centre_error_px: float, fixed_lenses: bool
) -> None:
    shares = [
        within_two_sigma(
            scene(seed, focal_error=focal_error, centre_error_px=centre_error_px), fixed_lenses
        )
        for seed in range(100, 104)
    ]
    assert np.mean(shares) > 0.9


def test_sigma_is_not_idle() -> None:
    """Honest by being right, not by being wide: a large board is known far better."""
    small, large = (
        corner_sd(solve_bundle(made.session).rig, made.base_from_reference, made.session.workspace)[
            1:
        ]
        for made in (scene(7), scene(7, board=LARGE))
    )
    assert large.mean() < 0.6 * small.mean() < 2e-3


def test_more_noise_means_more_sigma_in_proportion() -> None:
    low, high = (
        solve_bundle(scene(5, noise_px=noise).session, fixed_lenses=True).rig.covariance
        for noise in (0.1, 0.4)
    )
    assert low is not None and high is not None
    assert 1.0 < np.sqrt(np.trace(high) / np.trace(low)) < 4.0


def test_the_jackknife_agrees_with_corner_noise_alone() -> None:
    """Lenses fixed and right: leaving out shots shows noise only, less than the formal sigma."""
    made = scene(6)
    spread = jackknife(made.session, lambda s: solve_bundle(s, fixed_lenses=True).rig, groups=4)
    formal = solve_bundle(made.session).rig
    wide = corner_sd(formal, made.base_from_reference, made.session.workspace)[1:]
    left_out = corner_sd(
        replace(formal, covariance=spread), made.base_from_reference, made.session.workspace
    )[1:]
    assert spread.shape == (18, 18) and np.allclose(spread, spread.T)
    assert 2e-5 < left_out.mean() < wide.mean()


def test_the_jackknife_sees_shots_that_disagree() -> None:
    """A rig bumped half way: every view is sound by itself and sigma says nothing of it."""
    made = scene(6)
    views = tuple(
        replace(v, corners_px=v.corners_px + 1.5) if v.camera == "cam2" and v.shot % 2 else v
        for v in made.session.views
    )

    def solve(session: Session) -> RigEstimate:
        return solve_bundle(session, fixed_lenses=True).rig

    spoilt = jackknife(replace(made.session, views=views), solve, groups=4)
    sound = jackknife(made.session, solve, groups=4)
    assert np.trace(spoilt[6:12, 6:12]) > 4.0 * np.trace(sound[6:12, 6:12])


def test_a_jackknife_needs_shots() -> None:
    made = scene(0)
    few = replace(made.session, views=tuple(v for v in made.session.views if v.shot < 3))
    with pytest.raises(CalibrationError, match="3 shots; a jackknife needs"):
        jackknife(few, lambda s: solve_bundle(s).rig)
