"""What the link puts on the wire, byte for byte, seen by a second node on the bus."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable

import can
import numpy as np
import pytest

from mvista_core.errors import BusLostError
from mvista_core.timing import ManualClock, SystemClock
from mvista_piper.emulator.loopback import DEFAULT_GROUP, LoopbackBus
from mvista_piper.link import PiperLink

Join = Callable[[], can.BusABC]


@pytest.fixture
def link(virtual_bus: Join) -> PiperLink:
    made = PiperLink(virtual_bus, ManualClock(10**9))
    made.open()
    return made


@pytest.fixture
def wire(virtual_bus: Join) -> can.BusABC:
    return virtual_bus()


def frames(wire: can.BusABC) -> list[str]:
    """All frames that are waiting, as `candump -L` writes them."""
    found = []
    while (message := wire.recv(0.0)) is not None:
        assert not message.is_extended_id and message.dlc == 8
        found.append(f"{message.arbitration_id:03X}#{bytes(message.data).hex().upper()}")
    return found


class BusThatIsFull(can.BusABC):
    """What a socketcan bus does when its transmit queue is full or the controller is bus-off."""

    def __init__(self) -> None:
        super().__init__(channel="full")

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        raise can.CanOperationError("Failed to transmit: No buffer space available", 105)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        return None, False


# Golden frames: recorded from piper_sdk 0.6.2 on a virtual bus, before this driver was written.


def test_high_follow_mode(link: PiperLink, wire: can.BusABC) -> None:
    link.follow_mode()
    assert frames(wire) == ["151#010164AD00000000"]


def test_joint_set_points(link: PiperLink, wire: can.BusABC) -> None:
    link.joints(np.deg2rad([1.0, 2.0, -3.0, 0.0, 0.0, 500.0]))
    assert frames(wire) == ["155#000003E8000007D0", "156#FFFFF44800000000", "157#000000000007A120"]


def test_gripper(link: PiperLink, wire: can.BusABC) -> None:
    link.gripper(0.05, 1.0)
    assert frames(wire) == ["159#0000C35003E80100"]


def test_enable_follower_quick_stop_and_clearing_errors(link: PiperLink, wire: can.BusABC) -> None:
    link.enable_motors()
    link.make_follower()
    link.quick_stop()
    link.clear_errors()
    assert frames(wire) == [
        "471#0702000000000000",
        "470#FC00000000000000",
        "150#0100000000000000",
        "475#0700007FFFAE0000",
    ]


def test_the_questions_asked_before_anything_moves(link: PiperLink, wire: can.BusABC) -> None:
    link.ask_identity()
    limits = [f"472#{motor:02X}01000000000000" for motor in range(1, 7)]
    accelerations = [f"472#{motor:02X}02000000000000" for motor in range(1, 7)]
    asked = frames(wire)
    assert asked[:13] == [*limits, *accelerations, "4AF#0100000000000000"]
    assert [frame[:5] for frame in asked[13:]] == ["477#0"]


def test_disable_and_reset_never_leave(link: PiperLink, wire: can.BusABC) -> None:
    link.sdk.DisableArm(7)
    link.sdk.DisablePiper()
    link.sdk.ResetPiper()
    link.sdk.MotionCtrl_1(0x02, 0, 0)
    assert frames(wire) == []
    assert link.counters.failed == 4 and "never sent" in link.counters.last_error


def test_send_failures_are_counted_not_raised() -> None:
    link = PiperLink(BusThatIsFull, ManualClock())
    link.open()
    link.joints(np.zeros(6))
    counters = link.counters
    assert (counters.failed, counters.failed_in_a_row, counters.sent) == (3, 3, 0)
    assert "No buffer space" in counters.last_error


def test_a_success_ends_a_row_of_failures(link: PiperLink) -> None:
    link.close()
    link.enable_motors()
    assert link.counters.failed_in_a_row == 1
    link.open()
    link.enable_motors()
    assert (link.counters.failed_in_a_row, link.counters.sent) == (0, 1)


def test_a_closed_bus_cannot_be_read(link: PiperLink) -> None:
    link.close()
    with pytest.raises(BusLostError, match="closed"):
        link.receive(0.0)


@pytest.mark.parametrize("can_id", [0x151, 0x155, 0x156, 0x157, 0x159, 0x471])
def test_commands_of_another_sender_are_noticed(
    link: PiperLink, wire: can.BusABC, can_id: int
) -> None:
    wire.send(can.Message(arbitration_id=can_id, data=bytes(8), is_extended_id=False))
    assert link.receive(0.0) is not None
    assert (link.counters.foreign, link.counters.last_foreign_id) == (1, can_id)


def test_questions_of_a_read_only_tool_are_not_a_second_writer(
    link: PiperLink, wire: can.BusABC
) -> None:
    for can_id in (0x472, 0x477, 0x4AF):
        wire.send(can.Message(arbitration_id=can_id, data=bytes(8), is_extended_id=False))
        link.receive(0.0)
    assert link.counters.foreign == 0


def test_the_controllers_bus_off_is_a_lost_bus_at_once(link: PiperLink, wire: can.BusABC) -> None:
    for can_id, lost in ((0x4, False), (0x80, False), (0x40, True)):
        wire.send(can.Message(arbitration_id=can_id, is_error_frame=True, is_extended_id=False))
        if lost:
            with pytest.raises(BusLostError, match="120 ohm"):
                link.receive(0.0)
        else:
            frame = link.receive(0.0)
            assert frame is not None and frame.flaw == "an error frame"
    assert link.counters.error_frames == 3
    assert link.counters.received == 0


@pytest.mark.parametrize(
    ("message", "flaw"),
    [
        (can.Message(arbitration_id=0x2A5, data=bytes(8), is_extended_id=False), ""),
        (can.Message(arbitration_id=0x2A5, data=bytes(4), is_extended_id=False), "4 bytes"),
        (can.Message(arbitration_id=0x2A5, data=b"", is_extended_id=False), "0 bytes"),
        (can.Message(arbitration_id=0x2A5, data=bytes(8), is_extended_id=True), "29-bit"),
        (can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=True), "29-bit"),
        (can.Message(arbitration_id=0x2A5, is_remote_frame=True, is_extended_id=False), "remote"),
    ],
)
def test_only_11_bit_data_frames_of_eight_bytes_count_as_received(
    link: PiperLink, wire: can.BusABC, message: can.Message, flaw: str
) -> None:
    wire.send(message)
    frame = link.receive(0.0)
    assert frame is not None and flaw in frame.flaw and bool(frame.flaw) is bool(flaw)
    assert link.counters.received == (0 if flaw else 1) and link.counters.foreign == 0


@pytest.mark.parametrize("length", [0, 4, 8])
def test_a_second_writer_is_noticed_however_long_its_frames(
    link: PiperLink, wire: can.BusABC, length: int
) -> None:
    wire.send(can.Message(arbitration_id=0x155, data=bytes(length), is_extended_id=False))
    link.receive(0.0)
    assert link.counters.foreign == 1


@pytest.mark.parametrize("interface", ["virtual", "loopback"])
def test_a_clock_that_is_set_back_while_nothing_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, virtual_bus: Join, interface: str
) -> None:
    """python-can counts time-outs on the wall clock: it waited for the size of the step."""
    wall_s = itertools.count(1e9, -17.0)
    monkeypatch.setattr("can.bus.time", lambda: next(wall_s))
    port = 30_000 + os.getpid() % 10_000

    def join() -> can.BusABC:
        return virtual_bus() if interface == "virtual" else LoopbackBus(DEFAULT_GROUP, port)

    link = PiperLink(join, SystemClock())
    link.open()
    answers: list[object] = []
    reader = threading.Thread(
        target=lambda: answers.extend(link.receive(0.01) for _ in range(5)), daemon=True
    )
    reader.start()
    reader.join(5.0)
    assert answers == [None] * 5
    link.close()
