"""What the emulated arm answers to queries and takes as settings (0x472-0x47E, 0x4AF)."""

from __future__ import annotations

from mvista_piper import protocol
from mvista_piper.emulator.controller import Controller
from mvista_piper.emulator.dynamics import Axis
from mvista_piper.emulator.settings import (
    MAX_ACCELERATION_RAD_S2,
    MAX_SPEED_RAD_S,
    OLD_FIRMWARE,
)
from mvista_piper.protocol import MOTORS

Frame = tuple[int, bytes]

_END_LIMITS = protocol.EndLimits(0.5, 1.0, 1.0, 2.0)
_LIMIT_SLACK_RAD = 1e-4


class Parameters:
    """Queries and settings of one arm; each method returns the frames that answer."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._end_limits = _END_LIMITS
        self._pendant = (100, round(controller.gripper.upper * 1e3), 1)

    def limits(self, data: bytes) -> list[Frame]:
        """0x472: range and speed (0x473) or acceleration (0x47C) of one motor."""
        number, content = data[0], data[1]
        if not 1 <= number <= MOTORS:
            return []
        axis, motor = self._controller.joints.axes[number - 1], number - 1
        if content == protocol.ASK_ANGLES:
            upper = self._controller.upper_rad[motor]
            lower = self._controller.lower_rad[motor]
            answer = protocol.AngleLimits(number, upper, lower, axis.max_speed)
            return [(protocol.LIMITS, answer.pack())]
        if content == protocol.ASK_ACCELERATION:
            packed = protocol.pack_acceleration(number, axis.max_acceleration)
            return [(protocol.ACCELERATION, packed)]
        return []

    def set_limits(self, data: bytes) -> list[Frame]:
        """0x474: at most the mechanical range, 3 rad/s and more than 0; refused whole otherwise."""
        wanted, motor = protocol.AngleLimits.unpack(data), data[0] - 1
        if not 0 <= motor < MOTORS:
            return []
        controller = self._controller
        axis = controller.joints.axes[motor]
        upper = controller.upper_rad[motor] if wanted.upper_rad is None else wanted.upper_rad
        lower = controller.lower_rad[motor] if wanted.lower_rad is None else wanted.lower_rad
        speed = axis.max_speed if wanted.max_speed_rad_s is None else wanted.max_speed_rad_s
        in_range = axis.lower - _LIMIT_SLACK_RAD <= lower < upper <= axis.upper + _LIMIT_SLACK_RAD
        if in_range and 0.0 < speed <= MAX_SPEED_RAD_S:
            controller.upper_rad[motor], controller.lower_rad[motor] = upper, lower
            axis.max_speed = speed
        # The acknowledgement says that it was heard, not that it was taken.
        return [_ack(protocol.SET_LIMITS)]

    def configure_joint(self, data: bytes) -> list[Frame]:
        """0x475: acceleration limit, clear error. A new zero is refused: the model has one."""
        wanted = protocol.JointConfig.unpack(data)
        axes = self._controller.joints.axes
        chosen = [
            axis
            for motor, axis in enumerate(axes, 1)
            if wanted.motor in (motor, *protocol.ALL_MOTORS)
        ]
        acceleration = wanted.max_acceleration_rad_s2
        if acceleration is not None and 0.0 < acceleration <= MAX_ACCELERATION_RAD_S2:
            for axis in chosen:
                axis.max_acceleration = acceleration
        if wanted.clear_error:
            self._controller.clear_errors()
        return [_ack(protocol.JOINT_CONFIG)]

    def parameters(self, data: bytes) -> list[Frame]:
        """0x477: end limits, collision levels, gripper parameters; back to the first limits."""
        controller, answers = self._controller, []
        if data[0] == protocol.ASK_END_LIMITS:
            answers.append((protocol.END_LIMITS, self._end_limits.pack()))
        elif data[0] == protocol.ASK_COLLISION:
            levels = bytes((*controller.collision_levels, 0, 0))
            answers.append((protocol.COLLISION, levels))
        elif data[0] == protocol.ASK_GRIPPER:
            answers.append((protocol.GRIPPER_PARAMETERS, bytes((*self._pendant, 0, 0, 0, 0, 0))))
        if data[1] == protocol.RESET_END_LIMITS:
            self._end_limits = _END_LIMITS
        elif data[1] == protocol.RESET_JOINT_LIMITS:
            for motor, axis in enumerate(controller.joints.axes):
                self._first_limits(motor, axis)
        if data[1]:
            answers.append(_ack(protocol.PARAMETERS))
        return answers

    def set_end_limits(self, data: bytes) -> list[Frame]:
        """0x479."""
        self._end_limits = protocol.EndLimits.unpack(data)
        return [_ack(protocol.SET_END_LIMITS)]

    def set_collision(self, data: bytes) -> list[Frame]:
        """0x47A: level 0 (off) to 8 per joint; others leave theirs."""
        for motor, level in enumerate(data[:MOTORS]):
            if level <= 8:
                self._controller.collision_levels[motor] = level
        return [_ack(protocol.SET_COLLISION)]

    def set_gripper(self, data: bytes) -> list[Frame]:
        """0x47D: pendant range (100-200 %), gripper stroke (70 or 100 mm), friction (1-10)."""
        scale, stroke_mm, friction = self._pendant
        scale = data[0] if 100 <= data[0] <= 200 else scale
        stroke_mm = data[1] if data[1] in (70, 100) else stroke_mm
        friction = data[2] if 1 <= data[2] <= 10 else friction
        self._pendant = (scale, stroke_mm, friction)
        self._controller.gripper.upper = stroke_mm * 1e-3
        return [_ack(protocol.SET_GRIPPER_PARAMETERS)]

    def firmware(self, data: bytes) -> list[Frame]:
        """0x4AF: eleven frames of text. Another arm's answer, under the same id, asks nothing."""
        if data != protocol.ASK_FIRMWARE:
            return []
        old = self._controller.faults.old_dh
        text = OLD_FIRMWARE if old else self._controller.settings.firmware
        return [(protocol.FIRMWARE, part) for part in protocol.pack_firmware(text)]

    def _first_limits(self, motor: int, axis: Axis) -> None:
        axis.max_speed, axis.max_acceleration = MAX_SPEED_RAD_S, MAX_ACCELERATION_RAD_S2
        self._controller.lower_rad[motor] = axis.lower
        self._controller.upper_rad[motor] = axis.upper


def _ack(can_id: int) -> Frame:
    return protocol.ACK, bytes((can_id & 0xFF, 0, 0, 0, 0, 0, 0, 0))
