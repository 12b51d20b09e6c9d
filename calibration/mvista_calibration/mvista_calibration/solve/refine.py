"""Refinement of the rig on depth: the paper's sequential ICP, and ours, all cameras at once.

Sec. C: "ICP on cropped overlapping clouds with one camera fixed as reference and the others
refined in sequence". Depth of real units is biased by millimetres, so that alone makes a good board
calibration worse; ours corrects the bias first, weighs the clouds against the board by honest
sigmas, and is accepted only where points that it has not seen agree better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2

from mvista_calibration.records import (
    CoarseResult,
    DepthBias,
    RefineResult,
    RigEstimate,
    Session,
)
from mvista_calibration.solve.clouds import SceneCloud, middle_of, scene_clouds
from mvista_calibration.solve.icp import in_sequence
from mvista_calibration.solve.joint_fit import fit_jointly, twist_between_rigs
from mvista_calibration.solve.overlap import pair_medians
from mvista_core.errors import CalibrationError
from mvista_core.records import Float64

METHODS = ("joint", "sequential")
LEAST_OFFSET_SD_M = 5e-4
LEAST_GAIN_M = 3e-4
"""What refinement must win on held-out points. Below, it follows errors that depth shares with the
board (lenses), and in simulation as often moved cameras away from the truth as towards it."""
FREE_SD = 0.1
"""Prior of the fit that looks for a contradiction: none to speak of (m, rad)."""
ALLOWED = float(np.sqrt(chi2.ppf(0.9973, 6)))
"""Mahalanobis distance of six numbers that 99.73 % stay below: 3 sigma."""
LARGEST_CONDITION = 1e6


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
    poses = in_sequence(clouds, coarse.rig)
    rig = RigEstimate(coarse.rig.cameras, poses, coarse.rig.covariance, method)
    before, after = pair_medians(clouds, coarse.rig), pair_medians(clouds, rig)
    twists = twist_between_rigs(rig, coarse.rig)
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


def _joint(
    clouds: tuple[SceneCloud, ...], rig: RigEstimate, bias: Sequence[DepthBias]
) -> RefineResult:
    """All pairs at once, with the board's covariance as prior and offsets as unknowns."""
    if rig.covariance is None:
        raise CalibrationError(
            f"refinement weighs depth against the board: stage '{rig.stage}' gives no covariance"
        )
    known = {entry.camera: entry.offset_sd_m for entry in bias}
    offset_sd = np.array([max(known.get(c.camera, 5e-3), LEAST_OFFSET_SD_M) for c in clouds])
    size = len(rig.covariance)
    # Twice: free says where depth alone would have the cameras, fitted is the candidate.
    free = fit_jointly(clouds, rig, np.eye(size) * FREE_SD**2, offset_sd)
    fitted = fit_jointly(clouds, rig, rig.covariance, offset_sd)
    tension = twist_between_rigs(free.rig, rig)
    # Of a difference of two independent estimates: d^T (P_board + P_depth)^-1 d is chi^2 of 6 each.
    both = rig.covariance + free.covariance
    distances = _distances(tension, both)
    joint = float(np.sqrt(tension.ravel() @ np.linalg.solve(both, tension.ravel())))
    before = pair_medians(clouds, rig, held_out=True)
    after = pair_medians(clouds, fitted.rig, held_out=True)
    pull, pull_pair = _pull(clouds, before, pair_medians(clouds, free.rig, held_out=True))
    improved = _mean(before) - _mean(after) > LEAST_GAIN_M
    fits, sound = bool((distances <= ALLOWED).all()), free.condition < LARGEST_CONDITION
    why = _why(
        improved, fits, sound, _mean(before), _mean(after), distances, free.condition, clouds
    )
    return RefineResult(
        fitted.rig,
        _mean(before),
        _mean(after),
        twist_between_rigs(fitted.rig, rig),
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
    clouds: Sequence[SceneCloud],
    board: dict[tuple[int, int], float],
    alone: dict[tuple[int, int], float],
) -> tuple[float, str]:
    """The pair that depth alone would bring together most, against where the board has it."""
    ratios = {pair: board[pair] / max(alone[pair], 1e-6) for pair in board if pair in alone}
    if not ratios:
        return np.nan, ""
    a, b = max(ratios, key=lambda pair: ratios[pair])
    return ratios[a, b], f"{clouds[a].camera}-{clouds[b].camera}"


def _distances(twists: Float64, covariance: Float64 | None) -> Float64:
    """Mahalanobis distance [C - 1] of each camera's twist; NaN without a covariance."""
    if covariance is None:
        return np.full(len(twists), np.nan)
    blocks = [covariance[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] for k in range(len(twists))]
    return np.array(
        [np.sqrt(t @ np.linalg.solve(block, t)) for t, block in zip(twists, blocks, strict=True)]
    )


def _mean(medians: dict[tuple[int, int], float]) -> float:
    return float(np.mean(list(medians.values()))) if medians else np.nan


def _pairs(
    clouds: Sequence[SceneCloud],
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
    clouds: Sequence[SceneCloud],
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
