"""The emulated arm's main controller: modes, enabling, set-points, stops, role.

What the real one does where sources are silent is chosen to be unforgiving: set-points taken since
enabling are pursued as soon as the mode allows it, each frame of two joints counts by itself, and
nothing times out. Not emulated: Cartesian, arc, MIT and offline moves; the arm then holds.
"""

from __future__ import annotations

from collections import deque
from math import radians

from mvista_piper import protocol
from mvista_piper.emulator.dynamics import Axis, Joints
from mvista_piper.emulator.faults import Faults
from mvista_piper.emulator.hand import HandMotion
from mvista_piper.emulator.settings import (
    GRIPPER_ACCELERATION_M_S2,
    GRIPPER_SPEED_M_S,
    LOWER_DEG,
    MAX_ACCELERATION_RAD_S2,
    MAX_SPEED_RAD_S,
    UPPER_DEG,
    EmulatorSettings,
)
from mvista_piper.protocol import MOTORS, ArmCondition, CtrlMode, MoveMode

_TARGETS_KEPT = 6
"""Periods over which the speed of a streamed target is measured (high follow)."""
_LIMIT_SLACK_RAD = 1e-4
_MOVING_RAD, _MOVING_RAD_S = 1e-3, 1e-3


class Controller:
    """State of one arm. Motors are numbered from 0 in here."""

    def __init__(self, settings: EmulatorSettings, faults: Faults) -> None:
        self.settings, self.faults = settings, faults
        angles = zip(settings.joints_rad, LOWER_DEG, UPPER_DEG, strict=True)
        axes = [
            Axis(q, radians(low), radians(high), MAX_SPEED_RAD_S, MAX_ACCELERATION_RAD_S2)
            for q, low, high in angles
        ]
        self.joints = Joints(axes)
        self.lower_rad = [axis.lower for axis in axes]
        self.upper_rad = [axis.upper for axis in axes]
        self.gripper = Axis(
            settings.gripper_m,
            0.0,
            settings.gripper_stroke_m,
            GRIPPER_SPEED_M_S,
            GRIPPER_ACCELERATION_M_S2,
        )
        self.ctrl_mode, self.move_mode = int(CtrlMode.STANDBY), int(MoveMode.POSE)
        self.speed_percent, self.follow = 0, False
        self.enabled = [settings.enabled] * MOTORS
        self.gripper_enabled = settings.enabled
        self.gripper_target_m, self.gripper_torque_nm = settings.gripper_m, 0.0
        self.stopped = False
        self.collided = 0
        self.collision_levels = [settings.collision_level] * MOTORS
        self.over_limit = [False] * MOTORS
        self.leader = False
        self._leader_by_fault = False
        self.feedback_offset = self.control_offset = self.link_offset = 0
        self._enables_to_ignore = 0
        self._targets = [deque([q], _TARGETS_KEPT) for q in settings.joints_rad]
        self._set_points = list(settings.joints_rad)
        self._hand: list[float] | None = None
        self.hand: HandMotion | None = None
        self._played_s: float | None = None

    # What it says of itself
    @property
    def condition(self) -> ArmCondition:
        """0x2A1 byte 1."""
        if self.stopped:
            return ArmCondition.EMERGENCY_STOP
        if self.collided:
            return ArmCondition.COLLISION
        if self.faults.hot_motor:
            return ArmCondition.JOINT_FAULT
        return ArmCondition.OVER_LIMIT if any(self.over_limit) else ArmCondition.NORMAL

    @property
    def error_code(self) -> int:
        """0x2A1 bytes 6 and 7: joints beyond their limits, joints that do not answer."""
        over = sum(1 << motor for motor in range(MOTORS) if self.over_limit[motor])
        lost = 1 << self.faults.lost_joint - 1 if self.faults.lost_joint else 0
        return over << 8 | lost

    @property
    def moving(self) -> bool:
        """0x2A1 byte 4: on the way to a target."""
        return any(
            abs(axis.velocity) > _MOVING_RAD_S or abs(target - axis.position) > _MOVING_RAD
            for axis, target in zip(self.joints.axes, self._set_points, strict=True)
        )

    @property
    def follows_set_points(self) -> bool:
        """Whether a set-point moves the arm now."""
        held = self.stopped or self.collided or self.faults.hot_motor or self.leader
        mode = (self.ctrl_mode, self.move_mode)
        return not held and mode == (CtrlMode.CAN, MoveMode.JOINT)

    # Commands
    def stop(self, command: protocol.StopCommand) -> None:
        """0x150."""
        if command.stop == protocol.QUICK_STOP:
            self.stopped = True
        elif command.stop == protocol.RESET:
            # After an emergency stop the first enable is lost (piper_sdk issue 66).
            self._enables_to_ignore = 1 if self.stopped else 0
            self.stopped = False
            self.ctrl_mode = int(CtrlMode.LEADER if self.leader else CtrlMode.STANDBY)
            self.clear_errors()
            for motor in range(MOTORS):
                self.enabled[motor] = False
            self.gripper_enabled = False

    def set_mode(self, command: protocol.ModeCommand) -> None:
        """0x151: taken whole or not at all."""
        if self.stopped or command.speed_percent > 100:
            return
        # Move modes go up to 6: 5 is CPV, 6 is MIT from S-V1.8-8 on.
        if command.ctrl_mode not in tuple(CtrlMode) or command.move_mode > MoveMode.MIT + 2:
            return
        self.ctrl_mode, self.move_mode = command.ctrl_mode, command.move_mode
        self.speed_percent = command.speed_percent
        self.follow = command.follow == protocol.HIGH_FOLLOW

    def set_targets(self, first: int, angles_rad: tuple[float, float]) -> None:
        """0x155-0x157: set-points of motors `first` and the next; one beyond its limit is left."""
        if self.stopped:
            return
        for motor, angle in enumerate(angles_rad, first):
            low = self.lower_rad[motor] - _LIMIT_SLACK_RAD
            high = self.upper_rad[motor] + _LIMIT_SLACK_RAD
            self.over_limit[motor] = not low <= angle <= high
            # Kept in whatever mode: pursued once the mode allows it.
            if self.enabled[motor] and not self.over_limit[motor]:
                self._set_points[motor] = angle

    def set_gripper(self, command: protocol.GripperCommand) -> None:
        """0x159."""
        if self.stopped:
            return
        if command.set_zero:
            self.gripper.position = self.gripper_target_m = 0.0
            self.gripper.halt()
            return
        on = bool(command.code & 1)
        if on and not self.gripper_enabled:
            self.gripper_target_m = self.gripper.position
        self.gripper_enabled = on
        if 0.0 <= command.opening_m <= self.gripper.upper:
            self.gripper_target_m, self.gripper_torque_nm = command.opening_m, command.torque_nm

    def enable(self, command: protocol.EnableCommand) -> None:
        """0x471."""
        if command.flag == protocol.MOTOR_ON and (self.stopped or self._enables_to_ignore):
            self._enables_to_ignore = max(0, self._enables_to_ignore - 1)
            return
        every = command.motor in protocol.ALL_MOTORS
        for motor in range(MOTORS) if every else (command.motor - 1,):
            if not 0 <= motor < MOTORS:
                continue
            if command.flag == protocol.MOTOR_OFF:
                self.enabled[motor] = False
            elif command.flag == protocol.MOTOR_ON and motor != self.faults.not_enabling - 1:
                if not self.enabled[motor]:
                    self._hold_here(motor)
                self.enabled[motor] = True

    def set_role(self, command: protocol.RoleCommand) -> None:
        """0x470."""
        self._leader_by_fault = False
        if command.role == protocol.LEADER:
            self.leader, self.ctrl_mode = True, int(CtrlMode.LEADER)
        elif command.role == protocol.FOLLOWER:
            self.leader, self.faults.leader, self._hand = False, False, None
            self.ctrl_mode = int(CtrlMode.STANDBY)
            for motor in range(MOTORS):
                self._hold_here(motor)
        offsets = (command.feedback_offset, command.control_offset, command.link_offset)
        if all(offset in protocol.OFFSETS for offset in offsets):
            self.feedback_offset, self.control_offset, self.link_offset = offsets

    def clear_errors(self) -> None:
        """0x475 byte 5, and every reset."""
        self.collided = 0
        self.over_limit = [False] * MOTORS

    # Motion
    def guide(self, motor: int, position: float) -> None:
        """A person leads one joint (0 to 5, rad) of a leader there, or its gripper (6, m)."""
        if self._hand is None:
            self._hand = [*self.joints.positions, self.gripper.position]
        axis = (*self.joints.axes, self.gripper)[motor]
        self._hand[motor] = max(axis.lower, min(axis.upper, position))

    def play(self, on: bool) -> None:
        """The hand of a leader begins its motion from the start, or rests where it is."""
        self._played_s = 0.0 if on and self.hand is not None else None

    def place(self, motor: int, position: float) -> None:
        """Put one joint (0 to 5, rad) or the gripper (6, m) elsewhere at once, by hand."""
        axis = self.gripper if motor == MOTORS else self.joints.axes[motor]
        axis.position = max(axis.lower, min(axis.upper, position))
        axis.halt()
        if motor == MOTORS:
            self.gripper_target_m = axis.position
        else:
            self._hold_here(motor)

    def drive(self, period_s: float) -> None:
        """One period of all motors."""
        self._obey_faults()
        self.joints.feel_gravity()
        pursue = self.follows_set_points
        held = bool(self.collided or self.faults.hot_motor)
        if self.leader:
            self._lead(period_s)
            return
        for motor in range(MOTORS):
            self._drive_motor(motor, pursue, held, period_s)
        if self.gripper_enabled and not self.stopped:
            self.gripper.track(self.gripper_target_m, 0.0, 1.0, period_s)
        else:
            self.gripper.brake(period_s)

    def _drive_motor(self, motor: int, pursue: bool, held: bool, period_s: float) -> None:
        axis = self.joints.axes[motor]
        history = self._targets[motor]
        if not self.enabled[motor]:
            self.joints.fall(motor, period_s)
        elif self.stopped:
            self.joints.sink(motor, period_s)
        elif held:
            axis.brake(period_s)
        elif pursue:
            self._track(motor, period_s)
            return
        else:
            axis.brake(period_s)
            # Set-points are kept for when the mode follows them; only their speed begins anew.
            history.clear()
            history.append(axis.position)
            return
        # What was not driven to a set-point has none to go back to afterwards.
        self._hold_here(motor)

    def _lead(self, period_s: float) -> None:
        """One period of an arm in a person's hand."""
        axes = (*self.joints.axes, self.gripper)
        if self._played_s is not None and self.hand is not None:
            self._played_s += period_s
            for axis, position in zip(axes, self.hand.at(self._played_s), strict=True):
                axis.carry(position, period_s)
        elif self._hand is not None:
            for axis, position in zip(axes, self._hand, strict=True):
                axis.track(position, 0.0, 1.0, period_s)
        else:
            for axis in axes:
                axis.brake(period_s)
        # What was not driven to a set-point has none to go back to afterwards.
        self.gripper_target_m = self.gripper.position
        for motor in range(MOTORS):
            self._hold_here(motor)

    def _track(self, motor: int, period_s: float) -> None:
        history, target, speed_rad_s = self._targets[motor], self._set_points[motor], 0.0
        history.append(target)
        if self.follow:
            # Fed forward, or it would lag by speed / gain; before a short history it stood still.
            speed_rad_s = (target - history[0]) / (period_s * (_TARGETS_KEPT - 1))
        axis = self.joints.axes[motor]
        axis.track(target, speed_rad_s, self.speed_percent / 100.0, period_s)

    def _hold_here(self, motor: int) -> None:
        position = self.joints.axes[motor].position
        self._set_points[motor] = position
        history = self._targets[motor]
        history.clear()
        history.append(position)

    def _obey_faults(self) -> None:
        faults = self.faults
        if faults.leader and not self.leader:
            self.set_role(protocol.RoleCommand(protocol.LEADER))
            self._leader_by_fault = True
        elif self._leader_by_fault and not faults.leader:
            # One that 0x470 made stays: no fault of ours made it.
            self.set_role(protocol.RoleCommand(protocol.FOLLOWER))
        if faults.collision and self.collision_levels[faults.collision - 1]:
            self.collided = faults.collision
        if faults.not_enabling:
            self.enabled[faults.not_enabling - 1] = False
