"""The frames that the emulated arm sends by itself, at the real cadence.

Every 5 ms: 0x2A1-0x2A8 and 0x251-0x256 (14 frames); every 25 ms, spread over five periods:
0x261-0x266. 2,800 + 240 = 3,040 frames/s, piper_sdk's "normal frame rate".
"""

from __future__ import annotations

from mvista_piper import protocol
from mvista_piper.emulator.controller import Controller
from mvista_piper.emulator.kinematics import flange_pose
from mvista_piper.protocol import MOTORS, MotorBit

Frame = tuple[int, bytes]

PERIOD_S = 0.005
PERIOD_NS = 5_000_000
SLOW_EVERY = 5
FRAMES_PER_S = 3040

_NM_PER_A = (1.18125, 1.18125, 1.18125, 0.95844, 0.95844, 0.95844)
"""piper_sdk's fixed torque coefficients (`ArmMsgFeedbackHighSpd.cal_effort`)."""
_LARGEST_A, _LARGEST_RAD_S = 32.0, 32.0
_SUPPLY_V, _DRIVER_C, _MOTOR_C, _HOT_C = 24.0, 38, 34, 95
_HOT_BITS = MotorBit.MOTOR_HOT | MotorBit.DRIVER_HOT


class FeedbackFrames:
    """Frames of one arm, period by period."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._period = 0
        self._frozen: tuple[int, float] | None = None

    def next(self) -> list[Frame]:
        """What the arm sends in this period."""
        self._period += 1
        controller, lost = self._controller, self._controller.faults.lost_joint
        if controller.leader:
            return self._leader_frames()
        positions, speeds = self._felt()
        frames = self._arm_frames(positions)
        frames += self._fast_frames(positions, speeds)
        # Six motors in five periods: the first and the last share one.
        frames += [
            (protocol.MOTOR_SLOW[motor], self.health(motor).pack())
            for motor in range(MOTORS)
            if motor % SLOW_EVERY == self._period % SLOW_EVERY
        ]
        if lost:
            gone = (protocol.JOINT_FEEDBACK[(lost - 1) // 2], protocol.MOTOR_FAST[lost - 1])
            frames = [frame for frame in frames if frame[0] not in gone]
        return frames

    def _felt(self) -> tuple[list[float], list[float]]:
        """What the encoders say: positions and speeds, one of them frozen if so told."""
        axes = self._controller.joints.axes
        positions = [axis.position for axis in axes]
        speeds = [axis.velocity for axis in axes]
        frozen = self._controller.faults.frozen_joint
        if not frozen:
            self._frozen = None
        else:
            if self._frozen is None or self._frozen[0] != frozen:
                self._frozen = (frozen, positions[frozen - 1])
            positions[frozen - 1], speeds[frozen - 1] = self._frozen[1], 0.0
        return positions, speeds

    def status(self) -> protocol.ArmStatus:
        """0x2A1."""
        arm = self._controller
        return protocol.ArmStatus(
            arm.ctrl_mode,
            arm.condition,
            arm.move_mode,
            moving=arm.moving,
            error_code=arm.error_code,
        )

    def health(self, motor: int) -> protocol.MotorHealth:
        """0x261-0x266; motor from 0."""
        arm, hot = self._controller, self._controller.faults.hot_motor == motor + 1
        bits = int(_HOT_BITS) if hot else 0
        if arm.enabled[motor]:
            bits |= MotorBit.ENABLED
        if arm.collided == motor + 1:
            bits |= MotorBit.COLLISION
        current = abs(self._current_a(motor)) * 0.5
        driver_c, motor_c = (_HOT_C, _HOT_C) if hot else (_DRIVER_C, _MOTOR_C)
        return protocol.MotorHealth(_SUPPLY_V, driver_c, motor_c, bits, current)

    def _arm_frames(self, positions: list[float]) -> list[Frame]:
        arm, angles = self._controller, protocol.pack_angles
        pose = protocol.pack_end_pose(*flange_pose(positions, arm.faults.old_dh))
        feedback = protocol.JOINT_FEEDBACK
        return [
            (protocol.STATUS, self.status().pack()),
            *zip(protocol.END_POSE, pose, strict=True),
            (feedback[0], angles(positions[0], positions[1])),
            (feedback[1], angles(positions[2], positions[3])),
            (feedback[2], angles(positions[4], positions[5])),
            (protocol.GRIPPER_FEEDBACK, self._gripper_state().pack()),
        ]

    def _gripper_state(self) -> protocol.GripperState:
        arm = self._controller
        closing = arm.gripper_target_m - arm.gripper.position if arm.gripper_enabled else 0.0
        torque = 0.0 if abs(closing) < 1e-5 else arm.gripper_torque_nm
        # Bit 7 says stall in 0x261-0x266, and "zeroed" in the gripper's frame.
        bits = 1 << 7 | (MotorBit.ENABLED if arm.gripper_enabled else 0)
        return protocol.GripperState(arm.gripper.position, torque, bits)

    def _fast_frames(self, positions: list[float], speeds: list[float]) -> list[Frame]:
        # int16 in 0.001 rad/s ends at 32.767: a faster fall could not be packed.
        clamp = _LARGEST_RAD_S
        return [
            (
                protocol.MOTOR_FAST[motor],
                protocol.pack_motor_fast(
                    max(-clamp, min(clamp, speeds[motor])),
                    self._current_a(motor),
                    positions[motor],
                ),
            )
            for motor in range(MOTORS)
        ]

    def _current_a(self, motor: int) -> float:
        """What the motor draws to carry its load: against gravity, none without power."""
        arm = self._controller
        if not arm.enabled[motor]:
            return 0.0
        current = -arm.joints.torques_nm[motor] / _NM_PER_A[motor]
        return max(-_LARGEST_A, min(_LARGEST_A, current))

    def _leader_frames(self) -> list[Frame]:
        """A leader sends set-points while it is moved, and feedback only if its ids are offset."""
        arm, frames = self._controller, []
        if arm.feedback_offset:
            positions, _ = self._felt()
            frames = [(i + arm.feedback_offset, d) for i, d in self._arm_frames(positions)]
        axes = arm.joints.axes
        if any(axis.velocity for axis in (*axes, arm.gripper)):
            mode = protocol.ModeCommand(1, 1, 100, protocol.HIGH_FOLLOW)
            gripper = protocol.GripperCommand(arm.gripper.position, 1.0, 1)
            pairs = [
                protocol.pack_angles(axes[i].position, axes[i + 1].position) for i in (0, 2, 4)
            ]
            ids = (protocol.MODE, *protocol.JOINTS, protocol.GRIPPER)
            data = (mode.pack(), *pairs, gripper.pack())
            frames += [(i + arm.link_offset, d) for i, d in zip(ids, data, strict=True)]
        return frames
