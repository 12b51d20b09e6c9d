"""Where the cameras stand to each other, from the board: one pose (the paper), or all at once.

The paper shows the board once and solves every camera by itself. The bundle adjustment takes all
shots: board poses and camera poses together, robustly, intrinsics fixed. Its covariance counts the
intrinsics as known to a factory's accuracy only, so that sigma stays honest although K is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mvista_calibration.records import (
    Board,
    BoardView,
    CoarseResult,
    RigEstimate,
    Session,
    SessionCamera,
)
from mvista_calibration.twists import moved, point_jacobian
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.geometry import invert, pose_from, transform_points
from mvista_core.ports import Progress
from mvista_core.records import Float64

LEAST_CORNERS = 12
LEAST_WIDTH = 0.05
"""Of the corners' spread, the smaller side over the larger: below, they lie on a line."""
LARGEST_VIEW_RMS_PX = 1.0
HUBER_PX = 1.0
LEAST_SIGMA_PX = 0.02
FOCAL_SD, ASPECT_SD, CENTRE_SD = 1e-3, 2e-4, 2.0 / 3840.0
"""What fixed intrinsics are trusted to: fraction of f, of fx against fy, centre per image width."""
STEPS = 30
STILL = 1e-9
LARGEST_DECENTRING = 0.15


def solve_one_pose(session: Session) -> CoarseResult:
    """The paper's coarse stage: the one shot that most cameras see best, each camera by itself.

    Raises:
        CalibrationError: no shot is seen by every camera, or a view cannot be solved.
    """
    poses, rejected = _view_poses(session)
    best, most = -1, -1
    for shot in session.shots:
        seen = [
            view for view in session.views if view.shot == shot and (view.camera, shot) in poses
        ]
        if len(seen) == len(session.cameras) and (n := sum(len(v.corner_ids) for v in seen)) > most:
            best, most = shot, n
    if best < 0:
        raise CalibrationError(
            f"session '{session.name}': no shot shows the board to all of {list(session.names)}; "
            "one pose for all needs one, the bundle adjustment does not"
        )
    reference_from_board = poses[session.reference, best]
    cameras = np.stack([reference_from_board @ invert(poses[name, best]) for name in session.names])
    views = tuple(view for view in session.views if view.shot == best)
    rig = RigEstimate(session.names, cameras, None, "one_pose")
    boards = reference_from_board[None]
    residuals = tuple(
        _residual(view, session, cameras[session.names.index(view.camera)], boards[0])
        for view in views
    )
    return CoarseResult(rig, (best,), boards, views, residuals, rejected)


def solve_bundle(session: Session, progress: Progress | None = None) -> CoarseResult:
    """Joint bundle adjustment of all shots, Huber loss, views above `LARGEST_VIEW_RMS_PX` left out.

    A shot needs not be seen by all cameras, but every camera must be linked to the reference by
    shots that it shares.

    Raises:
        CalibrationError: bad intrinsics or views, or a camera that is not linked.
        CancelledError: `progress` returned False.
    """
    report = progress or (lambda stage, fraction: True)
    poses, rejected = _view_poses(session)
    _go_on(report("board", 0.3))
    views = [view for view in session.views if (view.camera, view.shot) in poses]
    problem = _Problem(session, _linked(session, views, rejected))
    state = problem.solve(_start(session, problem.views, poses))
    _go_on(report("board", 0.8))
    while dropped := _worst_views(problem.views, problem.residuals(state)):
        rejected = (*rejected, *((view.camera, view.shot, why) for view, why in dropped))
        gone = {id(view) for view, _ in dropped}
        keep = [view for view in problem.views if id(view) not in gone]
        again = _Problem(session, _linked(session, keep, rejected))
        state = again.solve(state.only(problem.shots, again.shots))
        problem = again
    _go_on(report("board", 1.0))
    rig = RigEstimate(session.names, state.cameras, problem.covariance(state), "bundle")
    return CoarseResult(
        rig,
        tuple(problem.shots),
        state.boards,
        tuple(problem.views),
        tuple(problem.residuals(state)),
        rejected,
    )


def _go_on(wanted: bool) -> None:
    if not wanted:
        raise CancelledError("calibration was cancelled while solving the board's shots")


def view_pose(view: BoardView, camera: SessionCamera, board: Board) -> tuple[Float64, float]:
    """`camera_from_board` [4, 4] of one view by PnP, and its RMS in pixels."""
    points = board.corners_m[view.corner_ids]
    lens = _distortion(camera)
    matrix = camera.intrinsics.matrix
    pixels = view.corners_px.reshape(-1, 1, 2)
    count, turns, shifts, _ = cv2.solvePnPGeneric(
        points, pixels, matrix, lens, flags=cv2.SOLVEPNP_IPPE
    )
    best: tuple[Float64, float] | None = None
    for k in range(count):
        turn, shift = cv2.solvePnPRefineLM(points, pixels, matrix, lens, turns[k], shifts[k])
        pose = pose_from(cv2.Rodrigues(turn)[0], shift.reshape(3))
        residual = _project(transform_points(pose, points), camera)[0] - view.corners_px
        rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
        if pose[2, 3] > 0 and (best is None or rms < best[1]):
            best = pose, rms
    if best is None:
        raise CalibrationError(
            f"{view.camera}, shot {view.shot} {view.source}: no pose of the board fits its "
            f"{len(points)} corners; leave this view out"
        )
    return best


def _view_poses(
    session: Session,
) -> tuple[dict[tuple[str, int], Float64], tuple[tuple[str, int, str], ...]]:
    """`camera_from_board` of every usable view, and the others with the reason."""
    for camera in session.cameras:
        _check_lens(camera)
    _check_views(session)
    poses: dict[tuple[str, int], Float64] = {}
    rejected: list[tuple[str, int, str]] = []
    for view in session.views:
        why = _unusable(view, session.board)
        if not why:
            pose, rms = view_pose(view, session.camera(view.camera), session.board)
            if pose[:3, 2] @ pose[:3, 3] <= 0.0:
                why = "the board seems to be seen from behind: is the image mirrored?"
            elif rms > LARGEST_VIEW_RMS_PX:
                why = f"RMS {rms:.2f} px by itself, at most {LARGEST_VIEW_RMS_PX:g}"
        if why:
            rejected.append((view.camera, view.shot, why))
        else:
            poses[view.camera, view.shot] = pose
    if not poses:
        said = "; ".join(f"{c}, shot {s}: {w}" for c, s, w in rejected[:3])
        raise CalibrationError(
            f"session '{session.name}': none of {len(session.views)} views can be used: {said}"
        )
    return poses, tuple(rejected)


def _unusable(view: BoardView, board: Board) -> str:
    if len(view.corner_ids) < LEAST_CORNERS:
        return f"{len(view.corner_ids)} corners, at least {LEAST_CORNERS}"
    if view.corner_ids.max() >= board.corner_count:
        return (
            f"corner id {view.corner_ids.max()} on a board with {board.corner_count} corners: "
            "another board than the session's"
        )
    points = board.corners_m[view.corner_ids][:, :2]
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return "corners on one line" if spread[1] < LEAST_WIDTH * spread[0] else ""


def _check_lens(camera: SessionCamera) -> None:
    k = camera.intrinsics
    for value, size, name in ((k.cx_px, k.width_px, "cx"), (k.cy_px, k.height_px, "cy")):
        if abs(value - size / 2) > LARGEST_DECENTRING * size:
            raise CalibrationError(
                f"{camera.name}: {name} {value:.1f} px does not fit an image of "
                f"{k.width_px}x{k.height_px}; give the intrinsics of this resolution"
            )


def _check_views(session: Session) -> None:
    """One view per camera and shot, its corners inside the image that the intrinsics are for."""
    met: set[tuple[str, int]] = set()
    for view in session.views:
        where = f"{view.camera}, shot {view.shot} {view.source}".rstrip()
        if (view.camera, view.shot) in met:
            raise CalibrationError(f"{where}: given twice; a camera sees a shot once, keep one")
        met.add((view.camera, view.shot))
        k = session.camera(view.camera).intrinsics
        inside = (view.corners_px > -1.0) & (view.corners_px < [k.width_px, k.height_px])
        if not inside.all():  # NaN too
            worst = view.corners_px[np.argmin(inside.all(axis=1))]
            raise CalibrationError(
                f"{where}: a corner at ({worst[0]:.0f}, {worst[1]:.0f}) px lies outside the image "
                f"of {k.width_px}x{k.height_px} that the intrinsics are for; images and "
                "intrinsics must have one resolution per camera"
            )


def _linked(
    session: Session,
    views: Sequence[BoardView],
    rejected: Sequence[tuple[str, int, str]],
) -> list[BoardView]:
    """The views, once every camera is linked to the reference by shared shots."""
    shots = {name: {v.shot for v in views if v.camera == name} for name in session.names}
    reached, waiting = {session.reference}, [session.reference]
    while waiting:
        here = waiting.pop()
        for name in session.names:
            if name not in reached and shots[here] & shots[name]:
                reached.add(name)
                waiting.append(name)
    lonely = [name for name in session.names if name not in reached]
    if lonely:
        counts = ", ".join(f"{name} {len(shots[name])}" for name in session.names)
        said = "; ".join(f"{c}, shot {s}: {w}" for c, s, w in rejected if c in lonely)
        raise CalibrationError(
            f"{', '.join(lonely)} shares no usable shot with {', '.join(sorted(reached))} (usable "
            f"shots: {counts}); show the board where both see it"
            + (f". Rejected: {said[:300]}" if said else "")
        )
    return list(views)


@dataclass(frozen=True)
class _State:
    """`cameras` [C, 4, 4] and `boards` [S, 4, 4] in the reference frame."""

    cameras: Float64
    boards: Float64

    def only(self, had: Sequence[int], wanted: Sequence[int]) -> _State:
        return _State(self.cameras, self.boards[[list(had).index(shot) for shot in wanted]])

    def stepped(self, step: Float64) -> _State:
        twists = step.reshape(-1, 6)
        count = len(self.cameras) - 1
        cameras = [
            moved(pose, twist) for pose, twist in zip(self.cameras[1:], twists, strict=False)
        ]
        boards = [moved(p, twist) for p, twist in zip(self.boards, twists[count:], strict=True)]
        return _State(np.stack([self.cameras[0], *cameras]), np.stack(boards))


def _start(
    session: Session, views: Sequence[BoardView], poses: dict[tuple[str, int], Float64]
) -> _State:
    """Cameras along a tree of most shared shots, by medians; boards from their fullest view."""
    shots = {name: {v.shot for v in views if v.camera == name} for name in session.names}
    known: dict[str, Float64] = {session.reference: np.eye(4)}
    while len(known) < len(session.names):
        links = [
            (len(shots[a] & shots[b]), a, b) for a in known for b in session.names if b not in known
        ]
        _, a, b = max(links)
        steps = [poses[a, shot] @ invert(poses[b, shot]) for shot in sorted(shots[a] & shots[b])]
        known[b] = known[a] @ _middle(np.stack(steps))
    boards = []
    for shot in sorted({view.shot for view in views}):
        fullest = max((v for v in views if v.shot == shot), key=lambda v: len(v.corner_ids))
        boards.append(known[fullest.camera] @ poses[fullest.camera, shot])
    return _State(np.stack([known[name] for name in session.names]), np.stack(boards))


def _middle(poses: Float64) -> Float64:
    """Median translation; mean of the rotations nearest to the first's median half."""
    shift = np.median(poses[:, :3, 3], axis=0)
    near = np.argsort(np.linalg.norm(poses[:, :3, 3] - shift, axis=1))[: (len(poses) + 1) // 2]
    return pose_from(Rotation.from_matrix(poses[near, :3, :3]).mean().as_matrix(), shift)


class _Problem:
    """Views of one session as least squares over camera and board twists."""

    def __init__(self, session: Session, views: Sequence[BoardView]) -> None:
        self.views = list(views)
        self.shots = sorted({view.shot for view in views})
        self._session = session
        self._points = session.board.corners_m
        self._free = 6 * (len(session.names) - 1)
        self.size = self._free + 6 * len(self.shots)
        self._at = [
            (session.names.index(view.camera), self.shots.index(view.shot)) for view in views
        ]

    def residuals(self, state: _State) -> list[Float64]:
        """Pixels [N, 2] per view."""
        return [
            _residual(view, self._session, state.cameras[c], state.boards[s])
            for view, (c, s) in zip(self.views, self._at, strict=True)
        ]

    def solve(self, state: _State) -> _State:
        """Levenberg-Marquardt with Huber weights."""
        damping, cost = 1e-3, self._cost(state)
        for _ in range(STEPS):
            information, gradient, _ = self._normal_equations(state)
            while True:
                damped = information + damping * np.diag(np.diag(information))
                step = np.asarray(np.linalg.solve(damped, gradient), dtype=np.float64)
                trial = state.stepped(step)
                lower = self._cost(trial)
                if lower <= cost or damping > 1e8:
                    break
                damping *= 10.0
            done = cost - lower <= STILL * max(cost, 1e-12)
            state, cost, damping = trial, lower, max(damping / 10.0, 1e-9)
            if done:
                break
        return state

    def covariance(self, state: _State) -> Float64:
        """Of the cameras' twists [6 (C - 1), 6 (C - 1)]: corner noise, and trusted intrinsics."""
        information, _, lens = self._normal_equations(state)
        squares = np.concatenate([(r**2).sum(axis=1) for r in self.residuals(state)])
        freedom = max(2 * len(squares) - self.size, 1)
        # Outliers have no say in how noisy a corner is.
        capped = np.minimum(squares, HUBER_PX**2)
        sigma2 = max(float(capped.sum()) / freedom, LEAST_SIGMA_PX**2)
        inverse = np.linalg.inv(information)[: self._free]
        covariance = sigma2 * inverse[:, : self._free]
        for camera, cross in zip(self._session.cameras, lens, strict=True):
            sensitivity = inverse @ cross
            covariance = covariance + sensitivity @ _lens_prior(camera) @ sensitivity.T
        return np.asarray(covariance)

    def _cost(self, state: _State) -> float:
        total = 0.0
        for residual in self.residuals(state):
            size = np.sqrt((residual**2).sum(axis=1))
            total += float(
                np.where(size < HUBER_PX, size**2, HUBER_PX * (2 * size - HUBER_PX)).sum()
            )
        return total

    def _normal_equations(self, state: _State) -> tuple[Float64, Float64, list[Float64]]:
        """J^T W J, -J^T W r, and J^T W J_k per camera for its fx, fy, cx, cy."""
        information, gradient = np.zeros((self.size, self.size)), np.zeros(self.size)
        lens = [np.zeros((self.size, 4)) for _ in self._session.cameras]
        for view, (c, s) in zip(self.views, self._at, strict=True):
            reference = transform_points(state.boards[s], self._points[view.corner_ids])
            seen = transform_points(invert(state.cameras[c]), reference)
            pixels, by_point, by_lens = _project(seen, self._session.cameras[c])
            residual = pixels - view.corners_px
            size = np.sqrt((residual**2).sum(axis=1))
            weight = np.minimum(1.0, HUBER_PX / np.maximum(size, 1e-12))[:, None, None]
            turn = state.cameras[c][:3, :3].T
            by_board = by_point @ (turn @ point_jacobian(reference))
            columns = [self._free + 6 * s + k for k in range(6)]
            jacobian = by_board
            if c > 0:
                columns = [*(6 * (c - 1) + k for k in range(6)), *columns]
                jacobian = np.concatenate([-by_board, by_board], axis=2)
            flat = (weight * jacobian).reshape(-1, len(columns))
            rows = np.ix_(columns, columns)
            information[rows] += flat.T @ jacobian.reshape(-1, len(columns))
            gradient[columns] -= flat.T @ residual.ravel()
            lens[c][columns] += flat.T @ by_lens.reshape(-1, 4)
        return information, gradient, lens


def _project(points: Float64, camera: SessionCamera) -> tuple[Float64, Float64, Float64]:
    """Pixels [N, 2] of points in the optical frame, and their derivatives by the point [N, 2, 3]
    and by fx, fy, cx, cy [N, 2, 4]."""
    pixels, jacobian = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), camera.intrinsics.matrix, _distortion(camera)
    )
    by_all = jacobian.reshape(len(points), 2, -1)
    return pixels.reshape(-1, 2), by_all[:, :, 3:6], by_all[:, :, 6:10]


def _residual(
    view: BoardView, session: Session, reference_from_camera: Float64, board: Float64
) -> Float64:
    points = transform_points(board, session.board.corners_m[view.corner_ids])
    seen = transform_points(invert(reference_from_camera), points)
    return np.asarray(_project(seen, session.camera(view.camera))[0] - view.corners_px)


def _distortion(camera: SessionCamera) -> Float64:
    return np.array(camera.intrinsics.distortion or (0.0,) * 5)


def _lens_prior(camera: SessionCamera) -> Float64:
    k = camera.intrinsics
    common = np.array([k.fx_px, k.fy_px, 0.0, 0.0]) * FOCAL_SD
    apart = np.array([k.fx_px, -k.fy_px, 0.0, 0.0]) * ASPECT_SD
    centre = np.diag([0.0, 0.0, 1.0, 1.0]) * (CENTRE_SD * k.width_px) ** 2
    return np.outer(common, common) + np.outer(apart, apart) + centre


def _worst_views(
    views: Sequence[BoardView], residuals: Sequence[Float64]
) -> list[tuple[BoardView, str]]:
    """Of each shot the view that fits worst, where it is above the limit, and why it goes.

    Only one: it may have pulled the shot's other views away from where they belong.
    """
    worst: dict[int, tuple[float, BoardView]] = {}
    for view, residual in zip(views, residuals, strict=True):
        rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
        if rms > max(LARGEST_VIEW_RMS_PX, worst[view.shot][0] if view.shot in worst else 0.0):
            worst[view.shot] = rms, view
    limit = f"at most {LARGEST_VIEW_RMS_PX:g}"
    return [(view, f"RMS {rms:.2f} px with all others, {limit}") for rms, view in worst.values()]
