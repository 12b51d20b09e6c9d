"""`mvista bench calibration`: which sessions it runs, and how their outcomes are judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mvista_calibration.pipeline import METHODS
from mvista_calibration_sim.world import SPOILERS
from mvista_cli import cli
from mvista_eval.calibration.tables import REPORTS
from mvista_eval.calibration.trials import Outcome, SessionJob, jobs, settings_of

GOOD = Outcome(
    "gate", "right", 0, "ours", 1.2, 1.8, 1.2, 0.9, 1.1, 0.98, True, False, 5.0, (), "ok", ""
)


def test_half_of_the_gates_sessions_are_spoiled_in_every_way() -> None:
    wanted = jobs("gate", 200)
    assert len(wanted) == 200 and len(set(wanted)) == 200
    assert sum(job.kind == "right" for job in wanted) == 100
    assert {job.kind for job in wanted} - {"right"} == set(SPOILERS)


def test_only_the_extrinsics_are_free_of_the_arm_and_half_of_them_of_bias() -> None:
    assert settings_of(SessionJob("base", "a4", 0)).arm is not None
    assert settings_of(SessionJob("extrinsics", "biased", 0)).arm is None
    assert settings_of(SessionJob("extrinsics", "unbiased", 0)).depth.offset_sd_m == 0.0
    assert settings_of(SessionJob("time", "large", 0)).depth_width_px == 1280


def test_the_gate_counts_wrong_ones_that_pass_and_right_ones_refused() -> None:
    right = [replace(GOOD, seed=k, passed=k > 0) for k in range(10)]
    wrong = [
        replace(GOOD, kind="unfocused", seed=k, passed=k == 3, detail="blur") for k in range(5)
    ]
    text, figures = REPORTS["gate"]([*right, *wrong])
    values = {figure.name: figure.value for figure in figures}
    assert values["wrong sessions that passed"] == pytest.approx(0.2)
    assert values["right sessions refused"] == pytest.approx(0.1)
    assert values["corners outside two sigmas"] == pytest.approx(0.02)
    assert "- passed, seed 3, unfocused: blur" in text and "- refused, seed 0" in text


def test_ours_is_held_against_its_own_coarse_stage_and_the_paper() -> None:
    rows = [
        replace(GOOD, part="extrinsics", kind=kind, seed=seed, method=method, fused_mm=fused)
        for kind in ("biased", "unbiased")
        for seed in range(3)
        for method, fused in zip(METHODS, (1.0, 5.0, 4.0, 5.0, 4.0), strict=True)
    ]
    rows[0] = replace(rows[0], rms_mm=1.5)
    text, figures = REPORTS["extrinsics"](rows)
    values = {figure.name: figure for figure in figures}
    assert not values["ours over its own coarse stage, worst (mm)"].kept
    assert values["fused disagreement, ours over the paper's"].value == pytest.approx(0.25)
    assert "| one pose + sequential ICP (the paper) |" in text


def test_rendered_sessions_that_are_refused_are_listed() -> None:
    rows = [replace(GOOD, part="rendered", seed=802 + k, passed=k > 0) for k in range(4)]
    text, figures = REPORTS["rendered"](rows)
    assert "3 of 4 passed" in text and "- refused, seed 802: ok" in text
    assert figures[0].value == pytest.approx(0.25) and not figures[0].kept
    assert [job.seed for job in jobs("rendered", 3, 802)] == [802, 803, 804]


def test_bad_numbers_are_refused() -> None:
    assert cli.main(["bench", "calibration", "--workers", "0"]) == cli.EXIT_REFUSED
    assert cli.main(["bench", "calibration", "--sessions", "1"]) == cli.EXIT_REFUSED
