"""The leader's reader on an emulated wire, on a clock that moves only when told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import can
import numpy as np
import pytest

from mvista_core.errors import ConfigError, LeaderError, LeaderLostError
from mvista_core.records import JointState
from mvista_core.timing import ManualClock
from mvista_piper import protocol
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.faults import Faults
from mvista_piper.emulator.hand import HandMotion, read_hand
from mvista_piper.emulator.wire import EmulatedWire
from mvista_piper.leader import LeaderCondition, PiperLeader
from mvista_piper.link import PiperLink
from mvista_piper.settings import LeaderSettings
from tests.piper.cell import PERIOD_S, PIPER, POWERED

SWING = HandMotion(
    np.array([0.0, 1.0, 2.0, 3.0]),
    np.array([[0, 1.2, -1.1, 0, 1.0, 0, 0], [0.5, 1.2, -1.1, 0, 1.0, 0, 0.06]] * 2, dtype=float),
)


class Lead:
    """A leader on a wire, its reader, and all that the reader sent."""

    def __init__(self, hand: HandMotion = SWING, **changed: Any) -> None:
        self.clock = ManualClock(10**12)
        self.arm = EmulatedPiper(POWERED, Faults(leader=True))
        self.arm.controller.hand = hand
        self.wire = EmulatedWire(self.arm, self.clock)
        self.spy = self.wire.open()
        settings = replace(LeaderSettings(interface="virtual", channel="x"), **changed)
        self.reader = PiperLeader(
            PiperLink(self.wire.open, self.clock), PIPER, settings, self.clock
        )
        self.poses: list[JointState] = []
        self.asked = 0
        self.reader.listen(self.poses.append)
        self.reader.open()

    def run(self, seconds: float, reading: bool = True) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            if reading:
                while self.reader.receive(0.0):
                    pass
                self.reader.tick()
            with suppress(can.CanError):  # the spy hangs on the same adapter
                while (message := self.spy.recv(0.0)) is not None:
                    if bytes(message.data) == protocol.ASK_FIRMWARE:
                        self.asked += 1
            self.wire.pump()
            self.clock.advance(PERIOD_S)

    def condition(self) -> LeaderCondition:
        """A call, which a type checker does not take for the same before and after."""
        return self.reader.condition

    def play(self, on: bool = True) -> None:
        Order("hand_play", float(on)).apply(self.arm)


@pytest.fixture
def lead() -> Iterator[Lead]:
    made = Lead()
    yield made
    made.reader.close()
    made.spy.shutdown()


def test_its_pose_is_unknown_until_it_moves_then_told_at_200_hz_with_gripper(
    lead: Lead,
) -> None:
    lead.run(1.0)
    assert lead.reader.pose() is None and lead.condition() is LeaderCondition.UNKNOWN
    trouble = lead.reader.trouble()
    assert isinstance(trouble, LeaderError) and "move the leader a little" in str(trouble)
    lead.play()
    lead.run(1.0)
    assert 190 <= len(lead.poses) <= 200
    assert lead.condition() is LeaderCondition.MOVING and lead.reader.trouble() is None
    pose = lead.poses[-1]
    np.testing.assert_allclose(pose.positions[:6], lead.arm.joints_rad, atol=6e-3)
    assert pose.positions[6] == pytest.approx(lead.arm.gripper_m, abs=2e-3)
    assert pose.velocities[0] == pytest.approx(0.5, rel=0.02)
    assert pose.velocities[6] == pytest.approx(0.06, rel=0.02)


def test_a_leader_at_rest_sends_nothing_and_is_not_lost(lead: Lead) -> None:
    lead.play()
    lead.run(3.2)
    count = len(lead.poses)
    lead.run(20.0)
    assert len(lead.poses) == count, "a leader at rest sends no set-point"
    assert lead.condition() is LeaderCondition.RESTING and lead.reader.pose() is not None
    assert 38 <= lead.asked <= 50, "0x4AF at 2 Hz"


def test_a_leader_that_no_longer_answers_is_lost_and_its_pose_with_it(lead: Lead) -> None:
    lead.play()
    lead.run(3.2)
    lead.arm.faults.silent = True
    lead.run(1.8)
    assert lead.condition() is LeaderCondition.LOST
    assert "does not answer (0x4AF) any more" in str(lead.reader.trouble())
    lead.arm.faults.silent = False
    lead.run(1.0)
    # Somebody may have moved it meanwhile.
    assert lead.condition() is LeaderCondition.UNKNOWN and lead.reader.pose() is None
    lead.play()
    lead.run(0.1)
    assert lead.condition() is LeaderCondition.MOVING


@pytest.mark.parametrize("fault", ["unplugged", "bus_off"])
def test_an_adapter_that_goes_is_lost_at_once_and_comes_back_without_a_pose(
    lead: Lead, fault: str
) -> None:
    lead.play()
    lead.run(0.5)
    lead.arm.faults.set(fault, 1)
    lead.run(0.02)
    assert lead.condition() is LeaderCondition.LOST
    assert isinstance(lead.reader.trouble(), LeaderLostError)
    lead.run(3.0)
    assert lead.condition() is LeaderCondition.LOST
    lead.arm.faults.clear()
    lead.arm.faults.leader = True
    lead.play(False)
    lead.run(2.5)
    assert lead.condition() is LeaderCondition.UNKNOWN and lead.reader.pose() is None


def test_garbage_is_dropped_counted_and_moves_no_pose(lead: Lead) -> None:
    lead.play()
    lead.run(0.5)
    at = lead.poses[-1].positions
    lead.play(False)
    lead.run(0.5)
    rng = np.random.default_rng(3)
    count = len(lead.poses)
    for _ in range(400):
        can_id = int(rng.choice([*protocol.JOINTS, protocol.GRIPPER, protocol.MODE]))
        data = rng.integers(0, 256, int(rng.choice([0, 3, 8]))).astype(np.uint8)
        lead.spy.send(can.Message(arbitration_id=can_id, is_extended_id=False, data=data.tobytes()))
        lead.run(PERIOD_S)
    assert lead.reader.counts[1] > 100
    assert all(np.abs(pose.positions - at).max() < 3.5 for pose in lead.poses[count:])
    lead.play()
    lead.run(0.5)
    assert lead.poses[-1].velocities[0] == pytest.approx(0.5, rel=0.1)


def test_listening_only_sends_nothing(lead: Lead) -> None:
    silent = Lead(listen_only=True)
    silent.play()
    silent.run(4.0)
    assert silent.reader.counters.sent == 0 and not silent.asked
    assert silent.condition() is LeaderCondition.RESTING
    silent.reader.close()


def test_a_question_period_longer_than_the_patience_is_refused() -> None:
    with pytest.raises(ConfigError, match="one lost frame"):
        LeaderSettings(interface="virtual", question_period_s=1.0, answer_timeout_s=1.6)


def test_a_hand_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    SWING.write(path)
    found = read_hand(path)
    np.testing.assert_allclose(found.rows, SWING.rows)
    assert found.at(0.5)[0] == pytest.approx(0.25) and found.at(99.0) == list(SWING.rows[-1])


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "TIME", "HEAD\n", "HEAD\n0,1\n", "HEAD\n1,0,0,0,0,0,0,0\n1,0,0,0,0,0,0,0\n",
     "HEAD\n0,nan,0,0,0,0,0,0\n", "HEAD\nx\n"],
)  # fmt: skip
def test_a_hand_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hand.csv"
    path.write_text(
        text.replace("HEAD", "time_s,joint1,joint2,joint3,joint4,joint5,joint6,gripper")
    )
    with pytest.raises(ConfigError, match=r"hand\.csv"):
        read_hand(path)
