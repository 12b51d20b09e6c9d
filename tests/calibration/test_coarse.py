"""Board stage: exact corners give the exact rig, no frame is special, refusals name culprits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvista_calibration.records import BoardView, RigEstimate, Session
from mvista_calibration.solve.bundle import (
    BOARD_SD,
    Bundle,
    BundleState,
    lens_prior,
    reported_lenses,
)
from mvista_calibration.solve.coarse import _start, _view_poses, solve_bundle, solve_one_pose
from mvista_calibration.solve.uncertainty import rig_error
from mvista_calibration.twists import moved, twist_between
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.geometry import invert
from tests.calibration.synthetic_views import LARGE, Scene, scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def noisy() -> Scene:
    return scene(0)


def error_m(made: Scene, rig: RigEstimate) -> float:
    return rig_error(
        rig,
        made.reference_from_camera,
        made.session.workspace,
        made.base_from_reference,
    ).rms_m


def of_views(session: Session, keep: Callable[[BoardView], bool]) -> Session:
    return replace(session, views=tuple(view for view in session.views if keep(view)))


@pytest.mark.parametrize("seed", [0, 1])
def test_exact_corners_give_the_exact_rig(seed: int) -> None:
    made = scene(seed, noise_px=0.0)
    found = solve_bundle(made.session)
    assert error_m(made, found.rig) < 1e-6 and found.rms_px < 1e-3 and not found.rejected
    boards = invert(made.base_from_reference) @ made.base_from_board
    assert np.abs(found.reference_from_board - boards[list(found.shots)]).max() < 1e-6
    if any(len({v.camera for v in made.session.views if v.shot == s}) == 4 for s in found.shots):
        assert error_m(made, solve_one_pose(made.session).rig) < 1e-4


def start_of(session: Session, problem: Bundle) -> BundleState:
    return _start(session, problem, _view_poses(session)[0])


def test_noise_leaves_a_fraction_of_a_millimetre_where_the_lens_is_known() -> None:
    errors = [
        error_m(made, solve_bundle(made.session, fixed_lenses=True).rig)
        for made in map(scene, range(4))
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 3e-4


def test_lenses_are_found_to_better_than_their_factory_values() -> None:
    fixed, free, before, after = [], [], [], []
    for seed in range(4):
        made = scene(seed, focal_error=1e-3, centre_error_px=2.0)
        fixed.append(error_m(made, solve_bundle(made.session, fixed_lenses=True).rig))
        found = solve_bundle(made.session)
        free.append(error_m(made, found.rig))
        true = np.array([k.fx_px for k in made.lenses])
        before.append(reported_lenses(made.session.cameras)[:, 0] - true)
        after.append([c.intrinsics.fx_px for c in found.cameras] - true)
    assert np.sqrt(np.mean(np.square(free))) < 1.6e-3 < np.sqrt(np.mean(np.square(fixed)))
    assert np.std(after) < 0.8 * np.std(before)


def test_the_depth_lens_follows_its_colour_lens() -> None:
    session = scene(1, focal_error=1e-3, centre_error_px=2.0).session
    small = tuple(
        replace(camera, depth_intrinsics=camera.intrinsics.scaled(1 / 3))
        for camera in session.cameras
    )
    for camera in solve_bundle(replace(session, cameras=small)).cameras:
        expected = camera.intrinsics.scaled(1 / 3)
        assert np.abs(camera.depth_intrinsics.matrix - expected.matrix).max() < 1e-9


def test_many_boards_beat_one(noisy: Scene) -> None:
    bundle, one = solve_bundle(noisy.session), solve_one_pose(noisy.session)
    assert error_m(noisy, bundle.rig) < error_m(noisy, one.rig)
    assert one.rig.covariance is None and len(one.shots) == 1
    assert bundle.rms_px == pytest.approx(0.3 * np.sqrt(2), rel=0.1)


def test_the_choice_of_the_reference_is_free(noisy: Scene) -> None:
    """Gauge: another reference camera gives the same rig, up to what the tolerance leaves."""
    session = noisy.session
    turned = replace(session, cameras=session.cameras[::-1])
    a, b = solve_bundle(session).rig, solve_bundle(turned).rig
    for name in session.names:
        other = invert(b.pose(session.reference)) @ b.pose(name)
        assert np.abs(twist_between(other, a.pose(name))).max() < 2e-6


def test_the_order_of_views_and_the_numbers_of_shots_do_not_matter(noisy: Scene) -> None:
    session = noisy.session
    mixed = tuple(replace(view, shot=100 - 3 * view.shot) for view in session.views[::-1])
    a, b = solve_bundle(session), solve_bundle(replace(session, views=mixed))
    assert np.abs(a.rig.reference_from_camera - b.rig.reference_from_camera).max() < 1e-6
    assert b.shots == tuple(sorted(100 - 3 * shot for shot in a.shots))


def test_a_board_twice_as_large_makes_a_rig_twice_as_large(noisy: Scene) -> None:
    board = noisy.session.board
    doubled = replace(board, square_m=2 * board.square_m, marker_m=2 * board.marker_m)
    a = solve_bundle(noisy.session).rig.reference_from_camera
    b = solve_bundle(replace(noisy.session, board=doubled)).rig.reference_from_camera
    assert np.abs(b[:, :3, 3] - 2 * a[:, :3, 3]).max() < 1e-5
    assert np.abs(b[:, :3, :3] - a[:, :3, :3]).max() < 1e-6


@pytest.mark.parametrize("noise_px", [None, 0.3])
def test_the_gradient_is_that_of_finite_differences(noisy: Scene, noise_px: float | None) -> None:
    session = noisy.session
    problem = Bundle(session, session.views, noise_px)
    rng = np.random.default_rng(0)
    scale = np.ones(problem.size)
    scale[18 + 6 * len(problem.shots) :] = 1e3  # lenses are in pixels
    away = scale * rng.normal(0, 3e-4, problem.size)
    state = problem.stepped(start_of(session, problem), away)
    gradient = problem.normal_equations(state)[1][: problem.size]
    for _ in range(4):
        way = scale * rng.normal(0, 1, problem.size)
        h = 1e-7
        forth = problem.cost(problem.stepped(state, h * way))
        back = problem.cost(problem.stepped(state, -h * way))
        assert (forth - back) / (2 * h) == pytest.approx(-2 * gradient @ way, rel=1e-3)


def test_lens_sensitivity_is_that_of_a_changed_lens() -> None:
    """The considered intrinsics move the answer as the covariance says they do."""
    made = scene(3, noise_px=0.0)
    session = made.session
    problem = Bundle(session, session.views)
    exact = problem.solve(start_of(session, problem))
    full, _ = problem.normal_equations(exact)
    change = np.array([0.5, 0.5, 0.0, 0.3])
    at = problem.size + 4  # the second camera's lens
    expected = -np.linalg.solve(
        full[: problem.size, : problem.size], full[: problem.size, at : at + 4] @ change
    )
    lenses = exact.lenses.copy()
    lenses[1] += change
    found = problem.solve(replace(exact, lenses=lenses))
    moved_by = twist_between(found.cameras[1], exact.cameras[1])
    assert np.abs(moved_by - expected[:6]).max() < 0.02 * np.abs(expected[:6]).max()


def test_free_lenses_are_no_less_certain_than_fixed_ones(noisy: Scene) -> None:
    fixed = solve_bundle(noisy.session, fixed_lenses=True).rig.covariance
    free = solve_bundle(noisy.session).rig.covariance
    assert fixed is not None and free is not None
    assert np.all(np.linalg.eigvalsh(free) > 0) and np.trace(free) < np.trace(fixed)
    assert np.all(np.linalg.eigvalsh(lens_prior(noisy.session.cameras[0])) > 0)


def test_wild_corners_and_a_board_that_moved_are_left_out_and_named() -> None:
    made = scene(4)
    session = made.session
    rng = np.random.default_rng(0)
    views = list(session.views)
    wild = next(k for k, v in enumerate(views) if v.camera == "cam2")
    noise = rng.normal(0, 3, views[wild].corners_px.shape)
    views[wild] = replace(views[wild], corners_px=views[wild].corners_px + noise)
    shaken = next(
        k for k, v in enumerate(views) if v.camera == "cam3" and v.shot != views[wild].shot
    )
    views[shaken] = replace(views[shaken], corners_px=views[shaken].corners_px + 12.0)
    found = solve_bundle(replace(session, views=tuple(views)), fixed_lenses=True)
    named = {(camera, shot) for camera, shot, _ in found.rejected}
    assert named == {("cam2", views[wild].shot), ("cam3", views[shaken].shot)}
    assert error_m(made, found.rig) < 5e-4


def test_few_corners_wrong_ids_and_lines_are_rejected_with_the_reason(noisy: Scene) -> None:
    session = noisy.session
    full = [v for v in session.views if len(v.corner_ids) == session.board.corner_count]
    few, other, line, *_ = (v for v in full if v.camera == "cam1")

    def cut(view: BoardView, rows: np.ndarray) -> BoardView:
        return replace(view, corner_ids=view.corner_ids[rows], corners_px=view.corners_px[rows])

    spoilt = {
        id(few): cut(few, np.arange(8)),
        id(other): replace(other, corner_ids=other.corner_ids + 30),
        id(line): cut(line, np.arange(6)),
    }
    found = solve_bundle(replace(session, views=tuple(spoilt.get(id(v), v) for v in session.views)))
    reasons = {(c, s): why for c, s, why in found.rejected}
    assert "8 corners, at least 12" in reasons["cam1", few.shot]
    assert "another board" in reasons["cam1", other.shot]
    assert "at least 12" in reasons["cam1", line.shot]


def test_corners_on_one_line_are_rejected() -> None:
    made = scene(1, board=LARGE)
    session = made.session
    view = next(v for v in session.views if len(v.corner_ids) == session.board.corner_count)
    row = view.corner_ids < session.board.squares_x - 1
    line = replace(view, corner_ids=view.corner_ids[row], corners_px=view.corners_px[row])
    views = tuple(line if v is view else v for v in session.views)
    rejected = solve_bundle(replace(session, views=views)).rejected
    assert rejected == ((view.camera, view.shot, "corners on one line"),)


def test_a_lonely_camera_is_named(noisy: Scene) -> None:
    session = noisy.session
    apart = of_views(session, lambda v: (v.camera == "cam3") == (v.shot >= 10))
    with pytest.raises(CalibrationError, match=r"cam3 shares no usable shot with cam0, cam1, cam2"):
        solve_bundle(apart)
    with pytest.raises(CalibrationError, match="no shot shows the board to all"):
        solve_one_pose(apart)


def test_a_camera_without_views_is_named_with_what_was_wrong_with_them(noisy: Scene) -> None:
    session = noisy.session
    with pytest.raises(CalibrationError, match=r"cam2 shares no usable shot"):
        solve_bundle(of_views(session, lambda v: v.camera != "cam2"))
    short = tuple(
        replace(v, corner_ids=v.corner_ids[:7], corners_px=v.corners_px[:7])
        if v.camera == "cam2"
        else v
        for v in session.views
    )
    with pytest.raises(CalibrationError, match=r"cam2.*7 corners, at least 12"):
        solve_bundle(replace(session, views=short))


def test_a_chain_of_pairs_is_enough(noisy: Scene) -> None:
    """cam0-cam1, cam1-cam2, cam2-cam3: no shot is seen by more than two cameras."""
    chained = of_views(
        noisy.session, lambda v: v.camera in (f"cam{v.shot % 3}", f"cam{v.shot % 3 + 1}")
    )
    assert error_m(noisy, solve_bundle(chained).rig) < 2e-3


def test_intrinsics_of_another_resolution_are_refused(noisy: Scene) -> None:
    session = noisy.session
    camera = session.cameras[2]
    small = camera.intrinsics.scaled(1 / 3)
    mistaken = replace(small, width_px=3840, height_px=2160)
    cameras = (*session.cameras[:2], replace(camera, intrinsics=mistaken), session.cameras[3])
    with pytest.raises(CalibrationError, match=r"cam2.*does not fit an image of 3840x2160"):
        solve_bundle(replace(session, cameras=cameras))


def test_mixed_resolutions_are_refused_by_camera_and_shot(noisy: Scene) -> None:
    """Corners of 4K images with the intrinsics of 720p: they lie outside."""
    session = noisy.session
    camera = session.cameras[1]
    small = replace(camera, intrinsics=camera.intrinsics.scaled(1 / 3))
    cameras = (session.cameras[0], small, *session.cameras[2:])
    with pytest.raises(CalibrationError, match=r"cam1, shot \d+.*outside.*1280x720"):
        solve_bundle(replace(session, cameras=cameras))


def test_the_same_view_twice_is_refused(noisy: Scene) -> None:
    twice = replace(noisy.session, views=(*noisy.session.views, noisy.session.views[5]))
    view = noisy.session.views[5]
    with pytest.raises(CalibrationError, match=f"{view.camera}, shot {view.shot}.*twice"):
        solve_bundle(twice)


def test_no_usable_view_says_why(noisy: Scene) -> None:
    none = tuple(
        replace(v, corner_ids=v.corner_ids[:5], corners_px=v.corners_px[:5])
        for v in noisy.session.views
    )
    with pytest.raises(CalibrationError, match=r"none of .* views .*5 corners, at least 12"):
        solve_bundle(replace(noisy.session, views=none))


def test_progress_can_stop_it(noisy: Scene) -> None:
    with pytest.raises(CancelledError):
        solve_bundle(noisy.session, lambda stage, fraction: False)
    told: list[float] = []

    def listen(stage: str, fraction: float) -> bool:
        told.append(fraction)
        return True

    solve_bundle(noisy.session, listen)
    assert told == sorted(told) and told[-1] == 1.0


def test_a_far_start_finds_the_same_rig(noisy: Scene) -> None:
    problem = Bundle(noisy.session, noisy.session.views)
    state = start_of(noisy.session, problem)
    rng = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = problem.solve(problem.stepped(state, rng.normal(0, 0.01, problem.size)))
    assert np.abs(far.cameras - problem.solve(state).cameras).max() < 1e-5


def test_twists_are_applied_on_the_left() -> None:
    turn = Rotation.from_rotvec([0.0, 0.0, np.pi / 2]).as_matrix()
    pose = moved(np.eye(4), np.array([1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2]))
    assert np.allclose(pose[:3, :3], turn) and np.allclose(pose[:3, 3], [1, 2, 3])


def test_the_boards_own_size_counts_as_uncertain() -> None:
    """A board of another true size within BOARD_SD stays within sigma, however many corners."""
    exact = scene(2, board=LARGE, noise_px=0.0)
    other = scene(2, board=LARGE, noise_px=0.0, printed=1.0 + BOARD_SD)
    found = solve_bundle(other.session).rig
    assert found.covariance is not None
    for k, name in enumerate(other.session.names[1:]):
        twist = twist_between(found.pose(name), exact.reference_from_camera[k + 1])
        block = found.covariance[6 * k : 6 * k + 6, 6 * k : 6 * k + 6]
        assert 0.5 < np.sqrt(twist @ np.linalg.solve(block, twist)) < 1.05
