"""Depth bias: what a unit adds is found from the board, within its sigma, and never guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_calibration.records import DepthImage
from mvista_calibration.solve.depth_bias import (
    LARGEST_OFFSET_M,
    RANGE_FOR_SCALE_M,
    _fitted,
    _View,
    estimate_depth_bias,
)
from mvista_calibration_sim.sessions import (
    LARGE_BOARD,
    SessionSettings,
    SimulatedSession,
    simulate_session,
)
from mvista_calibration_sim.tof_depth import DepthSettings
from mvista_core.errors import CalibrationError
from tests.calibration.truths import coarse_of_truth

pytestmark = pytest.mark.slow

SETTINGS = SessionSettings(board=LARGE_BOARD, shots=6, depth_width_px=640)


@pytest.fixture(scope="module")
def simulated() -> SimulatedSession:
    return simulate_session(11, SETTINGS)


def test_offsets_are_found_within_their_sigma(simulated: SimulatedSession) -> None:
    found = estimate_depth_bias(simulated.session, coarse_of_truth(simulated))
    assert [bias.camera for bias in found] == list(simulated.session.names)
    for k, bias in enumerate(found):
        at_1m = bias.offset_m + bias.scale - 1.0
        true = simulated.truth.depth_offset_m[k] + simulated.truth.depth_scale[k] - 1.0
        assert abs(at_1m - true) < 3 * bias.offset_sd_m
        assert 4e-4 < bias.offset_sd_m < 2.5e-3
        assert bias.plane_rms_m < 3e-3


def test_corrected_depth_of_the_board_lies_on_its_plane(simulated: SimulatedSession) -> None:
    coarse = coarse_of_truth(simulated)
    known = {bias.camera: bias for bias in estimate_depth_bias(simulated.session, coarse)}
    corrected = tuple(
        replace(image, depth_m=known[image.camera].correct(image.depth_m))
        for image in simulated.session.board_depth
    )
    again = estimate_depth_bias(replace(simulated.session, board_depth=corrected), coarse)
    for bias in again:
        assert abs(bias.offset_m + bias.scale - 1.0) < 3e-4


def test_ink_is_not_read() -> None:
    plain = replace(SETTINGS, shots=3, depth=DepthSettings(ink_m=0.0))
    inked = replace(SETTINGS, shots=3, depth=DepthSettings(ink_m=0.008))
    a, b = (simulate_session(11, chosen) for chosen in (plain, inked))
    pairs = zip(
        estimate_depth_bias(a.session, coarse_of_truth(a)),
        estimate_depth_bias(b.session, coarse_of_truth(b)),
        strict=True,
    )
    for without, with_ink in pairs:
        # Markers inside the white squares are read in part; black squares would add 8 mm.
        assert abs(with_ink.offset_m - without.offset_m) < 5e-3


@settings(max_examples=25, deadline=None)
@given(
    offset=st.floats(-0.02, 0.02),
    scale=st.floats(0.995, 1.005),
    span=st.floats(0.05, 0.9),
    seed=st.integers(0, 99),
)
def test_scale_is_fitted_only_over_a_range(
    offset: float, scale: float, span: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    views = []
    for shot, distance in enumerate(np.linspace(0.6, 0.6 + span, 10)):
        expected = np.full(40, distance)
        error = (scale - 1) * expected + offset + rng.normal(0.0, 2e-4, 40)
        views.append(_View(shot, expected, error))
    found = _fitted("cam0", views)
    middle = 0.6 + span / 2
    expected_error = (scale - 1) * middle + offset
    assert abs((found.scale - 1) * middle + found.offset_m - expected_error) < 5e-4
    if span < RANGE_FOR_SCALE_M - 1e-6:
        assert abs(found.scale - 1) < 1e-6
    elif span > RANGE_FOR_SCALE_M + 0.05:
        assert abs(found.scale - scale) < 2e-3


def test_an_absurd_offset_is_held_and_shows(simulated: SimulatedSession) -> None:
    wrong = tuple(
        replace(image, depth_m=(image.depth_m + 0.06 * (image.depth_m > 0)).astype(np.float32))
        for image in simulated.session.board_depth
    )
    found = estimate_depth_bias(
        replace(simulated.session, board_depth=wrong), coarse_of_truth(simulated)
    )
    for bias in found:
        assert bias.offset_m <= LARGEST_OFFSET_M + 1e-9
        assert bias.plane_rms_m > 0.02


def test_a_wrong_unit_is_refused_by_camera_and_shot(simulated: SimulatedSession) -> None:
    session = simulated.session
    millimetres = tuple(
        replace(image, depth_m=image.depth_m * 1000) if image.camera == "cam1" else image
        for image in session.board_depth
    )
    with pytest.raises(CalibrationError, match=r"cam1, shot \d+.*metres"):
        estimate_depth_bias(replace(session, board_depth=millimetres), coarse_of_truth(simulated))


def test_a_camera_without_depth_is_named(simulated: SimulatedSession) -> None:
    session = simulated.session
    without = tuple(image for image in session.board_depth if image.camera != "cam2")
    with pytest.raises(CalibrationError, match="cam2: no usable depth"):
        estimate_depth_bias(replace(session, board_depth=without), coarse_of_truth(simulated))
    blank = tuple(
        DepthImage(image.camera, image.shot, np.zeros_like(image.depth_m))
        for image in session.board_depth
    )
    with pytest.raises(CalibrationError, match="cam0: no usable depth"):
        estimate_depth_bias(replace(session, board_depth=blank), coarse_of_truth(simulated))


def test_mixed_depth_resolutions_are_refused(simulated: SimulatedSession) -> None:
    session = simulated.session
    first, *rest = session.board_depth
    mixed = (first, *(replace(image, depth_m=image.depth_m[::2, ::2]) for image in rest))
    with pytest.raises(CalibrationError, match="resolution"):
        estimate_depth_bias(replace(session, board_depth=mixed), coarse_of_truth(simulated))


def test_colour_alone_has_no_bias(simulated: SimulatedSession) -> None:
    colour = replace(simulated.session, board_depth=(), scene=())
    assert estimate_depth_bias(colour, coarse_of_truth(simulated)) == ()
