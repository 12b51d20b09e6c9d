"""Where the emulated arm's links are, in closed form: the flange pose, heights, gravity's pull.

Modified DH of piper_sdk's `C_PiperForwardKinematics`. Plain floats, because it runs 200 times a
second for one pose; arrays would cost more than the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, cos, hypot, radians, sin

SHOULDER_M, UPPER_ARM_M, ELBOW_M, FOREARM_M, HAND_M = 0.123, 0.28503, -0.02198, 0.25075, 0.091
ZERO_2_RAD, ZERO_3_RAD = radians(-172.22), radians(-102.78)
OLD_ZERO_2_RAD, OLD_ZERO_3_RAD = radians(-174.22), radians(-100.78)
"""Joint zeros of firmware before S-V1.6-3: two degrees off."""

GRAVITY_M_S2 = 9.81
_UPPER_KG, _ELBOW_KG, _FOREARM_KG, _WRIST_KG, _HAND_KG = 0.9, 0.6, 0.6, 0.5, 0.5
_HAND_COM_M = HAND_M + 0.05
"""Point masses at mid link, joint or gripper; they sum to the moving part of a 4.2 kg arm."""

Vector = tuple[float, float, float]


def flange_pose(q: Sequence[float], old_dh: bool = False) -> tuple[Vector, Vector]:
    """Flange position (m) and roll, pitch, yaw (rad) in the arm's base, joints q [6] in rad."""
    zero_2 = OLD_ZERO_2_RAD if old_dh else ZERO_2_RAD
    zero_3 = OLD_ZERO_3_RAD if old_dh else ZERO_3_RAD
    # Axes 2 and 3 are parallel: up to the wrist a planar chain in the plane that joint 1 turns.
    upper, fore = q[1] + zero_2, q[1] + q[2] + zero_2 + zero_3
    c1, s1, cf, sf = cos(q[0]), sin(q[0]), cos(fore), sin(fore)
    c4, s4, c5, s5, c6, s6 = cos(q[3]), sin(q[3]), cos(q[4]), sin(q[4]), cos(q[5]), sin(q[5])
    reach = UPPER_ARM_M * cos(upper) + ELBOW_M * cf + FOREARM_M * sf
    height = SHOULDER_M - UPPER_ARM_M * sin(upper) - ELBOW_M * sf + FOREARM_M * cf
    # Axes of frame 4 (z along the forearm), then of frame 6; rows are base x, y, z.
    x4 = (c4 * cf * c1 - s4 * s1, c4 * cf * s1 + s4 * c1, -c4 * sf)
    y4 = (-s4 * cf * c1 - c4 * s1, -s4 * cf * s1 + c4 * c1, s4 * sf)
    z4 = (sf * c1, sf * s1, cf)
    x6 = [c6 * (c5 * x4[i] - s5 * z4[i]) + s6 * y4[i] for i in range(3)]
    y6_z = -s6 * (c5 * x4[2] - s5 * z4[2]) + c6 * y4[2]
    z6 = [s5 * x4[i] + c5 * z4[i] for i in range(3)]
    position = (reach * c1 + HAND_M * z6[0], reach * s1 + HAND_M * z6[1], height + HAND_M * z6[2])
    # R = Rz(yaw) Ry(pitch) Rx(roll).
    rpy = (atan2(y6_z, z6[2]), atan2(-x6[2], hypot(x6[0], x6[1])), atan2(x6[1], x6[0]))
    return position, rpy


def gravity_torques(q: Sequence[float]) -> tuple[float, float, float, float, float, float]:
    """What gravity turns each joint with, [6] N.m: minus the gradient of the potential energy."""
    upper, fore = q[1] + ZERO_2_RAD, q[1] + q[2] + ZERO_2_RAD + ZERO_3_RAD
    cf, sf = cos(fore), sin(fore)
    c4, s4, c5, s5 = cos(q[3]), sin(q[3]), cos(q[4]), sin(q[4])
    beyond_elbow_kg = _FOREARM_KG + _WRIST_KG + _HAND_KG
    # d(height)/d(fore) of the middle of the forearm, the wrist and the gripper's centre of mass.
    middle = -ELBOW_M * cf - 0.5 * FOREARM_M * sf
    wrist = -ELBOW_M * cf - FOREARM_M * sf
    hand = wrist - _HAND_COM_M * (c5 * sf + s5 * c4 * cf)
    by_fore = _FOREARM_KG * middle + _WRIST_KG * wrist + _HAND_KG * hand
    by_upper = -UPPER_ARM_M * cos(upper) * (0.5 * _UPPER_KG + _ELBOW_KG + beyond_elbow_kg)
    by_4 = _HAND_KG * _HAND_COM_M * s5 * s4 * sf
    by_5 = -_HAND_KG * _HAND_COM_M * (s5 * cf + c5 * c4 * sf)
    g = -GRAVITY_M_S2
    # Axis 1 is vertical, and the hand's mass lies on axis 6: no torque on either.
    return 0.0, g * (by_upper + by_fore), g * by_fore, g * by_4, g * by_5, 0.0


def lowest_height_m(q: Sequence[float]) -> float:
    """Height of the lowest of elbow, wrist and gripper above the plane the arm stands on."""
    upper, fore = q[1] + ZERO_2_RAD, q[1] + q[2] + ZERO_2_RAD + ZERO_3_RAD
    elbow = SHOULDER_M - UPPER_ARM_M * sin(upper)
    wrist = elbow - ELBOW_M * sin(fore) + FOREARM_M * cos(fore)
    along = cos(q[4]) * cos(fore) - sin(q[4]) * cos(q[3]) * sin(fore)
    return min(elbow, wrist, wrist + _HAND_COM_M * along)
