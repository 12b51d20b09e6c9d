"""The Piper as MJCF, its kinematics taken from the arm file's modified-DH table.

In a modified (Craig) table, link i's frame is RotX(alpha) TransX(a) RotZ(theta0 + q) TransZ(d), and
rotation and translation along z commute: body i is placed by the row at q = 0 and turns about z.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mvista_core.arm import ArmModel
from mvista_core.geometry import invert, quaternion_xyzw

MASSES_KG = (0.9, 1.1, 0.7, 0.45, 0.4, 0.15)
FINGER_LENGTH_M = 0.06
FINGER_HALF_M = (0.008, 0.009)
SHELL = "0.82 0.83 0.85 1"
DARK = "0.13 0.13 0.15 1"


def arm_bodies(arm: ArmModel) -> str:
    """Nested bodies link1..link6 with the gripper; joint names as in the arm file."""
    places = link_places(arm)
    text, closing = "", ""
    for i, place in enumerate(places):
        text += (
            f'<body name="link{i + 1}" {_placement(place)} gravcomp="1">'
            f'<joint name="{arm.joint_names[i]}" type="hinge" axis="0 0 1" '
            f'range="{arm.lower[i]} {arm.upper[i]}" damping="2" armature="0.08"/>'
            f'<inertial pos="0 0 0" mass="{MASSES_KG[i]}" diaginertia="2e-3 2e-3 2e-3"/>'
        )
        text += _link_geom(i, places)
        closing += "</body>"
    return text + _gripper(arm) + closing


def link_places(arm: ArmModel) -> list[NDArray[np.float64]]:
    """Pose of each link in its parent at zero joint angles."""
    zero = np.zeros(len(arm.dh))
    poses = [np.eye(4)]
    for i in range(len(arm.dh)):
        partial = np.eye(4)
        for row_pose in _row_poses(arm, zero)[: i + 1]:
            partial = partial @ row_pose
        poses.append(partial)
    return [invert(a) @ b for a, b in pairwise(poses)]


def actuators(arm: ArmModel) -> str:
    """Position servos: stiff enough to follow, force-limited like the real joints."""
    text = ""
    for i, name in enumerate(arm.joint_names[:-1]):
        force = 40 if i < 3 else 15
        text += (
            f'<position name="{name}" joint="{name}" kp="900" kv="60" '
            f'ctrlrange="{arm.lower[i]} {arm.upper[i]}" forcerange="-{force} {force}"/>'
        )
    return text + (
        '<position name="gripper" joint="finger_left" kp="1500" kv="40" '
        f'ctrlrange="0 {arm.upper[-1] / 2}" forcerange="-25 25"/>'
    )


EQUALITY = (
    '<equality><joint joint1="finger_right" joint2="finger_left" polycoef="0 1 0 0 0"/></equality>'
)


def _row_poses(arm: ArmModel, angles: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    poses = []
    for i in range(len(arm.dh)):
        single = arm.__class__(**{**arm.__dict__, "dh": (arm.dh[i],)})
        poses.append(single.base_from_flange(angles[i : i + 1]))
    return poses


def _placement(pose: NDArray[np.float64]) -> str:
    x, y, z, w = quaternion_xyzw(pose[:3, :3])
    px, py, pz = pose[:3, 3]
    return f'pos="{px:.9g} {py:.9g} {pz:.9g}" quat="{w:.12g} {x:.12g} {y:.12g} {z:.12g}"'


def _link_geom(index: int, places: list[NDArray[np.float64]]) -> str:
    """A capsule from this joint to the next; the last link is the flange."""
    look = f'rgba="{SHELL}" contype="0" conaffinity="0" mass="0"'
    joint = f'<geom type="sphere" size="{0.042 - 0.003 * index:.3f}" {look}/>'
    if index + 1 >= len(places):
        return joint
    end = places[index + 1][:3, 3]
    if np.linalg.norm(end) < 1e-3:
        return joint
    x, y, z = end
    return joint + (
        f'<geom type="capsule" fromto="0 0 0 {x:.6g} {y:.6g} {z:.6g}" size="0.032" {look}/>'
    )


def _gripper(arm: ArmModel) -> str:
    """A palm and two fingers that part along the flange's y axis and meet at the tip point."""
    tip, half = arm.flange_from_tip_m, FINGER_LENGTH_M / 2
    centre = tip - half
    palm = tip - FINGER_LENGTH_M
    hx, hy = FINGER_HALF_M
    text = (
        f'<geom name="palm" type="box" pos="0 0 {palm / 2:.4f}" '
        f'size="0.02 0.045 {palm / 2:.4f}" rgba="{DARK}" mass="0.25" friction="1 0.01 0.001"/>'
        f'<site name="tip" pos="0 0 {tip}" size="0.004" rgba="0 0 0 0"/>'
    )
    for side, sign in (("left", 1), ("right", -1)):
        text += (
            f'<body name="finger_{side}" pos="0 {sign * hy} {centre:.4f}" gravcomp="1">'
            f'<joint name="finger_{side}" type="slide" axis="0 {sign} 0" '
            f'range="0 {arm.upper[-1] / 2}" damping="8" armature="0.02"/>'
            f'<geom name="finger_{side}" type="box" size="{hx} {hy} {half}" rgba="{DARK}" '
            'mass="0.06" friction="1.6 0.05 0.002" condim="4" solimp="0.95 0.99 0.001" '
            'solref="0.01 1"/>'
            "</body>"
        )
    return text
