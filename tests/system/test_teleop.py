"""Teleoperation as real processes: two emulated arms, reader, driver, and teleop between them.

Times are generous, the machine is shared; how soon each thing happens is tested on the injected
clock (tests/teleop) and measured by `mvista bench teleop`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from mvista_interfaces.msg import TeleopState
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import SetBool, Trigger

from mvista_bringup import paths
from mvista_bringup.graph.arm import EMULATED_CAN_GROUP
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.graph.teleop import TELEOP, TELEOP_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.supervisor import Supervisor, free_udp_port
from mvista_core.arm import load_arm
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_eval.record import RIG
from mvista_eval.record.graph import RecordDesk, recorder
from mvista_eval.record.kills import Victim
from mvista_eval.teleop.bench import TeleopDesk
from mvista_eval.teleop.figures import step_shares
from mvista_eval.teleop.hand import hand_motion
from mvista_piper import protocol
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.emulator.server import tell
from mvista_piper.emulator.spy import SpiedSetPoints, spying
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import episode_folders
from mvista_recorder.repair import faults
from mvista_ros import qos
from mvista_ros.spinning import spinning
from tests.recorder.small_cell import small_tap

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

ARM = load_arm(paths.config_file("arms", "piper.yaml"))
CLOCK = SystemClock()
START_S, PATIENCE_S = 180.0, 40.0
FOLLOWING, LOST, ALIGNED = TeleopState.FOLLOWING, TeleopState.LOST, TeleopState.ALIGNED


class Desk(TeleopDesk):
    """Also hears both arms, and calls every service."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.modes: list[str] = []
        self.follower: list[list[float]] = []
        self.leader: list[list[float]] = []
        self.create_subscription(DiagnosticStatus, "piper/status", self._on_status, qos.STATUS)
        for place, found in (("piper", self.follower), ("leader", self.leader)):

            def note(message: JointStateMsg, found: list[list[float]] = found) -> None:
                found.append(list(message.position))

            self.create_subscription(JointStateMsg, f"{place}/joint_states", note, qos.SENSOR_IN)
        self._clutch = self.create_client(SetBool, "teleop/clutch")
        self._triggers = {
            name: self.create_client(Trigger, f"teleop/{name}")
            for name in ("engage", "pause", "resume")
        }

    def call(self, name: str) -> Trigger.Response:
        client = self._triggers[name]
        assert client.wait_for_service(PATIENCE_S)
        answer = client.call_async(Trigger.Request())
        assert until(answer.done)
        return answer.result()

    def _on_status(self, message: DiagnosticStatus) -> None:
        self.modes.append(next((v.value for v in message.values if v.key == "mode"), ""))


def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    end_ns = CLOCK.monotonic_ns() + seconds_to_ns(seconds)
    while not (found := condition()) and CLOCK.monotonic_ns() < end_ns:
        pause(0.02)
    return found


def pause(seconds: float) -> None:
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(seconds))


class Running:
    """The graph, an operator, and what was on the follower's bus."""

    def __init__(
        self, supervisor: Supervisor, desk: Desk, spied: SpiedSetPoints, leader_port: int
    ) -> None:
        self.supervisor, self.desk, self.spied = supervisor, desk, spied
        self._leader_port = leader_port

    def tell(self, *orders: str) -> None:
        """Orders to the leader's emulator."""
        with LoopbackBus(EMULATED_CAN_GROUP, self._leader_port) as bus:
            for order in orders:
                tell(bus, Order.parse(order), PATIENCE_S)

    def garbage(self, count: int) -> None:
        """Frames that no leader sends, on its bus, with its ids."""
        rng = np.random.default_rng(5)
        with LoopbackBus(EMULATED_CAN_GROUP, self._leader_port) as bus:
            for _ in range(count):
                can_id = int(rng.choice([*protocol.JOINTS, protocol.GRIPPER, protocol.MODE]))
                bus.send_frame(can_id, rng.integers(0, 256, 8).astype(np.uint8).tobytes())
                pause(0.003)

    def follow(self) -> None:
        """Move the leader a little and back, engage, and wait for the follower."""
        self.tell("hand1=0.03")
        pause(2.0)  # by then it has come home from wherever it was
        self.tell("hand1=0.0")
        assert until(lambda: self.desk.state in (ALIGNED, LOST)), self.desk.said
        pause(1.0)
        assert until(lambda: self.desk.call("engage").success), self.desk.said
        assert until(lambda: self.desk.state == FOLLOWING), self.desk.said

    def play(self) -> None:
        """Following, the leader is led through its motion from the start, which is at home."""
        if self.desk.state != FOLLOWING:
            self.tell("hand_play=0")
            self.follow()
        self.tell("hand_play=1")
        assert self.moves(2.0), (self.desk.state, self.desk.said)

    def moves(self, seconds: float) -> bool:
        """Whether set-points on the follower's bus change within so long."""
        spied, began_ns = self.spied, CLOCK.now_ns()
        pause(seconds)
        ended_ns = CLOCK.now_ns()
        # This process may read late; the kernel's stamps are not. The driver never falls silent.
        assert until(lambda: bool(spied.stamps_ns) and spied.stamps_ns[-1] >= ended_ns)
        first, last = np.searchsorted(spied.stamps_ns, [began_ns, ended_ns])
        return len(set(spied.joints_rad[first:last])) > 1

    def assert_no_jump(self) -> None:
        count = len(self.spied.stamps_ns)
        stamps_ns = np.array(self.spied.stamps_ns[:count], dtype=np.int64)
        assert step_shares(stamps_ns, self.spied.table[:count], ARM.max_velocity).max() <= 1.0


@contextmanager
def running(folder: Path, **chosen: str) -> Iterator[Running]:
    hand = folder / "hand.csv"
    hand_motion(ARM, 60.0, 3).write(hand)
    port, leader_port = free_udp_port(), free_udp_port()
    chosen |= {"hardware": "emulated", "hand": str(hand), "can_port": str(port)}
    chosen |= {"leader_can_port": str(leader_port)}
    values = option_values(TELEOP_OPTIONS, chosen, str(paths.share_root()))
    with (
        Supervisor(TELEOP, values, folder / "run") as supervisor,
        spying(EMULATED_CAN_GROUP, port) as spied,
        spinning(Desk, supervisor.domain_id) as desk,
    ):
        supervisor.wait_ready(START_S)
        one_bus = chosen.get("wiring") == "bus"
        yield Running(supervisor, desk, spied, port if one_bus else leader_port)


@pytest.fixture(scope="module")
def start() -> Callable[[Path], AbstractContextManager[Running]]:
    return running


def test_it_waits_for_the_leader_to_move_then_follows(graph: Running) -> None:
    desk = graph.desk
    assert until(lambda: "move the leader a little" in desk.said), desk.said
    refused = desk.call("engage")
    assert not refused.success and "move the leader a little" in refused.message
    graph.play()
    pause(2.0)
    apart = np.abs(np.array(desk.follower[-1]) - np.array(desk.leader[-1]))
    assert apart[:6].max() < 0.25, "the follower is where the leader is, some milliseconds late"
    graph.assert_no_jump()


def test_garbage_of_the_leader_makes_no_jump(graph: Running) -> None:
    graph.garbage(300)
    graph.tell("hand_play=0")
    graph.assert_no_jump()
    assert graph.desk.state in (FOLLOWING, TeleopState.PAUSED, LOST)


def test_an_unplugged_leader_in_motion_is_a_hold_until_the_operator_engages(graph: Running) -> None:
    desk = graph.desk
    graph.play()
    graph.tell("unplugged=1")
    assert until(lambda: desk.state == LOST), desk.state
    pause(0.5)
    assert not graph.moves(1.0), "the follower holds"
    graph.tell("unplugged=0")
    assert not graph.moves(3.0), "nothing moves before the operator engages"
    assert desk.state == LOST
    graph.tell("hand_play=0")
    graph.follow()
    graph.assert_no_jump()


def test_a_recording_goes_on_without_the_leader_and_says_so(graph: Running, tmp_path: Path) -> None:
    desk, supervisor = graph.desk, graph.supervisor
    row = recorder(tmp_path, ("cam0",), ("piper",), least_share=0.2, fps=5.0)
    values, log = {"share": str(paths.share_root())}, tmp_path.with_suffix(".log")
    lens = load_rig(paths.config_file("rigs", f"{RIG}.yaml")).camera("cam0").intrinsics
    with (
        small_tap(lens),
        Victim(row, values, log),
        spinning(RecordDesk, supervisor.domain_id) as operator,
    ):
        graph.play()
        operator.start(supervisor)
        graph.tell("unplugged=1")
        assert until(lambda: desk.state == LOST), desk.state
        unplugged_ns = CLOCK.now_ns()
        pause(2.0)
        graph.tell("unplugged=0", "hand_play=0")
        graph.follow()
        operator.end("failure")
    (folder,) = episode_folders(tmp_path)
    assert faults(folder) == []
    reader = EpisodeReader(folder)
    events = reader.manifest.events
    assert any("teleoperation is lost: " in event for event in events), events
    assert any("lost no more" in event for event in events), events
    stamps_ns = np.array([s.stamp_ns for s in reader.joints("/piper/joint_states")])
    without = (stamps_ns > unplugged_ns) & (stamps_ns < unplugged_ns + 2 * 10**9)
    assert without.sum() > 100, "it goes on"
    graph.assert_no_jump()


def test_a_leader_at_rest_for_20_s_is_not_lost(graph: Running) -> None:
    if graph.desk.state != FOLLOWING:
        graph.follow()
    first = len(graph.desk.states)
    pause(20.0)
    seen = graph.desk.states[first:]
    assert len(seen) > 20 and set(seen) == {FOLLOWING}


def test_killed_it_leaves_the_follower_to_its_driver_which_holds(graph: Running) -> None:
    graph.play()
    values = {"share": str(paths.share_root())}
    names = [row.full_name for row in started_rows(TELEOP, graph.supervisor._values | values)]
    os.kill(graph.supervisor.pids[names.index("/teleop")], signal.SIGKILL)
    assert until(lambda: graph.desk.modes[-1:] == ["holding"]), graph.desk.modes[-1:]
    pause(0.3)
    assert not graph.moves(1.0)
    graph.assert_no_jump()


def test_arms_on_one_bus_are_listened_to_and_nothing_is_sent(tmp_path: Path) -> None:
    with running(tmp_path, wiring="bus") as found:
        desk = found.desk
        assert until(lambda: desk.state == TeleopState.LISTENING)
        assert "no gate is possible" in desk.said
        refused = desk.call("engage")
        assert not refused.success and "no gate is possible" in refused.message
        found.tell("hand_play=1")
        assert until(lambda: len(desk.leader) > 100 and len(desk.follower) > 100)
        pause(1.0)
        assert np.ptp(np.array(desk.follower)[:, 0]) > 0.01, "the leader's frames move it"
        assert not desk.commands
