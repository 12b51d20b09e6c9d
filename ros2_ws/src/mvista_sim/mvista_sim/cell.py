"""The cell in process: physics, the arm's own motion limits, cameras; no ROS.

`SimCell` is both the `FrameSource` and the `Arm` port. Time passes only in `advance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.interpolate import CubicSpline

from mvista_core.arm import ArmModel
from mvista_core.errors import ObservationError, RigError, TrajectoryError
from mvista_core.geometry import pose_from, quaternion_xyzw, rotation_from_quaternion
from mvista_core.records import (
    ActionTrajectory,
    CameraFrame,
    Float64,
    JointCommand,
    JointState,
    RigCalibration,
)
from mvista_core.timing import NS_PER_S
from mvista_sim import experts, tasks
from mvista_sim.cameras import CellRenderer, TofNoise
from mvista_sim.scene import ALL_GROUPS, STILL_GROUP, TIMESTEP_S, build_model
from mvista_sim.set_point import LimitedSetPoint
from mvista_sim.tasks import SceneLayout

CONTROL_HZ = 200.0
FOLLOWED_OUTSIDE = 0.1
"""How far beyond its range (rad, gripper m) a followed joint may be measured."""
STEPS_AT_REST = round(1.0 / CONTROL_HZ / TIMESTEP_S)
"""Physics steps in one call while the arm stands; contacts are looked at after each call."""


@dataclass(frozen=True)
class TaskResult:
    """Whether the task is done, and the numbers behind it."""

    success: bool
    detail: str


class SimCell:
    """One arm, one table, the cameras of a rig."""

    def __init__(
        self,
        arm: ArmModel,
        rig: RigCalibration,
        noise: TofNoise | None = None,
        start_ns: int = 0,
        sleeping: bool = False,
    ) -> None:
        """`sleeping` leaves out the physics of what lies still, until something touches it."""
        self.arm = arm
        self.rig = rig
        self._noise = noise or TofNoise()
        self._start_ns = start_ns
        self._sleeping = sleeping
        self._renderer: CellRenderer | None = None
        self.reset("touch_cube", 0)

    def reset(
        self,
        task: str,
        seed: int,
        instruction: str | None = None,
        rig: RigCalibration | None = None,
        clutter: int = tasks.CLUTTER,
    ) -> str:
        """Lay a scene out and put the arm at its start; returns the instruction.

        With `rig` other cameras hang there from now on; `clutter` is `tasks.make_layout`'s.

        Raises:
            ConfigError: no such task, or a negative seed. InstructionError: not one of the task's.
            Either way the present scene stays as it is.
        """
        layout = tasks.make_layout(task, seed, clutter)
        wanted = tasks.check_instruction(task, instruction or layout.default_instruction)
        self.layout: SceneLayout = layout
        self.instruction = wanted
        self.rig = rig or self.rig
        self.model = build_model(self.layout, self.arm, self.rig)
        if self._sleeping:
            self.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP.value
        self.data = mujoco.MjData(self.model)
        self._rng = np.random.default_rng((seed, 7))
        if self._renderer is not None and self._renderer.fits(self.rig):
            self._renderer.show(self.model, self.rig)
        else:
            self._close_renderer()
        self._index()
        start = self.arm.home.copy()
        start[:6] += self.layout.start_offset_rad
        self._set_point = LimitedSetPoint(
            start, self.arm.max_velocity, self.arm.max_acceleration, TIMESTEP_S
        )
        self._set_controls()
        self.data.qpos[self._qpos] = start[:6]
        self.data.qpos[self._fingers] = start[6] / 2
        self._touched: list[str] = []
        self._following = False
        mujoco.mj_forward(self.model, self.data)
        self._settle()
        return self.instruction

    # FrameSource
    def cameras(self) -> tuple[str, ...]:
        return self.rig.names

    def latest(self, camera: str) -> CameraFrame:
        """Render one camera now."""
        return self._frame(camera, ALL_GROUPS)

    def emptied(self, camera: str) -> CameraFrame:
        """Render one camera as if neither arm nor objects were there."""
        return self._frame(camera, (STILL_GROUP,))

    def _frame(self, camera: str, groups: Sequence[int]) -> CameraFrame:
        self.rig.camera(camera)
        if self._renderer is None:
            self._renderer = CellRenderer(self.model, self.rig, self._noise)
        return self._renderer.frame(self.data, camera, self.now_ns(), self._rng, groups)

    # Arm
    def state(self) -> JointState:
        """Measured joints now; the gripper is its opening in metres."""
        q = self.data.qpos[self._measured] * self._scale
        v = self.data.qvel[self._measured_speeds] * self._scale
        return JointState(self.arm.joint_names, q, v, self.now_ns())

    def send(self, command: JointCommand) -> None:
        """Track one set-point with at most the arm's velocity and acceleration.

        Beyond a joint's range it stops at the range, as the firmware would.

        Raises:
            TrajectoryError: not finite, no joint, one twice, or one that the arm does not have.
        """
        if not command.names:
            raise TrajectoryError(TrajectoryError.EMPTY, "the command names no joint")
        if len(set(command.names)) < len(command.names):
            raise TrajectoryError(
                TrajectoryError.REPEATED_JOINT, f"a joint twice: {list(command.names)}"
            )
        if not np.isfinite(command.positions).all():
            raise TrajectoryError(TrajectoryError.NOT_FINITE, "the command holds NaN or infinity")
        unknown = [name for name in command.names if name not in self.arm.joint_names]
        if unknown:
            raise TrajectoryError(
                TrajectoryError.UNKNOWN_JOINT,
                f"no joints {unknown}; the arm has {list(self.arm.joint_names)}",
            )
        for name, position in zip(command.names, command.positions, strict=True):
            joint = self.arm.joint_names.index(name)
            inside = min(max(position, self.arm.lower[joint]), self.arm.upper[joint])
            self._set_point.aim(joint, inside)

    def hold(self) -> None:
        """Brake within the acceleration limit and stay there."""
        self._set_point.hold(self.arm.lower, self.arm.upper)

    def follow(self, state: JointState) -> None:
        """Let another arm's measured joints drive this one, in place of `send`.

        The first pose after a reset is taken at once; from then on the actuators follow, so that
        contacts push back.

        Raises:
            ObservationError: a joint of the arm is missing, or where it cannot be.
        """
        positions = state.ordered(self.arm.joint_names)
        outside = np.maximum(self.arm.lower - positions, positions - self.arm.upper)
        if not (outside <= FOLLOWED_OUTSIDE).all():  # NaN is not
            raise ObservationError(
                f"joints at {positions.tolist()} of {list(self.arm.joint_names)}; they can be from "
                f"{self.arm.lower.tolist()} to {self.arm.upper.tolist()}"
            )
        if not self._following:
            self.data.qpos[self._qpos] = positions[:6]
            self.data.qpos[self._fingers] = positions[6] / 2
            self.data.qvel[:] = 0.0
            mujoco.mj_forward(self.model, self.data)
            self._following = True
        self._set_point.place(positions)
        self._set_controls()

    def move_camera(self, camera: str, camera_from_moved: Float64) -> None:
        """Push a camera ([4, 4], its own optical frame); until a reset it stays there.

        Raises:
            RigError: no such camera, or no pose.
        """
        self.rig.camera(camera)
        if not np.isfinite(camera_from_moved).all():
            raise RigError(f"{camera} cannot be moved by {camera_from_moved.tolist()}")
        index = self.model.camera(camera).id
        w, x, y, z = self.model.cam_quat[index]
        flip = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z
        rotation = rotation_from_quaternion(np.array([x, y, z, w])) @ flip
        moved = pose_from(rotation, self.model.cam_pos[index]) @ camera_from_moved
        x, y, z, w = quaternion_xyzw(moved[:3, :3] @ flip)
        self.model.cam_pos[index] = moved[:3, 3]
        self.model.cam_quat[index] = (w, x, y, z)
        mujoco.mj_camlight(self.model, self.data)

    # Time
    def now_ns(self) -> int:
        return self._start_ns + round(self.data.time * NS_PER_S)

    def advance(self, seconds: float) -> None:
        """Let physics run for a whole number of steps (at least one)."""
        left = max(round(seconds / TIMESTEP_S), 1)
        while left > 0:
            # An arm that stands needs no set-point of its own in every step.
            steps = min(left, STEPS_AT_REST) if self._set_point.resting else 1
            self._drive()
            mujoco.mj_step(self.model, self.data, nstep=steps)
            self._note_contacts()
            left -= steps

    def expert(
        self, instruction: str | None = None, style: experts.MotionStyle = experts.PLAIN
    ) -> ActionTrajectory:
        """The scripted expert's actions from where the arm is."""
        return experts.plan(
            self.model,
            self.arm,
            self.layout,
            instruction or self.instruction,
            self.state().positions,
            self.data.qpos.copy(),
            style,
        )

    def run_actions(
        self, actions: ActionTrajectory, frame_times_s: Float64 | None = None
    ) -> list[list[CameraFrame]]:
        """Execute 15 Hz targets by a C2 spline at 200 Hz; frames [T][V] at the given times."""
        start = self.state().ordered(actions.joint_names)
        joints = [self.arm.joint_names.index(name) for name in actions.joint_names]
        times = np.concatenate([[0.0], actions.times_s])
        instants = np.arange(round(actions.times_s[-1] * CONTROL_HZ) + 1) / CONTROL_HZ
        curve = CubicSpline(times, np.vstack([start, actions.positions]), bc_type="clamped")
        targets = np.clip(curve(instants), self.arm.lower[joints], self.arm.upper[joints])
        due = [] if frame_times_s is None else list(frame_times_s)
        frames: list[list[CameraFrame]] = []
        for now, target in zip(instants, targets, strict=True):
            while due and due[0] <= now + 1e-9:
                frames.append([self.latest(name) for name in self.cameras()])
                due.pop(0)
            for joint, position in zip(joints, target, strict=True):
                self._set_point.aim(joint, position)
            self.advance(1.0 / CONTROL_HZ)
        return frames

    # Tasks
    def tip(self) -> Float64:
        """Tip position [3] in the base frame."""
        return self.data.site("tip").xpos.copy()

    def approached_object(self) -> str:
        """The cube nearest to the tip now (for the right-object rate)."""
        cubes = [o.name for o in self.layout.objects if o.kind == "cube"]
        return min(cubes, key=lambda n: np.linalg.norm(self.data.body(n).xpos - self.tip()))

    def evaluate(self, instruction: str | None = None) -> TaskResult:
        """Success on simulator state, for the instruction given at reset or another one."""
        wanted = tasks.check_instruction(self.layout.task, instruction or self.instruction)
        if self.layout.task == "touch_cube":
            return self._evaluate_touch(f"{wanted.split()[2]}_cube")
        if self.layout.task == "open_drawer":
            opened = float(self.data.joint("drawer").qpos[0])
            return TaskResult(
                opened >= tasks.DRAWER_OPENED_M,
                f"the drawer is {opened * 1000:.0f} mm open, "
                f"{tasks.DRAWER_OPENED_M * 1000:.0f} asked",
            )
        return self._evaluate_orange()

    def close(self) -> None:
        self._close_renderer()

    def _evaluate_touch(self, name: str) -> TaskResult:
        order = ", ".join(self._touched) or "nothing"
        gap = np.linalg.norm(self.data.body(name).xpos - self.tip()) * 1000
        done = bool(self._touched) and self._touched[0] == name
        return TaskResult(
            done, f"touched in order: {order}; tip {gap:.0f} mm from the {name}'s centre"
        )

    def _evaluate_orange(self) -> TaskResult:
        orange, bowl = self.data.body("orange").xpos, self.data.body("bowl").xpos
        aside = float(np.hypot(*(orange - bowl)[:2]))
        above = float(orange[2] - bowl[2])
        released = self.state().positions[6] > 2 * tasks.ORANGE_RADIUS_M
        inside = aside < tasks.BOWL_RADIUS_M - 0.01 and above < tasks.ORANGE_RADIUS_M + 0.025
        return TaskResult(
            inside and bool(released),
            f"the orange lies {aside * 1000:.0f} mm from the bowl's centre, "
            f"{above * 1000:.0f} mm up, {'released' if released else 'still held'}",
        )

    def _drive(self) -> None:
        """Move the set-point toward the target within velocity and acceleration limits."""
        if not self._set_point.resting:
            self._set_point.step()
            self._set_controls()

    def _set_controls(self) -> None:
        *joints, gripper = self._set_point.positions
        self.data.ctrl[:] = (*joints, gripper / 2)

    def _index(self) -> None:
        names = self.arm.joint_names[:-1]
        fingers = ("finger_left", "finger_right")
        self._qpos = np.array([int(self.model.joint(n).qposadr[0]) for n in names])
        self._fingers = np.array([int(self.model.joint(n).qposadr[0]) for n in fingers])
        # One finger stands for the gripper: it opens by half of the opening.
        self._scale = np.array([1.0] * len(names) + [2.0])
        self._measured = np.append(self._qpos, self._fingers[0])
        speeds = [int(self.model.joint(n).dofadr[0]) for n in (*names, fingers[0])]
        self._measured_speeds = np.array(speeds)
        self._is_hand = np.zeros(self.model.ngeom, dtype=bool)
        self._is_hand[[int(self.model.geom(n).id) for n in (*fingers, "palm")]] = True
        self._cube_geoms = {
            int(self.model.geom(o.name).id): o.name for o in self.layout.objects if o.kind == "cube"
        }

    def _note_contacts(self) -> None:
        if not self._cube_geoms:
            return
        pairs = self.data.contact.geom
        by_hand = self._is_hand[pairs]
        if not by_hand.any():
            return
        for pair in pairs[by_hand.any(axis=1)]:
            for geom in pair:
                name = self._cube_geoms.get(int(geom))
                if name is not None and name not in self._touched:
                    self._touched.append(name)

    def _settle(self) -> None:
        for _ in range(round(0.2 / TIMESTEP_S)):
            self._drive()
            mujoco.mj_step(self.model, self.data)
        self.data.time = 0.0

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class SimClock:
    """The `Clock` port of a cell in process: sleeping is what makes simulated time pass."""

    def __init__(self, cell: SimCell) -> None:
        self._cell = cell

    def now_ns(self) -> int:
        return self._cell.now_ns()

    def monotonic_ns(self) -> int:
        return self._cell.now_ns()

    def sleep_until(self, monotonic_ns: int) -> None:
        behind = monotonic_ns - self._cell.now_ns()
        if behind > 0:
            self._cell.advance(behind / NS_PER_S)
