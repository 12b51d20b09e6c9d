"""All clouds brought together at once, held by the board's covariance, depth offsets free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvista_calibration.records import RigEstimate
from mvista_calibration.solve.clouds import SceneCloud
from mvista_calibration.solve.overlap import GATES_M, matches
from mvista_calibration.twists import moved, point_jacobian, twist_between
from mvista_core.records import Float64

STEPS_PER_GATE = 6
LEAST_SIGMA_M = 1.2e-3
LEVER_M = 0.5
"""Turns rotations into metres, for the condition number."""
STILL = 2e-5
"""A step (m, rad) that ends the fit at one gate."""


@dataclass(frozen=True)
class JointFit:
    """The rig, the covariance [6 (C - 1), 6 (C - 1)] of its twists (m, rad), and the condition of
    what depth alone says of them."""

    rig: RigEstimate
    covariance: Float64
    condition: float


def fit_jointly(
    clouds: Sequence[SceneCloud], start: RigEstimate, prior: Float64, offset_sd: Float64
) -> JointFit:
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
            # Maximum a posteriori: the board's J^T W J beside depth's, offsets held by their own
            # sigma; the gradient pulls back by how far both have gone.
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
    # Of depth alone, without the prior: it must say whether the overlap holds all directions.
    scale = np.tile(np.repeat([1.0, 1.0 / LEVER_M], 3), size // 6)
    eigenvalues = np.linalg.eigvalsh(depth[:size, :size] * np.outer(scale, scale))
    condition = float(eigenvalues[-1] / max(eigenvalues[0], 1e-12 * eigenvalues[-1], 1e-12))
    final = RigEstimate(rig.cameras, rig.reference_from_camera, covariance, "joint")
    return JointFit(final, covariance, condition)


def _normal_equations(
    clouds: Sequence[SceneCloud], rig: RigEstimate, offsets: Float64, gate_m: float, size: int
) -> tuple[Float64, Float64]:
    """J^T W J and -J^T W r over (twists, offsets); each patch of a pair counts as one point."""
    total = size + len(clouds)
    information, gradient = np.zeros((total, total)), np.zeros(total)
    for match in matches(clouds, rig, max(GATES_M)):
        fit = ~match.held_out
        # r = n^T (p_a - p_b); a unit that adds o along its rays changes it by n^T ray o.
        along_a = (match.ray_a * match.normal).sum(axis=1)
        along_b = (match.ray_b * match.normal).sum(axis=1)
        residual = match.distance - along_a * offsets[match.a] + along_b * offsets[match.b]
        near = fit & (np.abs(residual) < gate_m)
        if near.sum() < 20:
            continue
        r = residual[near]
        sigma = max(1.4826 * float(np.median(np.abs(r))), LEAST_SIGMA_M)
        # Tukey's biweight (Beaton and Tukey 1974): beyond the gate it is another surface and weighs
        # nothing.
        tukey = (1.0 - (r / gate_m) ** 2) ** 2
        patches = len(np.unique(match.patch[near]))
        # Points of a patch err together: all weights of a pair sum to its patches, not to its
        # points.
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
