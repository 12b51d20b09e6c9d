"""Refinement of the rig on depth: the paper's sequential ICP, a pose graph, and ours, all at once.

Sec. C: "ICP on cropped overlapping clouds with one camera fixed as reference and the others
refined in sequence". Depth of real units is biased by millimetres, so that alone makes a good board
calibration worse; ours corrects the bias first, weighs the clouds against the board by honest
sigmas, and is accepted only where points that it has not seen agree better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d
from scipy.spatial import cKDTree
from scipy.stats import chi2

from mvista_calibration.records import (
    CoarseResult,
    DepthBias,
    RefineResult,
    RigEstimate,
    Session,
)
from mvista_calibration.solve.clouds import Cloud, middle_of, scene_clouds
from mvista_calibration.twists import moved, point_jacobian, twist_between
from mvista_core.errors import CalibrationError
from mvista_core.geometry import transform_points
from mvista_core.records import Float64

METHODS = ("joint", "sequential", "pose_graph")
GATES_M = (0.03, 0.015, 0.008)
STEPS_PER_GATE = 6
LEAST_ALIGNED = 0.7
"""Normals of a pair must agree by this cosine: front and back of a thin thing never match."""
LEAST_SIGMA_M = 1.2e-3
PATCH_M = 0.07
"""Depth errors are alike within such a patch (bias, wiggle, normals): it counts once."""
HELD_OUT_GATE_M = 0.03
LEAST_OVERLAP = 0.3
"""Of the points of the pair that overlaps most: a pair with fewer has a median of chance."""
LEAST_OFFSET_SD_M = 5e-4
LEAST_GAIN_M = 3e-4
"""What refinement must win on held-out points. Below, it follows errors that depth shares with the
board (lenses), and in simulation as often moved cameras away from the truth as towards it."""
FREE_SD = 0.1
"""Prior of the fit that looks for a contradiction: none to speak of (m, rad)."""
ALLOWED = float(np.sqrt(chi2.ppf(0.9973, 6)))
"""Mahalanobis distance of six numbers that 99.73 % stay below: 3 sigma."""
LARGEST_CONDITION = 1e6
LEVER_M = 0.5
"""Turns rotations into metres, for the condition number."""
POINTS_PER_PAIR = 1500
STILL = 2e-5
"""A step (m, rad) that ends the fit at one gate."""


def refine(
    session: Session,
    coarse: CoarseResult,
    bias: Sequence[DepthBias],
    method: str = "joint",
) -> RefineResult:
    """A candidate rig from the scene's clouds; see `RefineResult`.

    Raises:
        CalibrationError: no such method, or clouds that cannot be used.
    """
    if method not in METHODS:
        raise CalibrationError(f"no refinement '{method}'; there are {', '.join(METHODS)}")
    if len(session.cameras) < 2:
        raise CalibrationError(
            f"session '{session.name}' has one camera: there are no clouds to bring together"
        )
    clouds = scene_clouds(session, coarse.rig, bias, middle_of(coarse.reference_from_board))
    if method == "joint":
        return _joint(clouds, coarse.rig, bias)
    poses = (
        _sequential(clouds, coarse.rig) if method == "sequential" else _graph(clouds, coarse.rig)
    )
    rig = RigEstimate(coarse.rig.cameras, poses, coarse.rig.covariance, method)
    before, after = _pair_medians(clouds, coarse.rig), _pair_medians(clouds, rig)
    twists = _corrections(rig, coarse.rig)
    return RefineResult(
        rig,
        _mean(before),
        _mean(after),
        twists,
        _distances(twists, coarse.rig.covariance),
        np.nan,
        True,
        "taken as it came: this method has no gate",
        _pairs(clouds, before, after),
    )


def fused_disagreement(rig: RigEstimate, clouds: Sequence[Cloud]) -> float:
    """Systematic distance, m, between the same surface as different cameras see it.

    RMS over patches of `PATCH_M` of the median signed point-to-plane distance: noise of single
    points averages out. Small is necessary, not sufficient: ICP makes it small on wrong depth too.
    """
    squares: list[float] = []
    for match in _matches(clouds, rig, HELD_OUT_GATE_M):
        for patch in np.unique(match.patch):
            chosen = match.patch == patch
            if chosen.sum() >= 5:
                squares.append(float(np.median(match.distance[chosen])) ** 2)
    return float(np.sqrt(np.mean(squares))) if squares else np.nan


@dataclass(frozen=True)
class _Match:
    """Points of camera `a` [N] against planes of camera `b`, in the reference frame."""

    a: int
    b: int
    point: Float64
    plane_point: Float64
    normal: Float64
    ray_a: Float64
    ray_b: Float64
    held_out: np.ndarray[tuple[int], np.dtype[np.bool_]]
    patch: np.ndarray[tuple[int], np.dtype[np.int64]]

    @property
    def distance(self) -> Float64:
        """Signed point-to-plane distance [N], m."""
        return np.asarray(((self.point - self.plane_point) * self.normal).sum(axis=1))


def _matches(clouds: Sequence[Cloud], rig: RigEstimate, gate_m: float) -> list[_Match]:
    """Nearest neighbours of every ordered pair with compatible normals."""
    places = [transform_points(rig.pose(c.camera), c.points) for c in clouds]
    turned = [c.normals @ rig.pose(c.camera)[:3, :3].T for c in clouds]
    rays = [c.rays @ rig.pose(c.camera)[:3, :3].T for c in clouds]
    trees = [cKDTree(place) for place in places]
    found = []
    for a in range(len(clouds)):
        stride = max(len(places[a]) // POINTS_PER_PAIR, 1)
        chosen = np.arange(0, len(places[a]), stride)
        for b in range(len(clouds)):
            if a == b:
                continue
            found_gap, found_near = trees[b].query(places[a][chosen], distance_upper_bound=gate_m)
            gap, near = np.asarray(found_gap), np.asarray(found_near)
            hit = np.isfinite(gap)
            i, j = chosen[hit], near[hit]
            aligned = (turned[a][i] * turned[b][j]).sum(axis=1) > LEAST_ALIGNED
            i, j = i[aligned], j[aligned]
            if len(i) == 0:
                continue
            cells = np.floor(places[a][i] / PATCH_M).astype(np.int64)
            patch = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
            found.append(
                _Match(
                    a, b, places[a][i], places[b][j], turned[b][j], rays[a][i], rays[b][j],
                    (i // stride) % 3 == 0, patch,
                )
            )  # fmt: skip
    return found


def _joint(clouds: tuple[Cloud, ...], rig: RigEstimate, bias: Sequence[DepthBias]) -> RefineResult:
    """All pairs at once, with the board's covariance as prior and offsets as unknowns."""
    if rig.covariance is None:
        raise CalibrationError(
            f"refinement weighs depth against the board: stage '{rig.stage}' gives no covariance"
        )
    known = {entry.camera: entry.offset_sd_m for entry in bias}
    offset_sd = np.array([max(known.get(c.camera, 5e-3), LEAST_OFFSET_SD_M) for c in clouds])
    size = len(rig.covariance)
    free = _fit(clouds, rig, np.eye(size) * FREE_SD**2, offset_sd)
    fitted = _fit(clouds, rig, rig.covariance, offset_sd)
    tension = twist_between_rigs(free.rig, rig)
    both = rig.covariance + free.covariance
    distances = _distances(tension, both)
    joint = float(np.sqrt(tension.ravel() @ np.linalg.solve(both, tension.ravel())))
    before = _pair_medians(clouds, rig, held_out=True)
    after = _pair_medians(clouds, fitted.rig, held_out=True)
    pull, pull_pair = _pull(clouds, before, _pair_medians(clouds, free.rig, held_out=True))
    improved = _mean(before) - _mean(after) > LEAST_GAIN_M
    fits, sound = bool((distances <= ALLOWED).all()), free.condition < LARGEST_CONDITION
    why = _why(
        improved, fits, sound, _mean(before), _mean(after), distances, free.condition, clouds
    )
    return RefineResult(
        fitted.rig,
        _mean(before),
        _mean(after),
        _corrections(fitted.rig, rig),
        distances,
        free.condition,
        improved and fits and sound,
        why,
        _pairs(clouds, before, after),
        pull,
        pull_pair,
        joint,
    )


def _pull(
    clouds: Sequence[Cloud],
    board: dict[tuple[int, int], float],
    alone: dict[tuple[int, int], float],
) -> tuple[float, str]:
    """The pair that depth alone would bring together most, against where the board has it."""
    ratios = {pair: board[pair] / max(alone[pair], 1e-6) for pair in board if pair in alone}
    if not ratios:
        return np.nan, ""
    a, b = max(ratios, key=lambda pair: ratios[pair])
    return ratios[a, b], f"{clouds[a].camera}-{clouds[b].camera}"


@dataclass(frozen=True)
class _Fit:
    rig: RigEstimate
    covariance: Float64
    condition: float


def _fit(clouds: Sequence[Cloud], start: RigEstimate, prior: Float64, offset_sd: Float64) -> _Fit:
    """Gauss-Newton on robust point-to-plane distances; twists of all but the first camera, then
    one depth offset per camera."""
    size, rig = len(prior), start
    certain = np.linalg.inv(prior)
    offsets = np.zeros(len(clouds))
    information = np.zeros((size + len(clouds),) * 2)
    for gate_m in GATES_M:
        for _ in range(STEPS_PER_GATE):
            depth, gradient = _normal_equations(clouds, rig, offsets, gate_m, size)
            information = depth.copy()
            information[:size, :size] += certain
            information[size:, size:] += np.diag(1.0 / offset_sd**2)
            away = twist_between_rigs(rig, start).ravel()
            gradient[:size] -= certain @ away
            gradient[size:] -= offsets / offset_sd**2
            step = np.asarray(np.linalg.solve(information, gradient), dtype=np.float64)
            offsets = offsets + step[size:]
            rig = _stepped(rig, step[:size])
            if np.abs(step[:size]).max() < STILL:
                break
    covariance = np.asarray(np.linalg.inv(information)[:size, :size], dtype=np.float64)
    scale = np.tile(np.repeat([1.0, 1.0 / LEVER_M], 3), size // 6)
    eigenvalues = np.linalg.eigvalsh(depth[:size, :size] * np.outer(scale, scale))
    condition = float(eigenvalues[-1] / max(eigenvalues[0], 1e-12 * eigenvalues[-1], 1e-12))
    final = RigEstimate(rig.cameras, rig.reference_from_camera, covariance, "joint")
    return _Fit(final, covariance, condition)


def _normal_equations(
    clouds: Sequence[Cloud], rig: RigEstimate, offsets: Float64, gate_m: float, size: int
) -> tuple[Float64, Float64]:
    """J^T W J and -J^T W r over (twists, offsets); each patch of a pair counts as one point."""
    total = size + len(clouds)
    information, gradient = np.zeros((total, total)), np.zeros(total)
    for match in _matches(clouds, rig, max(GATES_M)):
        fit = ~match.held_out
        along_a = (match.ray_a * match.normal).sum(axis=1)
        along_b = (match.ray_b * match.normal).sum(axis=1)
        residual = match.distance - along_a * offsets[match.a] + along_b * offsets[match.b]
        near = fit & (np.abs(residual) < gate_m)
        if near.sum() < 20:
            continue
        r = residual[near]
        sigma = max(1.4826 * float(np.median(np.abs(r))), LEAST_SIGMA_M)
        tukey = (1.0 - (r / gate_m) ** 2) ** 2
        patches = len(np.unique(match.patch[near]))
        weight = tukey / sigma**2 * (patches / tukey.sum())
        jacobian = np.zeros((len(r), total))
        normal = match.normal[near]
        for camera, place, sign in (
            (match.a, match.point, 1.0),
            (match.b, match.plane_point, -1.0),
        ):
            if camera > 0:
                at = 6 * (camera - 1)
                moves = np.einsum("ni,nij->nj", normal, point_jacobian(place[near]))
                jacobian[:, at : at + 6] += sign * moves
        jacobian[:, size + match.a] -= along_a[near]
        jacobian[:, size + match.b] += along_b[near]
        # Each surface is met twice, from a to b and from b to a: half the weight for either.
        information += 0.5 * jacobian.T @ (weight[:, None] * jacobian)
        gradient -= 0.5 * jacobian.T @ (weight * r)
    return information, gradient


def _stepped(rig: RigEstimate, step: Float64) -> RigEstimate:
    poses = rig.reference_from_camera.copy()
    for k in range(1, len(poses)):
        poses[k] = moved(poses[k], step[6 * (k - 1) : 6 * k])
    return RigEstimate(rig.cameras, poses, rig.covariance, rig.stage)


def twist_between_rigs(after: RigEstimate, before: RigEstimate) -> Float64:
    """Twists [C - 1, 6] of all cameras but the reference."""
    return np.stack(
        [
            twist_between(a, b)
            for a, b in zip(
                after.reference_from_camera[1:], before.reference_from_camera[1:], strict=True
            )
        ]
    )


_corrections = twist_between_rigs


def _distances(twists: Float64, covariance: Float64 | None) -> Float64:
    """Mahalanobis distance [C - 1] of each camera's twist; NaN without a covariance."""
    if covariance is None:
        return np.full(len(twists), np.nan)
    blocks = [covariance[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] for k in range(len(twists))]
    return np.array(
        [np.sqrt(t @ np.linalg.solve(block, t)) for t, block in zip(twists, blocks, strict=True)]
    )


def _pair_medians(
    clouds: Sequence[Cloud], rig: RigEstimate, held_out: bool = False
) -> dict[tuple[int, int], float]:
    """Median absolute point-to-plane distance, m, of every pair that overlaps enough to say."""
    gathered: dict[tuple[int, int], list[Float64]] = {}
    for match in _matches(clouds, rig, HELD_OUT_GATE_M):
        distance = np.abs(match.distance[match.held_out] if held_out else match.distance)
        gathered.setdefault((min(match.a, match.b), max(match.a, match.b)), []).append(distance)
    joined = {pair: np.concatenate(parts) for pair, parts in gathered.items()}
    most = max((len(distances) for distances in joined.values()), default=0)
    return {
        pair: float(np.median(distances))
        for pair, distances in joined.items()
        if len(distances) >= LEAST_OVERLAP * most
    }


def _mean(medians: dict[tuple[int, int], float]) -> float:
    return float(np.mean(list(medians.values()))) if medians else np.nan


def _pairs(
    clouds: Sequence[Cloud],
    before: dict[tuple[int, int], float],
    after: dict[tuple[int, int], float],
) -> tuple[tuple[str, str, float, float], ...]:
    return tuple(
        (clouds[a].camera, clouds[b].camera, before[a, b], after.get((a, b), np.nan))
        for a, b in sorted(before)
    )


def _why(
    improved: bool,
    fits: bool,
    sound: bool,
    before: float,
    after: float,
    distances: Float64,
    condition: float,
    clouds: Sequence[Cloud],
) -> str:
    if not sound:
        return (
            f"refused: the overlap does not hold all directions (condition {condition:.1e}, at "
            f"most {LARGEST_CONDITION:.0e}); put objects of several shapes on the table"
        )
    if not fits:
        worst = int(np.argmax(distances))
        return (
            f"refused: depth contradicts the board for {clouds[worst + 1].camera} by "
            f"{distances[worst]:.1f} sigma, at most {ALLOWED:.1f}; has it moved between the two?"
        )
    change = f"held-out points: median {before * 1e3:.2f} -> {after * 1e3:.2f} mm"
    return (
        f"accepted: {change}"
        if improved
        else f"refused: less than {LEAST_GAIN_M * 1e3:g} mm won on {change}"
    )


def _cloud(points: Float64, normals: Float64) -> open3d.geometry.PointCloud:
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.normals = open3d.utility.Vector3dVector(normals)
    return cloud


def _icp(
    source: open3d.geometry.PointCloud, target: open3d.geometry.PointCloud, start: Float64
) -> Float64:
    """Point-to-plane ICP from coarse to fine."""
    registration = open3d.pipelines.registration
    pose = start
    for gate_m in GATES_M:
        estimation = registration.TransformationEstimationPointToPlane(
            registration.TukeyLoss(k=gate_m)
        )
        pose = registration.registration_icp(
            source, target, gate_m, pose, estimation
        ).transformation
    return np.asarray(pose)


def _sequential(clouds: Sequence[Cloud], rig: RigEstimate) -> Float64:
    """The paper: the reference fixed, each other camera onto what is already in place."""
    poses = rig.reference_from_camera.copy()
    merged = _cloud(clouds[0].points, clouds[0].normals)
    for k in range(1, len(clouds)):
        source = _cloud(clouds[k].points, clouds[k].normals)
        poses[k] = _rigid(_icp(source, merged, poses[k]))
        merged += _cloud(clouds[k].points, clouds[k].normals).transform(poses[k])
    return np.asarray(poses)


def _graph(clouds: Sequence[Cloud], rig: RigEstimate) -> Float64:
    """Pairwise ICP and Open3D's global optimisation."""
    registration = open3d.pipelines.registration
    parts = [_cloud(c.points, c.normals) for c in clouds]
    poses = rig.reference_from_camera
    graph = registration.PoseGraph()
    for pose in poses:
        graph.nodes.append(registration.PoseGraphNode(pose))
    for a in range(len(parts)):
        for b in range(a + 1, len(parts)):
            b_from_a = _icp(parts[a], parts[b], np.linalg.inv(poses[b]) @ poses[a])
            information = registration.get_information_matrix_from_point_clouds(
                parts[a], parts[b], GATES_M[-1], b_from_a
            )
            graph.edges.append(
                registration.PoseGraphEdge(a, b, b_from_a, information, uncertain=b - a > 1)
            )
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        registration.global_optimization(
            graph,
            registration.GlobalOptimizationLevenbergMarquardt(),
            registration.GlobalOptimizationConvergenceCriteria(),
            registration.GlobalOptimizationOption(
                max_correspondence_distance=GATES_M[-1], reference_node=0
            ),
        )
    first = np.linalg.inv(np.asarray(graph.nodes[0].pose))
    return np.stack([_rigid(first @ np.asarray(node.pose)) for node in graph.nodes])


def _rigid(pose: Float64) -> Float64:
    """The nearest pose: ICP's products drift off SE(3) in the last digits."""
    u, _, vt = np.linalg.svd(pose[:3, :3])
    fixed = np.eye(4)
    fixed[:3, :3], fixed[:3, 3] = u @ vt, pose[:3, 3]
    return fixed
