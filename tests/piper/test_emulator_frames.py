"""What the emulated arm sends and answers, and each of its faults as the wire shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_core.errors import ConfigError
from mvista_core.timing import NS_PER_S
from mvista_piper import protocol
from mvista_piper.emulator import FAULT_NAMES, EmulatedPiper, EmulatorSettings, Faults
from mvista_piper.emulator.control import ORDER_NAMES, Order
from mvista_piper.emulator.feedback import FRAMES_PER_S, PERIOD_NS
from mvista_piper.protocol import (
    ArmCondition,
    ArmStatus,
    EnableCommand,
    JointConfig,
    ModeCommand,
    MotorBit,
    MotorHealth,
    RoleCommand,
)

HOME = (0.0, 1.2, -1.1, 0.0, 1.0, 0.0)
RAISED = EmulatorSettings(joints_rad=HOME, enabled=True)
FOLLOW = ModeCommand(1, 1, 100, protocol.HIGH_FOLLOW).pack()


def ask(arm: EmulatedPiper, can_id: int, *data: int) -> list[tuple[int, bytes]]:
    """Send one frame; what the next period brings beside the feedback."""
    arm.advance(0.005)
    arm.receive(can_id, bytes(data).ljust(8, b"\0"))
    return [(i, d) for i, d in arm.advance(0.005) if i >= 0x470]


def status(arm: EmulatedPiper) -> ArmStatus:
    return ArmStatus.unpack(dict(arm.advance(0.005))[protocol.STATUS])


def health(arm: EmulatedPiper) -> list[MotorHealth]:
    frames = dict(arm.advance(0.025))
    return [MotorHealth.unpack(frames[i]) for i in protocol.MOTOR_SLOW]


def test_the_cadence_is_the_real_one() -> None:
    counts = Counter(can_id for can_id, _ in EmulatedPiper().advance(1.0))
    assert sum(counts.values()) == FRAMES_PER_S
    fast = {*range(0x2A1, 0x2A9), *range(0x251, 0x257)}
    assert {i: n for i, n in counts.items() if n == 200} == dict.fromkeys(fast, 200)
    assert {i: n for i, n in counts.items() if n == 40} == dict.fromkeys(range(0x261, 0x267), 40)


@given(st.lists(st.integers(0, 3 * PERIOD_NS), max_size=60))
@settings(max_examples=10)
def test_the_cadence_does_not_depend_on_when_it_is_stepped(waits_ns: list[int]) -> None:
    arm, now_ns, sent = EmulatedPiper(), 7 * NS_PER_S, 0
    for wait_ns in (0, *waits_ns):
        now_ns += wait_ns
        sent += sum(can_id == protocol.STATUS for can_id, _ in arm.step(now_ns))
    assert sent == arm.periods == (now_ns - 7 * NS_PER_S) // PERIOD_NS + 1
    assert arm.skipped_periods == 0


def test_after_a_stall_old_frames_are_not_sent_but_the_arm_has_moved_on() -> None:
    arm = EmulatedPiper(RAISED)
    arm.step(0)
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(0.2, 1.2))
    arm.receive(protocol.MODE, FOLLOW)
    frames = arm.step(NS_PER_S)
    assert sum(can_id == protocol.STATUS for can_id, _ in frames) == 4
    assert arm.skipped_periods == 196
    assert arm.joints_rad[0] == pytest.approx(0.2, abs=1e-3)


def test_golden_feedback_of_an_arm_at_rest() -> None:
    frames = {i: d.hex().upper() for i, d in EmulatedPiper().advance(0.025)}
    assert frames[0x2A1] == "0000000000000000"
    assert frames[0x2A2] == "0000DB4000000000"
    assert frames[0x2A3] == "0003411200000000"
    assert frames[0x2A4] == "00014C0800000000"
    assert frames[0x2A5] == frames[0x2A6] == frames[0x2A7] == "0000000000000000"
    assert frames[0x2A8] == "0000000000008000"
    assert frames[0x251] == "0000000000000000"
    assert frames[0x261] == "00F0002622000000"


def test_firmware_comes_in_eleven_frames() -> None:
    answer = ask(EmulatedPiper(), protocol.FIRMWARE, 1)
    assert [i for i, _ in answer] == [protocol.FIRMWARE] * 11
    assert protocol.unpack_firmware(d for _, d in answer) == "S-V1.8-8"


def test_the_answer_of_another_arm_asks_nothing() -> None:
    """Question and answer share their id: two arms on a bus must not answer each other for ever."""
    arm = EmulatedPiper()
    for part in protocol.pack_firmware("S-V1.8-8"):
        assert ask(arm, protocol.FIRMWARE, *part) == []


@pytest.mark.parametrize(
    ("motor", "upper", "lower"),
    [(1, 1500, -1500), (2, 1800, 0), (3, 0, -1700), (4, 1000, -1000), (5, 700, -700)],
)
def test_limits_are_the_published_ones(motor: int, upper: int, lower: int) -> None:
    arm = EmulatedPiper()
    ((can_id, data),) = ask(arm, protocol.QUERY_LIMITS, motor, protocol.ASK_ANGLES)
    assert can_id == protocol.LIMITS
    assert data[0] == motor
    assert int.from_bytes(data[1:3], "big", signed=True) == upper
    assert int.from_bytes(data[3:5], "big", signed=True) == lower
    assert int.from_bytes(data[5:7], "big") == 3000
    answer = ask(arm, protocol.QUERY_LIMITS, motor, protocol.ASK_ACCELERATION)
    assert answer == [(protocol.ACCELERATION, bytes((motor, 1, 0xF4, 0, 0, 0, 0, 0)))]


def test_settings_are_taken_acknowledged_and_kept() -> None:
    arm = EmulatedPiper()
    limits = protocol.AngleLimits(1, 1.0, None, 2.0).pack()
    assert ask(arm, protocol.SET_LIMITS, *limits) == [(protocol.ACK, b"\x74" + bytes(7))]
    ((_, answer),) = ask(arm, protocol.QUERY_LIMITS, 1, protocol.ASK_ANGLES)
    kept = protocol.AngleLimits.unpack(answer)
    assert kept.upper_rad == pytest.approx(1.0, abs=1e-3)
    assert (kept.max_speed_rad_s, arm.controller.joints.axes[0].max_speed) == (2.0, 2.0)
    ask(arm, protocol.JOINT_CONFIG, *JointConfig(7, max_acceleration_rad_s2=2.5).pack())
    assert {axis.max_acceleration for axis in arm.controller.joints.axes} == {2.5}
    ask(arm, protocol.SET_COLLISION, 0, 1, 2, 3, 4, 8)
    ((can_id, levels),) = ask(arm, protocol.PARAMETERS, protocol.ASK_COLLISION)
    assert (can_id, levels) == (protocol.COLLISION, bytes((0, 1, 2, 3, 4, 8, 0, 0)))
    ask(arm, protocol.PARAMETERS, 0, protocol.RESET_JOINT_LIMITS)
    assert {axis.max_speed for axis in arm.controller.joints.axes} == {3.0}


@pytest.mark.parametrize(
    "limits", [(3.0, None, 2.0), (1.0, None, 9.0), (1.0, None, 0.0), (1.0, 1.5, None)]
)
def test_limits_beyond_the_arm_or_that_let_nothing_move_are_refused_whole(
    limits: tuple[float | None, float | None, float | None],
) -> None:
    arm = EmulatedPiper()
    before = ask(arm, protocol.QUERY_LIMITS, 1, protocol.ASK_ANGLES)
    ask(arm, protocol.SET_LIMITS, *protocol.AngleLimits(1, *limits).pack())
    assert ask(arm, protocol.QUERY_LIMITS, 1, protocol.ASK_ANGLES) == before


@pytest.mark.parametrize("motor", [0, 8, 250])
def test_a_motor_that_is_not_there_is_not_set(motor: int) -> None:
    arm = EmulatedPiper()
    config = JointConfig(motor, max_acceleration_rad_s2=2.5)
    assert ask(arm, protocol.JOINT_CONFIG, *config.pack()) == [(protocol.ACK, b"\x75" + bytes(7))]
    for one in range(1, 7):
        ((_, told),) = ask(arm, protocol.QUERY_LIMITS, one, protocol.ASK_ACCELERATION)
        assert protocol.unpack_acceleration(told) == (one, 5.0)


def test_the_motors_say_by_bit_six_which_are_enabled() -> None:
    arm = EmulatedPiper()
    assert not any(m.bits for m in health(arm))
    assert ask(arm, protocol.ENABLE, 2, protocol.MOTOR_ON) == [(protocol.ACK, b"\x71" + bytes(7))]
    assert [m.bits for m in health(arm)] == [0, MotorBit.ENABLED, 0, 0, 0, 0]
    ask(arm, protocol.ENABLE, 0xFF, protocol.MOTOR_ON)
    assert {m.bits for m in health(arm)} == {int(MotorBit.ENABLED)}


def test_the_status_says_who_commands() -> None:
    arm = EmulatedPiper(RAISED)
    arm.receive(protocol.MODE, FOLLOW)
    assert (status(arm).ctrl_mode, status(arm).move_mode) == (1, 1)
    arm.receive(protocol.MODE, ModeCommand(1, 1, 101).pack())
    arm.receive(protocol.MODE, ModeCommand(9, 1, 50).pack())
    assert arm.controller.speed_percent == 100, "a mode that cannot be is refused whole"


@given(st.integers(0, 0x7FF), st.binary(max_size=8))
@settings(max_examples=60)
def test_no_frame_upsets_it(can_id: int, data: bytes) -> None:
    arm = EmulatedPiper(RAISED)
    for padded in (data, data.ljust(8, b"\xff")):
        arm.receive(can_id, padded)
        assert len(arm.advance(0.005)) >= 0
    assert len({i for i, _ in arm.advance(0.025)} & set(protocol.JOINT_FEEDBACK)) in (0, 3)


# Faults
def test_dropped_frames_are_the_share_asked_for_and_repeat_with_the_seed() -> None:
    lists = [EmulatedPiper(faults=Faults(drop_share=0.2, drop_seed=5)).advance(1.0) for _ in "ab"]
    assert lists[0] == lists[1]
    assert len(lists[0]) == pytest.approx(0.8 * FRAMES_PER_S, rel=0.05)


def test_silent_it_still_obeys_and_off_the_bus_it_does_not() -> None:
    for fault, obeys in (("silent", True), ("bus_off", False)):
        arm = EmulatedPiper()
        arm.faults.set(fault, 1)
        arm.receive(protocol.ENABLE, EnableCommand(7, protocol.MOTOR_ON).pack())
        assert arm.advance(0.5) == []
        assert all(arm.controller.enabled) == obeys
        arm.faults.clear()
        assert len(arm.advance(1.0)) >= FRAMES_PER_S


def test_a_collision_holds_the_arm_until_it_is_cleared() -> None:
    arm = EmulatedPiper(RAISED)
    arm.receive(protocol.MODE, FOLLOW)
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(1.0, 1.2))
    arm.advance(0.3)
    arm.faults.collision = 2
    assert status(arm).condition == ArmCondition.COLLISION
    arm.advance(0.7)
    held = arm.joints_rad
    assert health(arm)[1].bits & MotorBit.COLLISION
    arm.faults.collision = 0
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(1.0, 1.2))
    assert status(arm).condition == ArmCondition.COLLISION
    arm.advance(0.5)
    assert arm.joints_rad == held
    arm.receive(protocol.JOINT_CONFIG, JointConfig(7, clear_error=True).pack())
    assert status(arm).condition == ArmCondition.NORMAL


def test_without_a_collision_level_nothing_is_noticed() -> None:
    arm = EmulatedPiper(EmulatorSettings(collision_level=0), Faults(collision=2))
    assert status(arm).condition == ArmCondition.NORMAL


def test_a_hot_motor_says_so_in_degrees_and_bits() -> None:
    arm = EmulatedPiper(RAISED, Faults(hot_motor=4))
    motor = health(arm)[3]
    assert motor.motor_c > 90
    assert motor.bits & MotorBit.MOTOR_HOT and motor.bits & MotorBit.DRIVER_HOT
    assert status(arm).condition == ArmCondition.JOINT_FAULT


def joint_frames(arm: EmulatedPiper, seconds: float) -> list[tuple[float, float]]:
    wanted = protocol.JOINT_FEEDBACK[0]
    return [protocol.unpack_angles(d) for i, d in arm.advance(seconds) if i == wanted]


def test_a_frozen_joint_repeats_itself_and_a_lost_one_is_no_longer_sent() -> None:
    arm = EmulatedPiper(RAISED)
    arm.receive(protocol.MODE, FOLLOW)
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(1.0, 1.5))
    arm.advance(0.2)
    arm.faults.frozen_joint = 1
    pairs = joint_frames(arm, 1.0)
    assert len(pairs) == 200
    assert len({first for first, _ in pairs}) == 1
    assert len({second for _, second in pairs}) > 20
    assert arm.joints_rad[0] > pairs[0][0] + 0.1, "it moves all the same"
    arm.faults.frozen_joint, arm.faults.lost_joint = 0, 2
    counts = Counter(can_id for can_id, _ in arm.advance(1.0))
    assert (counts[0x2A5], counts[0x252], counts[0x2A6], counts[0x251]) == (0, 0, 200, 200)
    assert status(arm).error_code == 1 << 1


def test_a_motor_that_does_not_enable() -> None:
    arm = EmulatedPiper(faults=Faults(not_enabling=5))
    for _ in range(3):
        arm.receive(protocol.ENABLE, EnableCommand(7, protocol.MOTOR_ON).pack())
    assert [bool(m.bits & MotorBit.ENABLED) for m in health(arm)] == [*[True] * 4, False, True]


def test_old_firmware_has_another_name_and_another_flange() -> None:
    arm = EmulatedPiper(faults=Faults(old_dh=True))
    answer = ask(arm, protocol.FIRMWARE, 1)
    assert protocol.unpack_firmware(d for _, d in answer) == "S-V1.5-8"
    frames = dict(arm.advance(0.005))
    position, _ = protocol.unpack_end_pose(frames[i] for i in protocol.END_POSE)
    assert position == pytest.approx((0.054953, 0.0, 0.203387), abs=1e-6)


def test_a_leader_is_silent_unless_led_and_obeys_only_its_role() -> None:
    arm = EmulatedPiper(RAISED, Faults(leader=True))
    arm.advance(0.1)
    assert arm.advance(1.0) == []
    arm.receive(protocol.MODE, FOLLOW)
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(1.0, 1.2))
    arm.advance(0.5)
    assert arm.joints_rad == pytest.approx(HOME)
    Order("hand1", 0.5).apply(arm)
    sent = Counter(can_id for can_id, _ in arm.advance(0.1))
    assert sent == dict.fromkeys((0x151, 0x155, 0x156, 0x157, 0x159), 20)
    answer = ask(arm, protocol.ROLE, *RoleCommand(protocol.FOLLOWER).pack()[:4])
    assert (protocol.ACK, b"\x70" + bytes(7)) in answer
    assert not arm.faults.leader
    assert status(arm).ctrl_mode == 0


@pytest.mark.parametrize("order", ["clear", "leader=0"])
def test_a_leader_that_a_fault_made_ends_with_the_fault_and_no_other(order: str) -> None:
    arm = EmulatedPiper(RAISED)
    Order.parse("leader=1").apply(arm)
    arm.advance(0.1)
    assert arm.advance(0.5) == []
    Order.parse(order).apply(arm)
    assert status(arm).ctrl_mode == protocol.CtrlMode.STANDBY
    arm.receive(protocol.MODE, FOLLOW)
    arm.receive(protocol.JOINTS[0], protocol.pack_angles(0.5, 1.2))
    arm.advance(2.0)
    assert arm.joints_rad[0] == pytest.approx(0.5, abs=1e-3), "it takes set-points again"
    arm.receive(protocol.ROLE, RoleCommand(protocol.LEADER).pack())
    arm.advance(0.1)
    Order.parse(order).apply(arm)
    arm.advance(0.1)
    assert arm.advance(0.5) == [], "0x470 made this one"


def test_a_leader_with_offset_ids_says_that_it_is_one() -> None:
    arm = EmulatedPiper(RAISED)
    arm.receive(protocol.ROLE, RoleCommand(protocol.LEADER, 0x10, 0, 0).pack())
    frames = dict(arm.advance(0.05))
    assert set(frames) >= set(range(0x2B1, 0x2B9))
    assert ArmStatus.unpack(frames[0x2B1]).ctrl_mode == protocol.CtrlMode.LEADER


# Faults by name
def test_every_fault_has_a_name_a_range_and_a_text() -> None:
    faults = Faults()
    for entry in fields(Faults):
        faults.set(entry.name, 1)
        assert getattr(faults, entry.name) == 1
        assert entry.metadata["text"]
    faults.clear()
    assert faults == Faults(drop_seed=1)


@pytest.mark.parametrize(
    ("name", "value"), [("colision", 1), ("collision", 7), ("collision", 1.5), ("drop_share", 1.1)]
)
def test_a_fault_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match="no fault 'colision'|allowed: 0 to"):
        Faults().set(name, value)


@given(st.sampled_from(ORDER_NAMES), st.floats(-100.0, 100.0, width=32))
def test_orders_come_back_from_the_wire(name: str, value: float) -> None:
    order = Order(name, value)
    assert Order.unpack(order.pack(done=True)) == (order, True)
    assert Order.parse(f"{name}={value!r}") == order


@pytest.mark.parametrize("text", ["collision", "collision=x", "nothing=1", "joint1=nan"])
def test_an_order_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="number|no value|no order"):
        Order.parse(text)


def test_orders_place_joints_and_switch_faults() -> None:
    arm = EmulatedPiper(RAISED)
    Order.parse("joint1=0.3").apply(arm)
    Order.parse("gripper=0.04").apply(arm)
    Order.parse("drop_share=0.05").apply(arm)
    assert (arm.joints_rad[0], arm.gripper_m, arm.faults.drop_share) == (0.3, 0.04, 0.05)
    Order.parse("clear").apply(arm)
    assert arm.faults.drop_share == 0.0
    assert set(FAULT_NAMES) < set(ORDER_NAMES)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"joints_rad": (0.0,) * 5}, "5 joint angles"),
        ({"gripper_m": 0.08}, "0 to 0.07"),
        ({"collision_level": 9}, "0 .off. to 8"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(changed: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        EmulatorSettings(**changed)
