"""Where the cameras stand to each other, from the board: one pose (the paper), or all at once.

The paper shows the board once and solves every camera by itself. The bundle adjustment takes all
shots: board poses, camera poses and, held by what a factory's values are trusted to, the lenses.
Wrong lenses are the largest error there is (2 mm at 1 m for 0.1 % and 2 px); 15 shots see through
half of it. With `fixed_lenses` they stay, and sigma counts them as uncertain all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from mvista_calibration.board.pose import view_pose
from mvista_calibration.records import (
    LEAST_CORNERS,
    Board,
    BoardView,
    CoarseResult,
    RigEstimate,
    Session,
    SessionCamera,
)
from mvista_calibration.solve.bundle import (
    Bundle,
    BundleState,
    reported_lenses,
    with_lens,
)
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.geometry import invert, pose_from
from mvista_core.ports import Progress
from mvista_core.records import Float64

LEAST_WIDTH = 0.05
"""Of the corners' spread, the smaller side over the larger: below, they lie on a line."""
LARGEST_VIEW_RMS_PX = 1.0
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
    state = BundleState(cameras, boards, reported_lenses(session.cameras))
    residuals = tuple(Bundle(session, views).residuals(state))
    return CoarseResult(rig, (best,), boards, views, residuals, rejected)


def solve_bundle(
    session: Session, progress: Progress | None = None, fixed_lenses: bool = False
) -> CoarseResult:
    """Joint bundle adjustment of all shots, Huber loss, views above `LARGEST_VIEW_RMS_PX` left out.

    A shot needs not be seen by all cameras, but every camera must be linked to the reference by
    shots that it shares. The result's `cameras` have the lenses that the poses go with: take them
    for all that follows.

    Raises:
        CalibrationError: bad intrinsics or views, or a camera that is not linked.
        CancelledError: `progress` returned False.
    """
    report = progress or (lambda stage, fraction: True)
    poses, rejected = _view_poses(session)
    _go_on(report("board", 0.3))
    views = [view for view in session.views if (view.camera, view.shot) in poses]
    problem = Bundle(session, _linked(session, views, rejected))
    state = problem.solve(_start(session, problem, poses))
    _go_on(report("board", 0.6))
    # One view of a shot at a time: a bad one drags its shot's board away, and its neighbours look
    # bad.
    while dropped := _contradicting(session, problem, state):
        rejected = (*rejected, *((view.camera, view.shot, why) for view, why in dropped))
        gone = {id(view) for view, _ in dropped}
        keep = [view for view in problem.views if id(view) not in gone]
        had, problem = problem, Bundle(session, _linked(session, keep, rejected))
        state = problem.solve(state.only([had.shots.index(shot) for shot in problem.shots]))
    if not fixed_lenses:
        # Lenses last: how much their prior weighs against corners depends on the corners' noise,
        # known now.
        problem = Bundle(session, problem.views, problem.sigma_px(state))
        state = problem.solve(state)
    _go_on(report("board", 1.0))
    return CoarseResult(
        RigEstimate(session.names, state.cameras, problem.covariance(state), "bundle"),
        tuple(problem.shots),
        state.boards,
        tuple(problem.views),
        tuple(problem.residuals(state)),
        rejected,
        tuple(with_lens(c, lens) for c, lens in zip(session.cameras, state.lenses, strict=True)),
    )


def _go_on(wanted: bool) -> None:
    if not wanted:
        raise CancelledError("calibration was cancelled while solving the board's shots")


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


def _start(session: Session, problem: Bundle, poses: dict[tuple[str, int], Float64]) -> BundleState:
    """Cameras along a tree of most shared shots, by medians; boards where all views fit best."""
    views = problem.views
    shots = {name: {v.shot for v in views if v.camera == name} for name in session.names}
    known: dict[str, Float64] = {session.reference: np.eye(4)}
    while len(known) < len(session.names):
        links = [
            (len(shots[a] & shots[b]), a, b) for a in known for b in session.names if b not in known
        ]
        _, a, b = max(links)
        # From many shots: in a single one a plane's pose may have flipped (two minima of PnP).
        steps = [poses[a, shot] @ invert(poses[b, shot]) for shot in sorted(shots[a] & shots[b])]
        known[b] = known[a] @ _middle(np.stack(steps))
    cameras = np.stack([known[name] for name in session.names])
    state = BundleState(cameras, np.zeros((0, 4, 4)), reported_lenses(session.cameras))
    boards = []
    for shot in problem.shots:
        seen = [view for view in views if view.shot == shot]
        alone = Bundle(session, seen)
        tried = [
            replace(state, boards=(known[v.camera] @ poses[v.camera, shot])[None]) for v in seen
        ]
        # PnP's two minima again: the pose that all cameras of the shot can explain is the right
        # one.
        boards.append(min(tried, key=alone.cost).boards[0])
    return replace(state, boards=np.stack(boards))


def _middle(poses: Float64) -> Float64:
    """Median translation; mean of the rotations nearest to the first's median half."""
    shift = np.median(poses[:, :3, 3], axis=0)
    near = np.argsort(np.linalg.norm(poses[:, :3, 3] - shift, axis=1))[: (len(poses) + 1) // 2]
    return pose_from(Rotation.from_matrix(poses[near, :3, :3]).mean().as_matrix(), shift)


def _contradicting(
    session: Session, problem: Bundle, state: BundleState
) -> list[tuple[BoardView, str]]:
    """One view of each shot that has one above the limit, and why it goes.

    It is the view without which the shot's others agree best, cameras held: it may have pulled
    them farther from where they belong than it is itself.
    """
    sizes = [float(np.sqrt((r**2).sum(axis=1).mean())) for r in problem.residuals(state)]
    found = []
    for row, shot in enumerate(problem.shots):
        seen = [
            (s, view) for s, view in zip(sizes, problem.views, strict=True) if view.shot == shot
        ]
        size, worst = max(seen, key=lambda pair: pair[0])
        if size <= LARGEST_VIEW_RMS_PX:
            continue
        if len(seen) > 2:
            views = [view for _, view in seen]
            worst = min(views, key=lambda v: _cost_without(v, views, session, state.only([row])))
        why = f"its shot has {size:.2f} px RMS with it, at most {LARGEST_VIEW_RMS_PX:g}"
        found.append((worst, why))
    return found


def _cost_without(
    left_out: BoardView, views: Sequence[BoardView], session: Session, state: BundleState
) -> float:
    """Cost of a shot's other views with the board where they want it, cameras held."""
    alone = Bundle(session, [v for v in views if v is not left_out], fixed_cameras=True)
    return alone.cost(alone.solve(state))
