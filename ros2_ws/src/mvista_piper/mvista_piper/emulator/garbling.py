"""Frames that say what cannot be: the faults of a sensor, an adapter or a program on the bus."""

from __future__ import annotations

from mvista_piper import protocol
from mvista_piper.emulator.faults import Faults
from mvista_piper.protocol import JOINT_FEEDBACK, MOTORS

Frame = tuple[int, bytes]

EXTENDED = 0x8000_0000
"""`CAN_EFF_FLAG` of linux/can.h: the id has 29 bits."""
_NO_MODE = 0xCC
_HOT_C = 300


def garble(frames: list[Frame], faults: Faults) -> list[Frame]:
    """What leaves the arm, with the faults of `wild_*`, `short_joint` and `wide_joint`."""
    made = []
    for can_id, data in frames:
        if faults.wild_joint and can_id == _frame_of(faults.wild_joint):
            data = _wild_angle(data, faults)
        if faults.wild_status and can_id == protocol.STATUS:
            data = bytes((_NO_MODE,)) + data[1:]
            faults.wild_status -= 1
        if faults.wild_motor and can_id == protocol.MOTOR_SLOW[faults.wild_motor - 1]:
            data = data[:2] + _HOT_C.to_bytes(2, "big") + data[4:]
        if faults.short_joint and can_id == _frame_of(faults.short_joint):
            data = data[:4]
        if faults.wide_joint and can_id == _frame_of(faults.wide_joint):
            can_id |= EXTENDED
        made.append((can_id, data))
    return made


def _frame_of(joint: int) -> int:
    """The id of the feedback of a joint, 1 to 6, or of the gripper, 7."""
    return protocol.GRIPPER_FEEDBACK if joint > MOTORS else JOINT_FEEDBACK[(joint - 1) // 2]


def _wild_angle(data: bytes, faults: Faults) -> bytes:
    value = faults.wild_value
    if faults.wild_joint > MOTORS:
        state = protocol.GripperState.unpack(data)
        data = protocol.GripperState(value, state.torque_nm, state.bits).pack()
    else:
        angles = list(protocol.unpack_angles(data))
        angles[(faults.wild_joint - 1) % 2] = value
        data = protocol.pack_angles(*angles)
    if faults.wild_frames:
        faults.wild_frames -= 1
        faults.wild_joint = faults.wild_joint if faults.wild_frames else 0
    return data
