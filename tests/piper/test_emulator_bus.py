"""The emulated arm on a bus: the real piper_sdk, loopback multicast, and buses that refuse."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest
import yaml
from can.interfaces.udp_multicast.utils import pack_message
from piper_sdk import C_PiperInterface_V2, LogLevel

from mvista_bringup.paths import config_file
from mvista_core.errors import ConfigError
from mvista_core.timing import ManualClock
from mvista_piper import protocol
from mvista_piper.emulator import EmulatedPiper, EmulatorSettings
from mvista_piper.emulator.adapter import BUS_OFF_ERROR_ID, TRANSMIT_QUEUE
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.loopback import DEFAULT_GROUP, LoopbackBus, pack_frame
from mvista_piper.emulator.server import serving, tell
from mvista_piper.emulator.wire import EmulatedWire, WireBus
from mvista_piper.emulator_main import main, make_arm, parse_arguments

PATIENCE_S = 20.0
ENABLE_ALL = can.Message(
    arbitration_id=protocol.ENABLE, is_extended_id=False, data=b"\7\2" + bytes(6)
)
HOME = (0.0, 1.2, -1.1, 0.0, 1.0, 0.0)


def until(condition: Callable[[], object]) -> None:
    """Wait for other threads; fails when patience is at its end."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def receive(bus: can.BusABC, wanted: Callable[[can.Message], bool]) -> can.Message:
    """The next frame that is wanted."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        message = bus.recv(0.1)
        if message is not None and wanted(message):
            return message
    raise AssertionError("waited in vain")


@pytest.fixture
def host(port: int) -> Iterator[LoopbackBus]:
    with LoopbackBus(port=port) as bus:
        yield bus


@pytest.fixture
def served(port: int) -> Iterator[EmulatedPiper]:
    arm = EmulatedPiper(EmulatorSettings(joints_rad=HOME, enabled=True))
    with LoopbackBus(port=port, obeys_adapter_faults=False) as bus, serving(arm, bus):
        yield arm


# The real SDK
def test_the_real_sdk_finds_enables_and_moves_it(channel: str) -> None:
    arm = EmulatedPiper()
    with can.Bus(interface="virtual", channel=channel) as bus, serving(arm, bus):
        sdk = C_PiperInterface_V2(
            channel, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT
        )
        sdk.CreateCanBus(channel, bustype="virtual", judge_flag=False)
        sdk.ConnectPort()
        try:
            _drive_with_sdk(sdk, arm)
        finally:
            sdk.DisconnectPort()


def _drive_with_sdk(sdk: C_PiperInterface_V2, arm: EmulatedPiper) -> None:
    until(lambda: sdk.GetPiperFirmwareVersion() == "S-V1.8-8" and sdk.isOk())
    # The SDK's table of all motors repeats the last answer six times: one motor is asked for.
    sdk.SearchMotorMaxAngleSpdAccLimit(3, protocol.ASK_ANGLES)
    newest = sdk.GetCurrentMotorAngleLimitMaxVel().current_motor_angle_limit_max_vel
    until(lambda: newest.motor_num == 3)
    assert (newest.max_angle_limit, newest.min_angle_limit) == (0, -1700)
    assert newest.max_joint_spd == 3000
    until(
        lambda: sdk.GetAllMotorMaxAccLimit().all_motor_max_acc_limit.motor[6].max_joint_acc == 500
    )
    until(sdk.EnablePiper)
    assert all(sdk.GetArmEnableStatus())
    sdk.MotionCtrl_2(1, 1, 100, 0xAD)
    sdk.JointCtrl(10_000, 20_000, -30_000, 4_000, 5_000, -6_000)
    sdk.GripperCtrl(50_000, 1000, 1, 0)

    def arrived() -> bool:
        state = sdk.GetArmJointMsgs().joint_state
        at = (state.joint_1, state.joint_2, state.joint_3, state.joint_4, state.joint_5)
        return (*at, state.joint_6) == (10_000, 20_000, -30_000, 4_000, 5_000, -6_000)

    until(arrived)
    until(lambda: sdk.GetArmGripperMsgs().gripper_state.grippers_angle == 50_000)
    status = sdk.GetArmStatus().arm_status
    assert (int(status.ctrl_mode), int(status.mode_feed)) == (1, 1)
    sdk.EnableFkCal()
    until(lambda: sdk.GetFK("feedback")[5][2] > 1.0)
    pose = sdk.GetArmEndPoseMsgs().end_pose
    told = [v * 1e-3 for v in (pose.X_axis, pose.Y_axis, pose.Z_axis)]
    assert told == pytest.approx(sdk.GetFK("feedback")[5][:3], abs=0.01)
    sdk.MotionCtrl_1(1, 0, 0)
    until(lambda: int(sdk.GetArmStatus().arm_status.arm_status) == 1)
    assert arm.skipped_periods < arm.periods


# Loopback multicast
def test_frames_are_packed_as_python_can_packs_them() -> None:
    data = bytes(range(8))
    message = can.Message(arbitration_id=0x2A5, data=data, is_extended_id=False, dlc=8)
    assert pack_frame(0x2A5, data) == pack_message(message)


def test_feedback_crosses_with_the_kernels_stamp(served: EmulatedPiper, host: LoopbackBus) -> None:
    message = receive(host, lambda m: m.arbitration_id == protocol.JOINT_FEEDBACK[0])
    q1, q2 = protocol.unpack_angles(bytes(message.data))
    assert (q1, q2) == pytest.approx(HOME[:2], abs=1e-5)
    assert abs(time.time() - message.timestamp) < PATIENCE_S
    assert not message.is_extended_id


def test_a_host_does_not_hear_itself_but_hears_other_hosts(port: int, host: LoopbackBus) -> None:
    with LoopbackBus(port=port) as other:
        host.send(ENABLE_ALL)
        heard = receive(other, lambda m: True)
        assert (heard.arbitration_id, bytes(heard.data)) == (0x471, bytes(ENABLE_ALL.data))
        assert host.recv(0.05) is None


def test_another_group_on_the_same_port_is_not_heard(port: int, host: LoopbackBus) -> None:
    with LoopbackBus("239.74.163.3", port) as other:
        other.send(ENABLE_ALL)
        assert host.recv(0.05) is None


def test_what_is_no_frame_is_an_error_of_the_bus(port: int, host: LoopbackBus) -> None:
    with LoopbackBus(port=port) as other:
        os.write(other._out.fileno(), b"\x93not a frame")
        with pytest.raises(can.CanOperationError, match="no CAN frame"):
            until(lambda: host.recv(0.1))


@pytest.mark.parametrize("channel", ["can0", "127.0.0.1", "ff15::1"])
def test_a_channel_that_is_no_group_is_refused(channel: str) -> None:
    with pytest.raises(ConfigError, match=DEFAULT_GROUP):
        LoopbackBus(channel)


def test_orders_reach_a_running_emulator(served: EmulatedPiper, host: LoopbackBus) -> None:
    tell(host, Order("hot_motor", 3.0), PATIENCE_S)
    assert served.faults.hot_motor == 3
    with pytest.raises(ConfigError, match="refuses hot_motor=9"):
        tell(host, Order("hot_motor", 9.0), PATIENCE_S)


def test_without_an_emulator_nobody_answers(host: LoopbackBus) -> None:
    with pytest.raises(TimeoutError, match="no emulator answered"):
        tell(host, Order("clear", 0.0), 0.05)


def test_a_full_queue_and_a_dead_bus_reach_the_sender(
    served: EmulatedPiper, host: LoopbackBus
) -> None:
    tell(host, Order("refuse_sends", 1.0), PATIENCE_S)
    until(lambda: host.recv(0.1) is not None and host.adapter.state.refuse_sends)
    with pytest.raises(can.CanOperationError) as refused:
        host.send(ENABLE_ALL)
    assert refused.value.error_code == errno.ENOBUFS
    served.faults.clear()
    served.faults.bus_off = True
    error = receive(host, lambda m: m.is_error_frame)
    assert error.arbitration_id == BUS_OFF_ERROR_ID
    for _ in range(TRANSMIT_QUEUE):
        host.send(ENABLE_ALL)
    with pytest.raises(can.CanOperationError, match="No buffer space"):
        host.send(ENABLE_ALL)
    served.faults.clear()
    receive(host, lambda m: m.arbitration_id == protocol.STATUS)
    until(lambda: host.recv(0.1) is not None and not host.adapter.state.bus_off)
    host.send(ENABLE_ALL)


def test_a_bus_that_is_closed_is_closed(port: int) -> None:
    bus = LoopbackBus(port=port)
    bus.shutdown()
    with pytest.raises(can.CanOperationError):
        bus.send(ENABLE_ALL)


def test_a_second_arm_on_the_bus_is_refused(
    served: EmulatedPiper, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", str(port)]) == 2
    assert "an arm is on this bus already" in capsys.readouterr().err


# One process, one clock
def wire(**faults: float) -> tuple[EmulatedWire, ManualClock, WireBus]:
    clock, arm = ManualClock(10**12), EmulatedPiper()
    for name, value in faults.items():
        arm.faults.set(name, value)
    made = EmulatedWire(arm, clock)
    return made, clock, made.open()


def drain(bus: can.BusABC) -> list[can.Message]:
    return list(iter(lambda: bus.recv(0.0), None))


def test_a_wire_is_exact_and_carries_to_every_host() -> None:
    made, clock, host = wire()
    other = made.open()
    for _ in range(200):
        made.pump()
        clock.advance(0.005)
    heard = drain(host)
    assert len(heard) == len(drain(other)) == 3040
    assert heard[-1].timestamp == pytest.approx(1000.995)
    host.send(ENABLE_ALL)
    assert all(made.arm.controller.enabled)
    assert [m.arbitration_id for m in drain(other)] == [protocol.ENABLE]
    assert drain(host) == []
    host.shutdown()
    with pytest.raises(can.CanOperationError):
        host.send(ENABLE_ALL)


def test_a_wire_refuses_as_its_adapter_does() -> None:
    made, clock, host = wire(refuse_sends=1)
    with pytest.raises(can.CanOperationError):
        host.send(ENABLE_ALL)
    made.arm.faults.clear()
    made.arm.faults.bus_off = True
    made.pump()
    clock.advance(0.005)
    made.pump()
    assert [m.is_error_frame for m in drain(host)] == [True]
    for _ in range(TRANSMIT_QUEUE):
        host.send(ENABLE_ALL)
    with pytest.raises(can.CanOperationError):
        host.send(ENABLE_ALL)
    assert not any(made.arm.controller.enabled)


def test_a_slow_adapter_takes_so_many_frames_a_second() -> None:
    _, clock, host = wire(sends_per_s=100)
    taken = 0
    for _ in range(400):
        try:
            host.send(ENABLE_ALL)
            taken += 1
        except can.CanOperationError:
            pass
        clock.advance(0.005)
    assert taken == pytest.approx(200, abs=TRANSMIT_QUEUE + 2)


# The command
def test_the_command_line_describes_an_arm() -> None:
    arm = make_arm(
        parse_arguments(["--joints", "0,1.2,-1.1,0,1,0", "--enabled", "--fault", "collision=2"])
    )
    assert arm.joints_rad == list(HOME)
    assert all(arm.controller.enabled)
    assert arm.faults.collision == 2


def test_a_leader_of_the_command_line_is_no_fault_to_be_cleared() -> None:
    arm = make_arm(parse_arguments(["--leader"]))
    Order.parse("clear").apply(arm)
    assert arm.advance(0.5) == [] and arm.controller.leader


def test_home_of_an_arm_file_is_of_six_joints_and_of_a_gripper_if_it_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, path = yaml.safe_load(config_file("arms", "piper.yaml").read_text()), tmp_path / "a"
    joints = shipped["joints"]
    home = [joint["home"] for joint in joints.values()]

    def write(count: int) -> list[str]:
        more = {f"more{k}": joints["joint1"] for k in range(2)}
        kept = dict(list({**joints, **more}.items())[:count])
        path.write_text(yaml.safe_dump({**shipped, "joints": kept}, sort_keys=False))
        return ["--home", str(path), "--gripper", "0.03"]

    for count, gripper_m in ((6, 0.03), (7, home[6])):
        arm = make_arm(parse_arguments(write(count)))
        assert (arm.joints_rad, arm.gripper_m) == (home[:6], gripper_m)
    assert main(write(8)) == 2
    assert "8 joints; the emulated arm has 6 and a gripper" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("--joints", "0,0", "2 joint angles; the arm has 6"),
        ("--joints", "a,b", "six numbers"),
        ("--fault", "rust=1", "no order 'rust'"),
        ("--channel", "can0", "no IPv4 multicast group"),
    ],
)
def test_a_command_line_that_describes_none_is_refused(
    argument: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument, value]) == 2
    assert said in capsys.readouterr().err
