"""Scripted experts: inverse kinematics at waypoints (mink), a C2 spline between them.

Deterministic given the layout and the instruction: the same words in the same scene give the same
motion, which is what lets a small model learn what the words mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import mink
import mujoco
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError
from mvista_core.records import ActionTrajectory, Float64, Provenance
from mvista_sim import tasks
from mvista_sim.tasks import SceneLayout

ACTION_COUNT = 96
ACTION_RATE_HZ = 15.0
SMOOTHING_ACTIONS = 3.0


@dataclass(frozen=True)
class Waypoint:
    """Where the tip is at `time_s`: position [3] and tool direction [3] in the base frame."""

    time_s: float
    tip_m: tuple[float, float, float]
    opening_m: float = 0.0
    approach: tuple[float, float, float] = (0.0, 0.0, -1.0)


class IkSolver:
    """Tip position exactly, tool direction softly: not every place can be reached from above."""

    def __init__(self, model: mujoco.MjModel, arm: ArmModel) -> None:
        self._arm = arm
        self._configuration = mink.Configuration(model)
        self._position = mink.FrameTask("tip", "site", position_cost=1.0, orientation_cost=0.0)
        self._direction = mink.FrameTask("tip", "site", position_cost=0.0, orientation_cost=0.03)
        self._posture = mink.PostureTask(model, cost=2e-3)
        self._limits = [mink.ConfigurationLimit(model)]
        self._joints = [model.joint(name).qposadr[0] for name in arm.joint_names[:-1]]

    def solve(self, q: Float64, waypoint: Waypoint) -> Float64:
        """Joint angles [6] near `q` [nq] that put the tip at the waypoint.

        Raises:
            MvistaError: the tip stays more than 3 mm away.
        """
        self._configuration.update(q)
        home = q.copy()
        home[self._joints] = self._arm.home[:-1]
        self._posture.set_target(home)
        target = np.array(waypoint.tip_m)
        self._position.set_target(mink.SE3.from_translation(target))
        self._direction.set_target(
            mink.SE3.from_rotation(_tool_rotation(target, waypoint.approach))
        )
        tasks_ = [self._position, self._direction, self._posture]
        for _ in range(40):
            velocity = mink.solve_ik(
                self._configuration, tasks_, 1.0, "daqp", damping=1e-4, limits=self._limits
            )
            step = np.clip(velocity, -0.3, 0.3)
            self._configuration.integrate_inplace(step, 1.0)
            if np.abs(step[: len(self._joints)]).max() < 1e-4:
                break
        tip = self._configuration.get_transform_frame_to_world("tip", "site").translation()
        if np.linalg.norm(tip - target) > 3e-3:
            raise MvistaError(
                f"the tip cannot reach {target.round(3).tolist()} m within 3 mm, it stops at "
                f"{tip.round(3).tolist()}; see the layout ranges in mvista_sim/tasks.py"
            )
        return self._configuration.q[self._joints].copy()


def _tool_rotation(target: Float64, approach: tuple[float, float, float]) -> mink.SO3:
    """Tool z along `approach` leaned outward; fingers part across the arm's radial plane."""
    radial = np.array([target[0], target[1], 0.0]) / np.hypot(target[0], target[1])
    z = np.array(approach) + 0.25 * radial
    z /= np.linalg.norm(z)
    y = np.cross(z, radial)
    y /= np.linalg.norm(y)
    return mink.SO3.from_matrix(np.column_stack([np.cross(y, z), y, z]))


def waypoints(layout: SceneLayout, instruction: str) -> list[Waypoint]:
    """The expert's plan for an instruction, as tip waypoints after the start."""
    wanted = tasks.check_instruction(layout.task, instruction)
    if layout.task == "touch_cube":
        color = instructions.normalise(wanted).split()[2]
        return _touch(layout, f"{color}_cube")
    if layout.task == "open_drawer":
        return _open(layout)
    return _put(layout)


def _touch(layout: SceneLayout, name: str) -> list[Waypoint]:
    cube = layout.named(name)
    top = 2 * tasks.CUBE_HALF_M
    above, on = (cube.x_m, cube.y_m, top + 0.07), (cube.x_m, cube.y_m, top - 0.006)
    return [Waypoint(2.4, above), Waypoint(4.0, on), Waypoint(6.4, on)]


def _open(layout: SceneLayout) -> list[Waypoint]:
    drawer = layout.named("drawer")
    out = np.array([-np.cos(drawer.yaw_rad), -np.sin(drawer.yaw_rad)])
    centre = np.array([drawer.x_m, drawer.y_m])
    # Between the bar and the drawer's front, a little nearer the bar.
    gap = centre + out * (tasks.DRAWER_DEPTH_M / 2 + 0.52 * tasks.HANDLE_OFFSET_M)
    low = tasks.DRAWER_HEIGHT_M / 2 - 0.016
    pulled = gap + out * 0.105
    return [
        Waypoint(2.0, (gap[0], gap[1], low + 0.09)),
        Waypoint(3.2, (gap[0], gap[1], low)),
        Waypoint(3.6, (gap[0], gap[1], low)),
        Waypoint(5.6, (pulled[0], pulled[1], low)),
        Waypoint(6.4, (pulled[0], pulled[1], low)),
    ]


def _put(layout: SceneLayout) -> list[Waypoint]:
    orange, bowl = layout.named("orange"), layout.named("bowl")
    wide, shut = 0.069, 0.045
    grasp = tasks.ORANGE_RADIUS_M - 0.004
    high = 0.14
    return [
        Waypoint(1.3, (orange.x_m, orange.y_m, high), wide),
        Waypoint(2.2, (orange.x_m, orange.y_m, grasp), wide),
        Waypoint(2.45, (orange.x_m, orange.y_m, grasp), wide),
        Waypoint(2.9, (orange.x_m, orange.y_m, grasp), shut),
        Waypoint(3.6, (orange.x_m, orange.y_m, high), shut),
        Waypoint(4.7, (bowl.x_m, bowl.y_m, high), shut),
        Waypoint(5.2, (bowl.x_m, bowl.y_m, 0.075), shut),
        Waypoint(5.7, (bowl.x_m, bowl.y_m, 0.075), wide),
        Waypoint(6.4, (bowl.x_m, bowl.y_m, high), wide),
    ]


def plan(
    model: mujoco.MjModel,
    arm: ArmModel,
    layout: SceneLayout,
    instruction: str,
    start: Float64,
    seed_configuration: Float64,
) -> ActionTrajectory:
    """The expert's 96 joint targets at 15 Hz from the measured `start` [7].

    `seed_configuration` is the model's whole q; only the arm's part is used.

    Raises:
        MvistaError: a waypoint cannot be reached.
    """
    solver = IkSolver(model, arm)
    q = seed_configuration.copy()
    arm_addresses = [model.joint(name).qposadr[0] for name in arm.joint_names[:-1]]
    q[arm_addresses] = arm.home[:-1]
    times, rows = [0.0], [start.copy()]
    for waypoint in waypoints(layout, instruction):
        joints = solver.solve(q, waypoint)
        q[arm_addresses] = joints
        times.append(waypoint.time_s)
        rows.append(np.append(joints, waypoint.opening_m))
    return spline(np.array(times), np.array(rows), arm)


def spline(times_s: Float64, rows: Float64, arm: ArmModel) -> ActionTrajectory:
    """Monotone interpolation through the waypoints, smoothed so that velocity has no corners."""
    due: Float64 = np.asarray((1.0 + np.arange(ACTION_COUNT)) / ACTION_RATE_HZ, np.float64)
    pad = int(4 * SMOOTHING_ACTIONS)
    before = (1.0 + np.arange(-pad, 0)) / ACTION_RATE_HZ
    after = due[-1] + (1 + np.arange(pad)) / ACTION_RATE_HZ
    wide = np.concatenate([before, due, after])
    curve = PchipInterpolator(times_s, rows)(np.clip(wide, 0.0, times_s[-1]))
    smooth = gaussian_filter1d(curve, SMOOTHING_ACTIONS, axis=0, mode="nearest")
    positions = np.clip(smooth[pad : pad + ACTION_COUNT], arm.lower, arm.upper)
    return ActionTrajectory(arm.joint_names, positions, due, Provenance("expert", "", 0))
