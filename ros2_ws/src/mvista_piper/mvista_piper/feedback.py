"""What the arm says, each frame with the stamp of its own: values without a stamp are no feedback.

piper_sdk's getters return zeros before the first frame and the last value for ever after the last
(robot_stack 1.4). Here a group counts only while its newest frame is fresh, and a pose exists only
while all frames that make it are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mvista_core.records import Float64, JointState
from mvista_core.timing import NS_PER_S, seconds_to_ns
from mvista_piper import protocol
from mvista_piper.identity import ArmAnswers, Role
from mvista_piper.limits import MAX_ACCELERATION_RAD_S2, MOTORS, MotorLimits
from mvista_piper.link import Stamp
from mvista_piper.protocol import JOINT_FEEDBACK, MOTOR_FAST, MOTOR_SLOW, CtrlMode, MotorBit

LEADER_IDS = frozenset({*range(0x2B1, 0x2B9), *range(0x2C1, 0x2C9)})
"""Feedback with an id offset (0x470 byte 1): only arms set up as leaders send it."""

_FIRMWARE_LENGTH = 8
MOST_DEAF_S = 0.3
"""So long the receiving thread may be kept from the bus before it counts as silence."""
_MDEG = np.pi / 180.0 / 1000.0

CTRL_MODES = {
    0: "standby", 1: "CAN", 2: "teach", 3: "ethernet", 4: "wifi", 5: "remote control",
    6: "leader", 7: "offline trajectory",
}  # fmt: skip
ARM_STATUS = {
    0: "normal", 1: "emergency stop", 2: "no solution", 3: "singularity",
    4: "target beyond the limits", 5: "joint communication fault", 6: "brake not released",
    7: "collision", 8: "overspeed while taught", 9: "joint fault", 10: "other fault",
    11: "teach record", 12: "teach replay", 13: "teach pause",
    14: "controller over temperature", 15: "brake resistor over temperature",
}  # fmt: skip
DRIVER_BITS = {
    0: "undervoltage", 1: "motor over temperature", 2: "overcurrent",
    3: "driver over temperature", 4: "collision", 5: "driver error", 7: "stall",
}  # fmt: skip


@dataclass(frozen=True)
class ArmStatus:
    """0x2A1: what the arm's controller says of itself."""

    ctrl_mode: int
    status: int
    mode_feed: int
    error_code: int

    @property
    def problem(self) -> str:
        """What is wrong, "" if nothing is."""
        said = []
        if self.status:
            said.append(f"arm status {self.status} ({ARM_STATUS.get(self.status, 'unknown')})")
        for shift, text in ((8, "over its limit"), (0, "communication fault")):
            joints = [i + 1 for i in range(MOTORS) if self.error_code >> (shift + i) & 1]
            said += [f"joint{joint} {text}" for joint in joints]
        return ", ".join(said)


@dataclass(frozen=True)
class MotorStatus:
    """0x261 to 0x266: one motor and its driver."""

    voltage_v: float
    driver_temperature_c: float
    motor_temperature_c: float
    bits: int

    @property
    def enabled(self) -> bool:
        return bool(self.bits & MotorBit.ENABLED)

    @property
    def problem(self) -> str:
        """The fault bits by name, "" if none is set."""
        return ", ".join(text for bit, text in DRIVER_BITS.items() if self.bits >> bit & 1)


@dataclass(frozen=True)
class _Stamped:
    value: Any
    stamp: Stamp


class Feedback:
    """The newest of every group. `take` belongs to the receiving thread; reading is free."""

    def __init__(
        self, sdk: Any, names: tuple[str, ...], stale_s: float, slow_stale_s: float
    ) -> None:
        """`sdk` is the link's `C_PiperInterface_V2`: it has parsed each frame that `take` gets."""
        self._sdk, self._names = sdk, names
        self._stale_ns, self._slow_stale_ns = seconds_to_ns(stale_s), seconds_to_ns(slow_stale_s)
        self._has_gripper = len(names) > MOTORS
        self._pose_ids = (
            *JOINT_FEEDBACK,
            *((protocol.GRIPPER_FEEDBACK,) if self._has_gripper else ()),
        )
        self._watched = self._make_watched(stale_s, slow_stale_s)
        self._readers = self._make_readers()
        self.forget()

    def forget(self) -> None:
        """As if nothing had been heard: what comes next is the arm's present state."""
        self._newest: dict[int, _Stamped] = {}
        self._previous: dict[int, _Stamped] = {}
        self._limits: dict[int, tuple[float, float, float]] = {}
        self._accelerations: dict[int, float] = {}
        self._collision_levels: tuple[int, ...] = ()
        self._heard_ns = 0
        self._leader_seen = False
        self._changed_ns = [0] * MOTORS
        self._waiting = set(JOINT_FEEDBACK)

    # In
    def heard(self, now_ns: int) -> None:
        """The bus was listened to until this moment (monotonic), and nothing more was on it."""
        self._heard_ns = now_ns

    def take(self, can_id: int, stamp: Stamp) -> bool:
        """Note a frame that the SDK has just parsed; True when it completes a set of joints."""
        self._heard_ns = stamp.monotonic_ns
        if can_id in LEADER_IDS:
            self._leader_seen = True
        reader = self._readers.get(can_id)
        if reader is None:
            return False
        value = reader()
        if can_id in self._newest:
            self._previous[can_id] = self._newest[can_id]
        if can_id in JOINT_FEEDBACK:
            self._note_changes(can_id, value, stamp)
        self._newest[can_id] = _Stamped(value, stamp)
        self._waiting.discard(can_id)
        if self._waiting or can_id not in JOINT_FEEDBACK:
            return False
        self._waiting = set(JOINT_FEEDBACK)
        return True

    def _note_changes(self, can_id: int, value: Float64, stamp: Stamp) -> None:
        before, first = self._newest.get(can_id), 2 * JOINT_FEEDBACK.index(can_id)
        for k in range(2):
            if before is None or before.value[k] != value[k]:
                self._changed_ns[first + k] = stamp.monotonic_ns

    def _make_watched(self, stale_s: float, slow_s: float) -> list[tuple[int, str, float]]:
        joints = [
            (can_id, f"joints {2 * k + 1}-{2 * k + 2} (0x{can_id:X})", stale_s)
            for k, can_id in enumerate(JOINT_FEEDBACK)
        ]
        gripper = [(protocol.GRIPPER_FEEDBACK, "gripper (0x2A8)", stale_s)]
        motors = [
            (can_id, f"motor {k + 1} (0x{can_id:X})", slow_s) for k, can_id in enumerate(MOTOR_SLOW)
        ]
        status = (protocol.STATUS, "status (0x2A1)", stale_s)
        return [*joints, *(gripper if self._has_gripper else []), status, *motors]

    def _make_readers(self) -> dict[int, Callable[[], Any]]:
        readers: dict[int, Callable[[], Any]] = {
            protocol.STATUS: self._read_status,
            protocol.GRIPPER_FEEDBACK: self._read_gripper,
            protocol.LIMITS: self._read_limits,
            protocol.ACCELERATION: self._read_acceleration,
            protocol.COLLISION: self._read_collision,
        }
        for pair, can_id in enumerate(JOINT_FEEDBACK):
            readers[can_id] = partial(self._read_joints, pair)
        for motor in range(MOTORS):
            readers[MOTOR_FAST[motor]] = partial(self._read_speed, motor + 1)
            readers[MOTOR_SLOW[motor]] = partial(self._read_motor, motor + 1)
        return readers

    def _read_joints(self, pair: int) -> Float64:
        joints = self._sdk.GetArmJointMsgs().joint_state
        first, second = (getattr(joints, f"joint_{2 * pair + k}") for k in (1, 2))
        return np.array([first * _MDEG, second * _MDEG])

    def _read_gripper(self) -> Float64:
        return np.array([self._sdk.GetArmGripperMsgs().gripper_state.grippers_angle * 1e-6])

    def _read_speed(self, motor: int) -> float:
        info = getattr(self._sdk.GetArmHighSpdInfoMsgs(), f"motor_{motor}")
        return float(info.motor_speed) * 1e-3

    def _read_motor(self, motor: int) -> MotorStatus:
        info = getattr(self._sdk.GetArmLowSpdInfoMsgs(), f"motor_{motor}")
        bits = int(info.foc_status_code)
        return MotorStatus(info.vol * 0.1, float(info.foc_temp), float(info.motor_temp), bits)

    def _read_status(self) -> ArmStatus:
        said = self._sdk.GetArmStatus().arm_status
        return ArmStatus(
            int(said.ctrl_mode), int(said.arm_status), int(said.mode_feed), int(said.err_code)
        )

    def _read_limits(self) -> None:
        # The SDK's "all motors" getters hold six references to one object: the last motor's.
        said = self._sdk.GetCurrentMotorAngleLimitMaxVel().current_motor_angle_limit_max_vel
        low, high = (np.deg2rad(v * 0.1) for v in (said.min_angle_limit, said.max_angle_limit))
        self._limits[int(said.motor_num)] = (float(low), float(high), said.max_joint_spd * 1e-3)

    def _read_acceleration(self) -> None:
        said = self._sdk.GetCurrentMotorMaxAccLimit().current_motor_max_acc_limit
        # 0x475 sets it in 0.01 rad/s^2, the SDK documents 0x47C in 0.001: what would be more than
        # any joint takes is in the smaller unit.
        value = said.max_joint_acc * 1e-2
        value = value if value <= MAX_ACCELERATION_RAD_S2 else said.max_joint_acc * 1e-3
        self._accelerations[int(said.joint_motor_num)] = value

    def _read_collision(self) -> None:
        said = self._sdk.GetCrashProtectionLevelFeedback().crash_protection_level_feedback
        levels = (getattr(said, f"joint_{i + 1}_protection_level") for i in range(MOTORS))
        self._collision_levels = tuple(int(level) for level in levels)

    # Out
    def _until(self, now_ns: int) -> int:
        """What ages are counted to: the last moment at which the bus was listened to.

        A process that was not run for a while finds frames waiting: the arm was not silent. After
        `MOST_DEAF_S` without listening it no longer knows, and ages count to the present.
        """
        deaf = now_ns - self._heard_ns > seconds_to_ns(MOST_DEAF_S)
        return now_ns if deaf else min(now_ns, self._heard_ns)

    def age_s(self, can_id: int, now_ns: int) -> float:
        """Age of the newest frame of an id in seconds; infinite when there was none."""
        newest = self._newest.get(can_id)
        if newest is None:
            return float("inf")
        return max(self._until(now_ns) - newest.stamp.monotonic_ns, 0) / NS_PER_S

    def stale(self, now_ns: int) -> str:
        """Which groups are missing or old, with their ages; "" when all are fresh."""
        said = [
            f"{label} ({self._age_text(can_id, now_ns)})"
            for can_id, label, limit_s in self._watched
            if self.age_s(can_id, now_ns) > limit_s
        ]
        return ", ".join(said)

    def _age_text(self, can_id: int, now_ns: int) -> str:
        age_s = self.age_s(can_id, now_ns)
        return "never" if age_s == float("inf") else f"{age_s:.3f} s old"

    def pose(self, now_ns: int) -> JointState | None:
        """Measured joints, stamped with the oldest frame that makes them; None unless all fresh."""
        fresh = self._fresh_pose(now_ns)
        if not fresh:
            return None
        positions = np.concatenate([frame.value for frame in fresh])
        stamp_ns = min(frame.stamp.wall_ns for frame in fresh)
        velocities = self._velocities(self._until(now_ns))
        return JointState(self._names, positions, velocities, stamp_ns)

    def positions(self, now_ns: int) -> Float64 | None:
        """The positions of `pose` alone, [J]."""
        fresh = self._fresh_pose(now_ns)
        return np.concatenate([frame.value for frame in fresh]) if fresh else None

    def _fresh_pose(self, now_ns: int) -> list[_Stamped]:
        """The frames that make a pose; none unless all are fresh."""
        frames = [self._newest.get(can_id) for can_id in self._pose_ids]
        since_ns = self._until(now_ns) - self._stale_ns
        fresh = [frame for frame in frames if frame and frame.stamp.monotonic_ns >= since_ns]
        return fresh if len(fresh) == len(frames) else []

    def _velocities(self, until_ns: int) -> Float64:
        """The motors' own speeds; where one is stale, the change between its last two positions."""
        speeds = np.concatenate([self._difference(can_id) for can_id in self._pose_ids])
        for motor, can_id in enumerate(MOTOR_FAST):
            newest = self._newest.get(can_id)
            if newest and until_ns - newest.stamp.monotonic_ns <= self._stale_ns:
                speeds[motor] = newest.value
        return speeds

    def _difference(self, can_id: int) -> Float64:
        newest, previous = self._newest[can_id], self._previous.get(can_id)
        if previous is None:
            return np.zeros_like(newest.value)
        elapsed_ns = newest.stamp.monotonic_ns - previous.stamp.monotonic_ns
        if elapsed_ns <= 0:
            return np.zeros_like(newest.value)
        change: Float64 = (newest.value - previous.value) * (NS_PER_S / elapsed_ns)
        return change

    def unchanged_s(self, now_ns: int) -> Float64:
        """How long each motor's joint [6] has said the very same, in seconds."""
        return (self._until(now_ns) - np.array(self._changed_ns)) / NS_PER_S

    def status(self, now_ns: int, since_ns: int = 0) -> ArmStatus | None:
        """The controller's status if fresh and not older than `since_ns`."""
        found = self._newest.get(protocol.STATUS)
        if found is None or found.stamp.monotonic_ns < since_ns:
            return None
        fresh = self._until(now_ns) - found.stamp.monotonic_ns <= self._stale_ns
        return found.value if fresh else None

    def motors(self, now_ns: int, since_ns: int = 0) -> tuple[MotorStatus | None, ...]:
        """Each motor's status if fresh and not older than `since_ns`, motor 1 first."""
        found, until_ns = [self._newest.get(can_id) for can_id in MOTOR_SLOW], self._until(now_ns)
        return tuple(
            f.value
            if f
            and f.stamp.monotonic_ns >= since_ns
            and until_ns - f.stamp.monotonic_ns <= self._slow_stale_ns
            else None
            for f in found
        )

    # Identity
    def role(self, now_ns: int) -> Role:
        """Leader when it says so or offsets its ids; follower when it answers as one."""
        status = self.status(now_ns)
        if self._leader_seen or (status and status.ctrl_mode == CtrlMode.LEADER):
            return Role.LEADER
        return Role.UNKNOWN if status is None else Role.FOLLOWER

    def answers(self, now_ns: int) -> ArmAnswers:
        """What has been answered so far to `PiperLink.ask_identity`."""
        firmware = self._sdk.GetPiperFirmwareVersion()
        whole = isinstance(firmware, str) and len(firmware) >= _FIRMWARE_LENGTH
        limits = {
            motor: MotorLimits(*found, self._accelerations[motor])
            for motor, found in self._limits.items()
            if motor in self._accelerations
        }
        return ArmAnswers(
            firmware.rstrip("\x00 ") if whole else "",
            self.role(now_ns),
            limits,
            self._collision_levels,
        )
