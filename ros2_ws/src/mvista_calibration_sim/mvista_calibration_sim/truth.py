"""How far apart the cameras of a simulated session really put one and the same point."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mvista_calibration.records import DepthBias, RigEstimate
from mvista_calibration.solve.uncertainty import workspace_grid
from mvista_calibration_sim.sessions import SimulatedSession
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64, Intrinsics


def true_fused_disagreement(
    simulated: SimulatedSession, rig: RigEstimate, bias: Sequence[DepthBias] = ()
) -> float:
    """RMS distance, m, between two cameras' fused positions of a point, over the workspace.

    The point is imaged by each unit's true lens, measured with its own depth offset and scale,
    corrected by `bias` (a camera it does not name is not corrected), back-projected through the
    lens that the session states, and placed by `rig`: what a fused cloud does, and unlike the
    distance to the nearest point it sees errors along surfaces too.
    """
    session, truth = simulated.session, simulated.truth
    points = workspace_grid(session.workspace, truth.base_from_reference)
    known = {entry.camera: entry for entry in bias}
    places = []
    for index, camera in enumerate(session.cameras):
        seen = transform_points(invert(truth.scene_reference_from_camera[index]), points)
        stretch = np.linalg.norm(seen, axis=1) / seen[:, 2]
        scale, offset_m = truth.depth_scale[index], truth.depth_offset_m[index]
        depth_m = seen[:, 2] * scale + offset_m / stretch
        if camera.name in known:
            depth_m = (depth_m - known[camera.name].offset_m) / known[camera.name].scale
        rays = _as_stated(seen, truth.intrinsics[index], camera.intrinsics)
        placed = transform_points(rig.pose(camera.name), rays * depth_m[:, None])
        # A point out of view is in nobody's cloud.
        placed[~_in_view(seen, truth.intrinsics[index])] = np.nan
        places.append(placed)
    squares = [
        ((places[a] - places[b]) ** 2).sum(axis=1)
        for a in range(len(places))
        for b in range(a + 1, len(places))
    ]
    return float(np.sqrt(np.nanmean(squares)))


def _as_stated(seen: Float64, true: Intrinsics, stated: Intrinsics) -> Float64:
    """Rays [N, 3], z = 1, that the stated lens makes of the pixels the true one shows."""
    pixels, _ = cv2.projectPoints(
        seen, np.zeros(3), np.zeros(3), true.matrix, np.array(true.distortion)
    )
    flat = cv2.undistortPoints(
        pixels.reshape(-1, 1, 2), stated.matrix, np.array(stated.distortion)
    ).reshape(-1, 2)
    return np.column_stack([flat, np.ones(len(flat))])


def _in_view(seen: Float64, lens: Intrinsics) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Points [N, 3] whose pinhole pixel lies in the image."""
    u = lens.fx_px * seen[:, 0] / seen[:, 2] + lens.cx_px
    v = lens.fy_px * seen[:, 1] / seen[:, 2] + lens.cy_px
    inside = (u > 0) & (u < lens.width_px) & (v > 0) & (v < lens.height_px)
    return np.asarray(inside & (seen[:, 2] > 0))
