"""One simulated session through it all: what is answered, refused, written, verified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from matplotlib import pyplot
from matplotlib.figure import Figure

from mvista_calibration.judge.gate import JOINT_TENSION, judge
from mvista_calibration.judge.verify import verify_rig
from mvista_calibration.output import report
from mvista_calibration.output.report import upright_from_reference, write_report
from mvista_calibration.output.save import (
    LINK_FROM_OPTICAL,
    camera_info,
    rig_of,
    save_calibration,
    static_transforms,
)
from mvista_calibration.pipeline import calibrate
from mvista_calibration.records import Calibration, GripperPose, RigEstimate, Session, Verdict
from mvista_calibration.solve.refine import refine
from mvista_calibration.solve.uncertainty import jackknife, rig_error
from mvista_calibration.twists import moved
from mvista_calibration_sim.sessions import SessionSettings, SimulatedSession, simulate_session
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.geometry import pose_from, rotation_from_quaternion
from mvista_core.records import Intrinsics
from mvista_core.rig import load_rig, save_rig
from tests.architecture.source_tree import ROOT

pytestmark = pytest.mark.slow

SETTINGS = SessionSettings(
    arm=load_arm(ROOT / "config" / "arms" / "piper.yaml"), depth_width_px=320, shots=12
)


@pytest.fixture(scope="module")
def simulated() -> SimulatedSession:
    return simulate_session(3, SETTINGS)


@pytest.fixture(scope="module")
def found(simulated: SimulatedSession) -> Calibration:
    return calibrate(simulated.session)


def test_a_good_session_passes_near_the_truth(
    simulated: SimulatedSession, found: Calibration
) -> None:
    assert found.verdict.passed, found.verdict.words
    truth, workspace = simulated.truth, simulated.session.workspace
    base = truth.base_from_reference
    error = rig_error(found.rig, truth.reference_from_camera, workspace, base)
    assert error.rms_m < 3e-3
    assert found.base_from_reference is not None
    assert np.linalg.norm((found.base_from_reference - base)[:3, 3]) < 6e-3
    for bias, offset in zip(found.depth_bias, truth.depth_offset_m, strict=True):
        assert abs(bias.offset_m - offset) < 5e-3
    assert found.corner_sd_m.shape == (4, 8) and (found.corner_sd_m[0] == 0).all()
    assert (found.corner_sd_m[1:] > 2e-4).all() and (found.corner_sd_m[1:] < 5e-3).all()


@pytest.mark.parametrize("spoil", ["misprint_1pct", "bumped_between_stages", "unfocused"])
def test_a_spoiled_session_does_not_pass(spoil: str) -> None:
    made = simulate_session(1001, SETTINGS, spoil)
    try:
        answer = calibrate(made.session)
    except CalibrationError:
        return  # the board stage refused it
    assert not answer.verdict.passed and answer.verdict.words.startswith("FAILED"), (
        made.truth.detail
    )


def test_a_stage_that_cannot_answer_fails_the_verdict_and_is_named(
    simulated: SimulatedSession,
) -> None:
    still = tuple(GripperPose(p.shot, np.eye(4)) for p in simulated.session.gripper)
    answer = calibrate(replace(simulated.session, gripper=still, scene=(), board_depth=()))
    assert not answer.verdict.passed and "stage 'robot'" in answer.verdict.words
    assert "turned too little" in answer.verdict.words
    assert answer.hand_eye is None and answer.base_from_reference is None


def test_a_board_whose_place_is_known_is_shot_0s_and_no_others(
    simulated: SimulatedSession,
) -> None:
    truth = simulated.truth
    known = replace(
        simulated.session, gripper=(), scene=(), board_depth=(),
        base_from_board=truth.base_from_board[0],
    )  # fmt: skip

    def without(shot: int) -> Session:
        """The board hardly in view in one shot."""
        views = (
            replace(view, corner_ids=view.corner_ids[:6], corners_px=view.corners_px[:6])
            if view.shot == shot
            else view
            for view in known.views
        )
        return replace(known, views=tuple(views))

    base = calibrate(without(1)).base_from_reference
    assert base is not None
    assert np.linalg.norm((base - truth.base_from_reference)[:3, 3]) < 6e-3
    for method in ("ours", "bundle"):
        answer = calibrate(without(0), method)
        assert answer.base_from_reference is None and not answer.verdict.passed
        assert "stage 'base'" in answer.verdict.words
        assert "of shot 0 no view was used" in answer.verdict.words


def test_progress_can_stop_it(simulated: SimulatedSession) -> None:
    with pytest.raises(CancelledError, match="before stage 'depth bias'"):
        calibrate(simulated.session, progress=lambda stage, _: stage != "depth bias")


def test_an_unknown_method_is_refused(simulated: SimulatedSession) -> None:
    with pytest.raises(CalibrationError, match="there are ours, one_pose"):
        calibrate(simulated.session, "magic")
    with pytest.raises(CalibrationError, match="there are joint, sequential"):
        refine(simulated.session, calibrate(simulated.session, "bundle").coarse, (), "magic")


def test_the_paper_is_a_baseline_that_is_never_judged(simulated: SimulatedSession) -> None:
    answer = calibrate(simulated.session, "bundle_icp")
    assert not answer.verdict.passed and "nothing was checked" in answer.verdict.words
    assert answer.rig.stage == "sequential"


def test_shots_that_disagree_widen_the_jackknife(simulated: SimulatedSession) -> None:
    session = simulated.session

    def solve(part: Session) -> RigEstimate:
        return calibrate(replace(part, scene=(), board_depth=(), gripper=()), "bundle").rig

    calm = jackknife(session, solve, groups=3)
    shaken = [
        replace(v, corners_px=v.corners_px + np.array([0.0, 0.7 * (v.shot % 3)]))
        if v.camera == "cam1"
        else v
        for v in session.views
    ]
    assert np.trace(jackknife(replace(session, views=tuple(shaken)), solve, groups=3)) > np.trace(
        calm
    )


def test_every_limit_has_a_reason_and_nan_never_passes(
    simulated: SimulatedSession, found: Calibration
) -> None:
    assert all(check.reason for check in found.verdict.checks)
    verdict = judge(
        simulated.session, found.coarse, found.depth_bias,
        None if found.refine is None else replace(found.refine, pull=np.nan),
        found.hand_eye, found.corner_sd_m,
    )  # fmt: skip
    assert not verdict.passed


def test_another_lens_than_the_reported_one_is_refused(simulated: SimulatedSession) -> None:
    session = simulated.session
    lens = session.cameras[2].intrinsics
    other = replace(lens, fx_px=lens.fx_px * 1.012, fy_px=lens.fy_px * 1.012)
    cameras = list(session.cameras)
    cameras[2] = replace(cameras[2], intrinsics=other)
    answer = calibrate(replace(session, cameras=tuple(cameras), scene=(), board_depth=()))
    (check,) = [c for c in answer.verdict.checks if c.name == "lens against the reported one"]
    assert not check.passed and check.subject == cameras[2].name and check.value > 6.0
    assert not answer.verdict.passed


def test_lenses_can_be_kept(simulated: SimulatedSession) -> None:
    session = replace(simulated.session, scene=(), board_depth=())
    kept = calibrate(session, keep_lenses=True)
    assert kept.cameras == session.cameras != calibrate(session).cameras
    assert "lens against the reported one" not in {check.name for check in kept.verdict.checks}
    truth = simulated.truth
    error = rig_error(
        kept.rig, truth.reference_from_camera, session.workspace, truth.base_from_reference
    )
    # Lenses count as uncertain although nothing was solved for.
    assert error.rms_m < 2.0 * kept.corner_sd_m[1:].max()


def test_tension_of_all_cameras_at_once_has_a_say(
    simulated: SimulatedSession, found: Calibration
) -> None:
    assert found.refine is not None
    assert found.refine.mahalanobis.max() <= found.refine.tension < 10.0
    for tension in (1.01 * JOINT_TENSION.value, np.nan):
        verdict = judge(
            simulated.session, found.coarse, found.depth_bias,
            replace(found.refine, tension=tension), found.hand_eye, found.corner_sd_m,
        )  # fmt: skip
        failed = [check.name for check in verdict.checks if not check.passed]
        assert "depth against board, all cameras at once" in failed and not verdict.passed


def test_the_rig_file_comes_back_as_it_was(found: Calibration, tmp_path: Path) -> None:
    rig = rig_of(found, "bench", "2026-01-01")
    path = save_calibration(rig, tmp_path / "out", tmp_path / "rigs" / "bench.yaml")
    again = load_rig(path)
    assert again.provenance == rig.provenance and again.base_frame == "piper_base"
    for a, b in zip(again.cameras, rig.cameras, strict=True):
        assert np.array_equal(a.base_from_camera, b.base_from_camera)
        assert a.intrinsics == b.intrinsics and a.other_intrinsics == b.other_intrinsics
        assert (a.depth_offset_m, a.depth_scale) == (b.depth_offset_m, b.depth_scale)
        assert a.covariance is not None and np.linalg.eigvalsh(a.covariance).min() > 0
    assert {lens.width_px for lens in again.cameras[0].other_intrinsics} == {3840}


def test_a_failed_run_never_touches_a_good_rig_file(found: Calibration, tmp_path: Path) -> None:
    good = save_calibration(
        rig_of(found, "cell", "2026-01-01"), tmp_path, tmp_path / "cell_rig.yaml"
    )
    before = good.read_bytes()
    failed = replace(found, verdict=Verdict(found.verdict.checks, False, "FAILED: on purpose"))
    with pytest.raises(CalibrationError, match="was left as it was"):
        save_calibration(rig_of(failed, "cell", "2026-01-02"), tmp_path / "again", good)
    assert good.read_bytes() == before
    new = tmp_path / "new.yaml"
    with pytest.raises(CalibrationError, match=r"new\.yaml was not written: this calibration fail"):
        save_calibration(rig_of(failed, "cell", "2026-01-02"), tmp_path / "again", new)
    assert not new.exists()
    with pytest.raises(Exception, match="verdict is 'fail'"):
        load_rig(tmp_path / "again" / "cell.yaml")


def test_ros_files_say_the_same(found: Calibration, tmp_path: Path) -> None:
    rig = rig_of(found, "cell", "2026-01-01")
    save_calibration(rig, tmp_path)
    info = yaml.safe_load((tmp_path / "camera_info" / "cam0_3840x2160.yaml").read_text())
    assert info == camera_info("cam0", rig.cameras[0].other_intrinsics[-1])
    assert info["distortion_model"] == "plumb_bob" and info["projection_matrix"]["cols"] == 4
    for entry, camera in zip(static_transforms(rig), rig.cameras, strict=True):
        turn = rotation_from_quaternion(np.array(entry["rotation_xyzw"]))
        link = pose_from(turn, np.array(entry["translation_m"]))
        assert np.allclose(link @ LINK_FROM_OPTICAL, camera.base_from_camera, atol=1e-9)
    assert (tmp_path / "cameras.urdf.xacro").read_text().count("<joint") == 4


@pytest.mark.parametrize(
    ("coefficients", "model", "count"),
    [
        ((), "plumb_bob", 5),
        ((0.1, -0.05, 1e-3, -2e-3), "plumb_bob", 5),
        ((0.1, -0.05, 1e-3, -2e-3, 0.02), "plumb_bob", 5),
        ((0.1, -0.05, 1e-3, -2e-3, 0.02, 0.3, -0.1, 0.01), "rational_polynomial", 8),
        ((0.1, -0.05, 1e-3, -2e-3, *(0.0,) * 8), "rational_polynomial", 8),
    ],
)
def test_camera_info_has_as_many_coefficients_as_its_model_and_bends_as_the_lens(
    coefficients: tuple[float, ...], model: str, count: int
) -> None:
    lens = Intrinsics(640, 480, 500.0, 500.0, 319.5, 239.5, coefficients)
    info = camera_info("cam0", lens)
    told = info["distortion_coefficients"]
    assert (info["distortion_model"], told["cols"], len(told["data"])) == (model, count, count)
    rays, none = np.array([[0.3, -0.2, 1.0], [-0.1, 0.25, 1.0]]), np.zeros(3)
    ours, ros = (
        cv2.projectPoints(rays, none, none, lens.matrix, np.array(bent or [0.0] * 5))[0]
        for bent in (list(coefficients), told["data"])
    )
    np.testing.assert_allclose(ros, ours, atol=1e-9)


def test_the_report_shows_verdict_checks_and_pictures(
    simulated: SimulatedSession, found: Calibration, tmp_path: Path
) -> None:
    noted = replace(simulated.session, notes=("cam1: frame 3 is a copy of frame 2",))
    page = write_report(noted, found, tmp_path).read_text()
    assert "frame 3 is a copy of frame 2" in page
    assert "May be used" in page and page.count("data:image/png") == 2
    assert all(check.name in page for check in found.verdict.checks)


def test_seven_cameras_of_unknown_sigma_are_all_reported(
    simulated: SimulatedSession,
    found: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = tuple(f"cam{k}" for k in range(7))
    many = replace(
        found, rig=replace(found.rig, cameras=names), corner_sd_m=np.full((7, 8), np.nan)
    )
    titles: list[str] = []

    def note(figure: Figure) -> str:
        titles.extend(axis.get_title() for axis in figure.axes)
        pyplot.close(figure)
        return ""

    monkeypatch.setattr(report, "_image", note)
    page = write_report(replace(simulated.session, scene=()), many, tmp_path).read_text()
    assert [title.partition(":")[0] for title in titles] == list(names)
    assert page.count("<td>not known</td>") == 7 and "<td>nan</td>" not in page


def test_without_a_robot_clouds_are_shown_the_right_way_up(found: Calibration) -> None:
    """Cameras that saw the first board's face are above it."""
    robotless = replace(found, base_from_reference=None)
    upright, coarse = upright_from_reference(robotless), found.coarse
    assert np.linalg.det(upright[:3, :3]) == pytest.approx(1.0)
    heights = [
        (upright @ found.rig.pose(view.camera))[2, 3]
        for view in coarse.views
        if view.shot == coarse.shots[0]
    ]
    assert heights and min(heights) > 0.2
    assert upright_from_reference(found) is found.base_from_reference


def test_a_rig_holds_until_a_camera_moves(
    simulated: SimulatedSession, found: Calibration, tmp_path: Path
) -> None:
    rig = rig_of(found, "cell", "2026-01-01")
    assert verify_rig(simulated.session, rig).holds
    shift = np.array([0.012, 0, 0, 0, 0, 0])
    nudged = moved(rig.cameras[2].base_from_camera, shift)
    cameras = (*rig.cameras[:2], replace(rig.cameras[2], base_from_camera=nudged), rig.cameras[3])
    save_rig(replace(rig, cameras=cameras), tmp_path / "moved.yaml")
    answer = verify_rig(simulated.session, load_rig(tmp_path / "moved.yaml"))
    assert not answer.holds and "cam2" in answer.words and "calibrate again" in answer.words
    whole = [replace(c, base_from_camera=moved(c.base_from_camera, shift)) for c in rig.cameras]
    answer = verify_rig(simulated.session, replace(rig, cameras=tuple(whole)))
    assert not answer.holds and "piper_base by" in answer.words
    assert not any(motion.gone for motion in answer.cameras[:-1])
    armless = verify_rig(replace(simulated.session, gripper=()), rig)
    assert armless.holds and len(armless.cameras) == 3
    assert "no arm held the board" in armless.words
    alone = replace(
        simulated.session,
        cameras=simulated.session.cameras[:1],
        views=tuple(v for v in simulated.session.views if v.camera == simulated.session.names[0]),
        gripper=simulated.session.gripper[:3],
    )
    with pytest.raises(CalibrationError, match="nothing in session .* could be compared"):
        verify_rig(alone, rig)
    with pytest.raises(CalibrationError, match="has no cameras"):
        verify_rig(simulated.session, replace(rig, cameras=rig.cameras[:2]))
