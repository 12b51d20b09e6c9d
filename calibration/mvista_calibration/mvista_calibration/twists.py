"""Small motions of poses: a twist is (translation_m, rotation_rad) [6], applied on the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mvista_core.geometry import exp_so3, invert, pose_from
from mvista_core.records import Float64


def moved(pose: NDArray[np.floating], twist: NDArray[np.floating]) -> Float64:
    """`pose` [4, 4] after a twist in the frame it maps to: D @ pose, D = (exp(w), v)."""
    turn = exp_so3(twist[3:])
    return pose_from(turn @ pose[:3, :3], turn @ pose[:3, 3] + twist[:3])


def twist_between(after: NDArray[np.floating], before: NDArray[np.floating]) -> Float64:
    """The twist [6] with `moved(before, twist) == after`."""
    step = after @ invert(before)
    return np.concatenate([step[:3, 3], Rotation.from_matrix(step[:3, :3]).as_rotvec()])


def point_jacobian(points: NDArray[np.floating]) -> Float64:
    """Derivative of moved points [N, 3] by the twist at zero: [N, 3, 6]."""
    jacobian = np.zeros((len(points), 3, 6))
    jacobian[:, range(3), range(3)] = 1.0
    # d(w x p) / dw = -[p]x.
    x, y, z = points.T
    jacobian[:, 0, 4], jacobian[:, 0, 5] = z, -y
    jacobian[:, 1, 3], jacobian[:, 1, 5] = -z, x
    jacobian[:, 2, 3], jacobian[:, 2, 4] = y, -x
    return jacobian
