"""Scripted experts: inverse kinematics at waypoints (mink), a C2 spline between them.

Deterministic given the layout, the instruction and the `MotionStyle`. The plain style is what
success is judged by; demonstrations are drawn, because people do not move alike either: where the
words alone fixed the motion, a generator would have no need of the trajectory latent.
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
from mvista_core.episode_shape import TINY
from mvista_core.errors import MvistaError
from mvista_core.records import ActionTrajectory, Float64, Provenance
from mvista_sim import tasks
from mvista_sim.tasks import SceneLayout

SMOOTHING_ACTIONS = 3.0
START_S = 0.35
NARROW = 0.4
"""Of a style's sideways shift, in tasks where the hand has to come down between things."""


@dataclass(frozen=True)
class Waypoint:
    """Where the tip is at `time_s`: position [3] and tool direction [3] in the base frame."""

    time_s: float
    tip_m: tuple[float, float, float]
    opening_m: float = 0.0
    approach: tuple[float, float, float] = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class MotionStyle:
    """How a motion differs from the plain one, with the same end: the point passed on the way
    down moves sideways (`shift_m`, x and y) and up (`lift_m`), and is reached later (`delay_s`)."""

    shift_m: tuple[float, float] = (0.0, 0.0)
    lift_m: float = 0.0
    delay_s: float = 0.0

    @property
    def numbers(self) -> Float64:
        """shift x and y, lift (m) and delay (s), [4]."""
        return np.array([*self.shift_m, self.lift_m, self.delay_s])

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> MotionStyle:
        """One demonstrator's style: uniform within what the arm's limits leave."""
        x, y = rng.uniform(-0.05, 0.05, size=2)
        return cls(
            (float(x), float(y)), float(rng.uniform(-0.02, 0.06)), float(rng.uniform(-0.4, 0.6))
        )


PLAIN = MotionStyle()


def hand_of(seed: int) -> np.random.Generator:
    """Random numbers of whoever moves in a scene, which are none of the scene's own.

    numpy pads seeds with zeros: 5 and (5, 0) are one stream, and the latter is touch_cube's. A
    style drawn from it is told by where the arm begins, and nobody has to look at the motion.
    """
    return np.random.default_rng((seed, 23))


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
    """Tool z along `approach` leaned outward; fingers part across the arm's radial plane.

    Of the two equal ways round (the fingers are alike) it is the one near home. From the other,
    half a turn away, either way is as far, and the wrist would flip with the side of the target.
    """
    radial = np.array([target[0], target[1], 0.0]) / np.hypot(target[0], target[1])
    z = np.array(approach) + 0.25 * radial
    z /= np.linalg.norm(z)
    y = np.cross(radial, z)
    y /= np.linalg.norm(y)
    return mink.SO3.from_matrix(np.column_stack([np.cross(y, z), y, z]))


def waypoints(layout: SceneLayout, instruction: str, style: MotionStyle = PLAIN) -> list[Waypoint]:
    """The expert's plan for an instruction, as tip waypoints after the start."""
    wanted = tasks.check_instruction(layout.task, instruction)
    if layout.task == "touch_cube":
        color = instructions.normalise(wanted).split()[2]
        return _touch(layout, f"{color}_cube", style)
    if layout.task == "open_drawer":
        return _open(layout, style)
    return _put(layout, style)


def _touch(layout: SceneLayout, name: str, style: MotionStyle) -> list[Waypoint]:
    cube = layout.named(name)
    top = 2 * tasks.CUBE_HALF_M
    x, y = cube.x_m + style.shift_m[0], cube.y_m + style.shift_m[1]
    above, on = (x, y, top + 0.07 + style.lift_m), (cube.x_m, cube.y_m, top - 0.006)
    late = style.delay_s
    return [Waypoint(2.4 + late, above), Waypoint(4.0 + late, on), Waypoint(6.4, on)]


def _open(layout: SceneLayout, style: MotionStyle) -> list[Waypoint]:
    drawer = layout.named("drawer")
    out = np.array([-np.cos(drawer.yaw_rad), -np.sin(drawer.yaw_rad)])
    centre = np.array([drawer.x_m, drawer.y_m])
    # Between the bar and the drawer's front, a little nearer the bar.
    gap = centre + out * (tasks.DRAWER_DEPTH_M / 2 + 0.52 * tasks.HANDLE_OFFSET_M)
    low = tasks.DRAWER_HEIGHT_M / 2 - 0.016
    pulled = gap + out * 0.105
    late = 0.5 * style.delay_s
    # More to the side, and the way down would lead through the bar.
    above = gap + NARROW * np.array(style.shift_m)
    return [
        Waypoint(2.0 + late, (above[0], above[1], low + 0.09 + style.lift_m)),
        Waypoint(3.2 + late, (gap[0], gap[1], low)),
        Waypoint(3.6 + late, (gap[0], gap[1], low)),
        Waypoint(5.6, (pulled[0], pulled[1], low)),
        Waypoint(6.4, (pulled[0], pulled[1], low)),
    ]


def _put(layout: SceneLayout, style: MotionStyle) -> list[Waypoint]:
    orange, bowl = layout.named("orange"), layout.named("bowl")
    wide, shut = 0.069, 0.045
    grasp = tasks.ORANGE_RADIUS_M - 0.004
    # The whole 6.4 s are needed: height and way vary, and the time of the way down a little.
    high, low, late = 0.1 + 0.25 * style.lift_m, 0.08, 0.25 * style.delay_s
    above = (orange.x_m + NARROW * style.shift_m[0], orange.y_m + NARROW * style.shift_m[1], high)
    return [
        Waypoint(1.5 + late, above, wide),
        Waypoint(2.5 + late, (orange.x_m, orange.y_m, grasp), wide),
        Waypoint(2.65 + late, (orange.x_m, orange.y_m, grasp), wide),
        Waypoint(3.0 + late, (orange.x_m, orange.y_m, grasp), shut),
        Waypoint(3.9 + late, (orange.x_m, orange.y_m, high), shut),
        Waypoint(4.9, (bowl.x_m, bowl.y_m, low), shut),
        Waypoint(5.1, (bowl.x_m, bowl.y_m, low), shut),
        Waypoint(5.5, (bowl.x_m, bowl.y_m, low), wide),
        Waypoint(6.1, (bowl.x_m, bowl.y_m, high), wide),
    ]


def plan(
    model: mujoco.MjModel,
    arm: ArmModel,
    layout: SceneLayout,
    instruction: str,
    start: Float64,
    seed_configuration: Float64,
    style: MotionStyle = PLAIN,
) -> ActionTrajectory:
    """The expert's joint targets [L, 7], due as `episode_shape.TINY` says, from the measured
    `start` [7].

    `seed_configuration` is the model's whole q; only the arm's part is used.

    Raises:
        MvistaError: a waypoint cannot be reached.
    """
    solver = IkSolver(model, arm)
    q = seed_configuration.copy()
    arm_addresses = [model.joint(name).qposadr[0] for name in arm.joint_names[:-1]]
    q[arm_addresses] = arm.home[:-1]
    # Rest first: the smoothing must not reach back across the start, a jerk there.
    times, rows = [0.0, START_S], [start.copy(), start.copy()]
    for waypoint in waypoints(layout, instruction, style):
        joints = solver.solve(q, waypoint)
        q[arm_addresses] = joints
        times.append(waypoint.time_s)
        rows.append(np.append(joints, waypoint.opening_m))
    return spline(np.array(times), np.array(rows), arm)


def spline(times_s: Float64, rows: Float64, arm: ArmModel) -> ActionTrajectory:
    """Monotone interpolation through the waypoints, smoothed so that velocity has no corners."""
    due, rate_hz = TINY.action_times_s, TINY.action_rate_hz
    pad = int(4 * SMOOTHING_ACTIONS)
    before = (1.0 + np.arange(-pad, 0)) / rate_hz
    after = due[-1] + (1 + np.arange(pad)) / rate_hz
    wide = np.concatenate([before, due, after])
    curve = PchipInterpolator(times_s, rows)(np.clip(wide, 0.0, times_s[-1]))
    smooth = gaussian_filter1d(curve, SMOOTHING_ACTIONS, axis=0, mode="nearest")
    positions = np.clip(smooth[pad : pad + len(due)], arm.lower, arm.upper)
    return ActionTrajectory(arm.joint_names, positions, due, Provenance("expert", "", 0))
