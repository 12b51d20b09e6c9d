"""Coarse results made from a simulated session's truth, as good or bad as a test wants them."""

from __future__ import annotations

import numpy as np

from mvista_calibration.records import CoarseResult, RigEstimate
from mvista_calibration.twists import moved
from mvista_calibration_sim.sessions import SimulatedSession
from mvista_core.geometry import invert


def coarse_of_truth(
    simulated: SimulatedSession,
    sd_m: float = 0.0,
    sd_rad: float = 0.0,
    seed: int = 0,
) -> CoarseResult:
    """The truth with every camera but the first moved by errors of that sd, about its own centre.

    The covariance says as much (or 0.1 mm and 0.1 mrad where there is no error).
    """
    session, truth = simulated.session, simulated.truth
    rng = np.random.default_rng(seed)
    poses = truth.reference_from_camera.copy()
    spread = np.repeat([max(sd_m, 1e-4), max(sd_rad, 1e-4)], 3) ** 2
    blocks = np.zeros((6 * (len(poses) - 1),) * 2)
    for k in range(1, len(poses)):
        centre = poses[k][:3, 3]
        # About the camera's centre: a twist about the origin by adjoint.
        x, y, z = centre
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        adjoint = np.block([[np.eye(3), cross], [np.zeros((3, 3)), np.eye(3)]])
        error = rng.standard_normal(6) * np.repeat([sd_m, sd_rad], 3)
        at = slice(6 * (k - 1), 6 * k)
        blocks[at, at] = adjoint @ np.diag(spread) @ adjoint.T
        poses[k] = moved(poses[k], adjoint @ error)
    rig = RigEstimate(session.names, poses, blocks, "truth")
    shots = session.shots
    boards = np.stack([invert(truth.base_from_reference) @ truth.base_from_board[s] for s in shots])
    residuals = tuple(np.zeros_like(view.corners_px) for view in session.views)
    return CoarseResult(rig, shots, boards, session.views, residuals)
