"""MJCF of the whole cell for one layout."""

from __future__ import annotations

import mujoco
import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.geometry import quaternion_xyzw
from mvista_core.records import RigCalibration
from mvista_sim.arm_model import EQUALITY, actuators, arm_bodies
from mvista_sim.tasks import (
    BOWL_HEIGHT_M,
    BOWL_RADIUS_M,
    CUBE_HALF_M,
    DRAWER_DEPTH_M,
    DRAWER_HEIGHT_M,
    DRAWER_WIDTH_M,
    HANDLE_OFFSET_M,
    ORANGE_RADIUS_M,
    Placed,
    SceneLayout,
)

TIMESTEP_S = 0.0025
EXTENT_M, CENTRE = 1.8302666192761077, "0.25 0 -0.185"
"""Of the cell as MuJoCo measures it, written down: near and far plane, fog, shadows and the free
camera are multiples of it, and something parked far away would move them all. The near plane lies
at 0.037 m, the far one at 14.6 m, whatever is in the cell."""
STILL_GROUP, ARM_GROUP, OBJECT_GROUP = 0, 1, 2
ALL_GROUPS = (STILL_GROUP, ARM_GROUP, OBJECT_GROUP)
"""Of geoms: what always stands there, the arm, and what a task puts on the table."""
CONTACT = 'solref="0.008 1" solimp="0.95 0.99 0.001"'


def build_model(layout: SceneLayout, arm: ArmModel, rig: RigCalibration) -> mujoco.MjModel:
    """Compile the cell."""
    return mujoco.MjModel.from_xml_string(scene_xml(layout, arm, rig))


def scene_xml(layout: SceneLayout, arm: ArmModel, rig: RigCalibration) -> str:
    """The cell as MJCF. Table, objects, fingers and palm collide; the arm's links do not."""
    objects = "".join(_object(item) for item in layout.objects)
    return f"""
<mujoco model="mvista_cell">
  <compiler angle="radian"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <statistic extent="{EXTENT_M!r}" center="{CENTRE}"/>
  <visual>
    <global offwidth="1280" offheight="720"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.45 0.45 0.45" specular="0 0 0"/>
    <map znear="0.02" zfar="8"/>
  </visual>
  <default>
    <default class="arm"><geom group="{ARM_GROUP}"/></default>
    <default class="object"><geom group="{OBJECT_GROUP}"/></default>
  </default>
  <worldbody>
    <light pos="0.2 0.4 2" dir="0.05 -0.15 -1" diffuse="0.35 0.35 0.35" specular="0 0 0"
           castshadow="false"/>
    <geom name="floor" type="plane" size="4 4 0.1" pos="0 0 -0.7" rgba="0.42 0.44 0.46 1"/>
    <geom name="table" type="box" pos="0.25 0 -0.02" size="0.45 0.6 0.02" rgba="0.70 0.66 0.60 1"
          friction="1 0.01 0.001"/>
    <geom name="pedestal" type="cylinder" pos="0 0 0.04" size="0.06 0.045" rgba="0.3 0.3 0.32 1"
          contype="0" conaffinity="0"/>
    <body name="base" childclass="arm" gravcomp="1">{arm_bodies(arm)}</body>
    {objects}
    {_cameras(rig)}
  </worldbody>
  {EQUALITY}
  <actuator>{actuators(arm)}</actuator>
</mujoco>"""


def _cameras(rig: RigCalibration) -> str:
    """Cameras with the rig's intrinsics; MuJoCo's camera looks along -z with y up."""
    text = ""
    flip = np.diag([1.0, -1.0, -1.0])
    for camera in rig.cameras:
        i = camera.intrinsics
        px, py, pz = camera.base_from_camera[:3, 3]
        x, y, z, w = quaternion_xyzw(camera.base_from_camera[:3, :3] @ flip)
        # Principal point: offset of the image centre from the optical axis, in pixels; pixel
        # centres are at integers here and at halves in the renderer.
        du = (i.width_px - 1) / 2 - i.cx_px
        dv = (i.height_px - 1) / 2 - i.cy_px
        text += (
            f'<camera name="{camera.name}" pos="{px:.9g} {py:.9g} {pz:.9g}" '
            f'quat="{w:.12g} {x:.12g} {y:.12g} {z:.12g}" resolution="{i.width_px} {i.height_px}" '
            f'sensorsize="{i.width_px * 1e-5:.8g} {i.height_px * 1e-5:.8g}" '
            f'focalpixel="{i.fx_px} {i.fy_px}" principalpixel="{du:.6g} {dv:.6g}"/>'
        )
    return text


def _object(item: Placed) -> str:
    return {
        "cube": _cube,
        "orange": _orange,
        "bowl": _bowl,
        "drawer": _drawer,
        "post": _post,
        "slab": _slab,
    }[item.kind](item)


def _free(item: Placed, height_m: float, geoms: str, damping: str = "") -> str:
    return (
        f'<body name="{item.name}" pos="{item.x_m} {item.y_m} {height_m}" '
        f'euler="0 0 {item.yaw_rad}" childclass="object">'
        f'<joint name="{item.name}" type="free" {damping}/>'
        f"{geoms}</body>"
    )


def _cube(item: Placed) -> str:
    h = CUBE_HALF_M
    geom = (
        f'<geom name="{item.name}" type="box" size="{h} {h} {h}" rgba="{item.rgba}" mass="0.12" '
        f'friction="1 0.01 0.001" condim="4" {CONTACT}/>'
    )
    return _free(item, h, geom)


def _orange(item: Placed) -> str:
    r = ORANGE_RADIUS_M
    geom = (
        f'<geom name="{item.name}" type="sphere" size="{r}" rgba="{item.rgba}" mass="0.08" '
        f'friction="1.5 0.02 0.004" condim="6" {CONTACT}/>'
    )
    return _free(item, r, geom, 'damping="0.0004"')


def _bowl(item: Placed) -> str:
    """A heavy ring of twelve slats on a disc."""
    disc = (
        f'<geom type="cylinder" size="{BOWL_RADIUS_M} 0.004" pos="0 0 0.004" rgba="{item.rgba}" '
        f'mass="0.3" {CONTACT}/>'
    )
    slats, count = "", 12
    for k in range(count):
        angle = 2 * np.pi * k / count
        x, y = BOWL_RADIUS_M * np.cos(angle), BOWL_RADIUS_M * np.sin(angle)
        slats += (
            f'<geom type="box" size="0.004 0.0175 {BOWL_HEIGHT_M / 2}" '
            f'pos="{x:.5f} {y:.5f} {BOWL_HEIGHT_M / 2}" euler="0 0 {angle:.5f}" '
            f'rgba="{item.rgba}" mass="0.03"/>'
        )
    return _free(item, 0.0, disc + slats)


def _drawer(item: Placed) -> str:
    """A fixed cabinet and a drawer that slides toward the robot, with a bar to hook from above."""
    d, w, h = DRAWER_DEPTH_M / 2, DRAWER_WIDTH_M / 2, DRAWER_HEIGHT_M / 2
    wood, front = 'rgba="0.52 0.36 0.22 1"', 'rgba="0.80 0.62 0.40 1"'
    t = 0.006
    walls = (
        f'<geom type="box" size="{d} {w} {t}" pos="0 0 {2 * h - t}" {wood}/>'
        f'<geom type="box" size="{d} {t} {h}" pos="0 {w - t} {h}" {wood}/>'
        f'<geom type="box" size="{d} {t} {h}" pos="0 {t - w} {h}" {wood}/>'
        f'<geom type="box" size="{t} {w} {h}" pos="{d - t} 0 {h}" {wood}/>'
    )
    inner = w - 2.5 * t
    bar_x = -d - HANDLE_OFFSET_M
    posts = "".join(
        f'<geom type="box" size="{HANDLE_OFFSET_M / 2} 0.005 0.005" '
        f'pos="{-d - HANDLE_OFFSET_M / 2} {side * 0.045} {h}" {front} mass="0.01"/>'
        for side in (-1, 1)
    )
    drawer = (
        '<body name="drawer_box"><joint name="drawer" type="slide" axis="-1 0 0" range="0 0.1" '
        'damping="3" frictionloss="0.4"/>'
        f'<geom type="box" size="0.006 {inner} {h - 2.5 * t}" pos="{-d} 0 {h}" {front} '
        'mass="0.15"/>'
        f'<geom type="box" size="{d - t} {inner} 0.004" pos="0 0 {2.5 * t}" {front} mass="0.15"/>'
        f'{posts}<geom name="handle" type="box" size="0.006 0.05 0.008" pos="{bar_x} 0 {h}" '
        'rgba="0.15 0.15 0.17 1" mass="0.03" friction="1.2 0.02 0.001"/></body>'
    )
    return (
        f'<body name="drawer" pos="{item.x_m} {item.y_m} 0" euler="0 0 {item.yaw_rad}" '
        'childclass="object">'
        f"{walls}{drawer}</body>"
    )


def _post(item: Placed) -> str:
    geom = f'<geom type="cylinder" size="0.016 0.022" rgba="{item.rgba}" mass="0.15" {CONTACT}/>'
    return _free(item, 0.022, geom)


def _slab(item: Placed) -> str:
    geom = f'<geom type="box" size="0.03 0.018 0.012" rgba="{item.rgba}" mass="0.15" {CONTACT}/>'
    return _free(item, 0.012, geom)
