"""Two emulated arms over CAN, the reader, teleoperation and the driver between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mvista_interfaces.msg import SetPointSource, TeleopState
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import Trigger

from mvista_bringup.graph.arm import EMULATED_CAN_GROUP
from mvista_bringup.graph.spec import started_rows
from mvista_bringup.graph.teleop import TELEOP, TELEOP_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import config_file, output_dir, share_root
from mvista_bringup.supervisor import Supervisor, free_udp_port
from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.ports import Clock
from mvista_core.records import Float64
from mvista_core.timing import SystemClock
from mvista_eval.figures import Figure, Measured
from mvista_eval.graph import Moment
from mvista_eval.live import let_run
from mvista_eval.process_usage import usage_of_session
from mvista_eval.teleop.figures import HeardCommand, Stamps, TeleopFigures, figures_of, millidegrees
from mvista_eval.teleop.hand import hand_motion, phase_s, phases
from mvista_piper.emulator.control import Order
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.emulator.server import tell
from mvista_piper.emulator.spy import SpiedSetPoints, spying
from mvista_ros import qos
from mvista_ros.convert import joint_command_from_msg, stamp_to_ns
from mvista_ros.listening import Listening
from mvista_ros.spinning import spinning

READY_S, FIRST_S, SETTLE_S, TELL_S = 180.0, 30.0, 1.0, 10.0
SHORTEST_S = 4.0
PRIORITY = 5
WIGGLE_RAD = 0.02
DRIVER = "/piper/driver"
ALLOWED_DRIVER_CORES = 0.7


class TeleopDesk(Node):
    """Hears the commands and the state of teleoperation, and engages it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("bench_teleop", **arguments)
        self._joints: dict[int, tuple[int, ...]] = {}
        self._leader_ns: dict[int, int] = {}
        self.states: list[int] = []
        self.said = ""
        listening = Listening(self, SystemClock())
        listening.listen(JointStateMsg, "piper/joint_command", self._on_command, qos.SENSOR_ALL_IN)
        sources = "teleop/set_point_source"
        listening.listen(SetPointSource, sources, self._on_source, qos.SENSOR_ALL_IN)
        listening.listen(TeleopState, "teleop/state", self._on_state, qos.STATUS)
        self._engage = self.create_client(Trigger, "teleop/engage")

    @property
    def commands(self) -> list[HeardCommand]:
        """Those whose source was heard too, in the order that they were sent in."""
        heard = sorted(self._joints.items())
        known = self._leader_ns
        return [HeardCommand(joints, at, known[at]) for at, joints in heard if at in known]

    @property
    def state(self) -> int:
        """The newest; -1 before the first."""
        return self.states[-1] if self.states else -1

    def engage(self, wait: Callable[[Callable[[], bool]], None]) -> None:
        """Raises UnavailableError: refused."""
        answer = self._engage.call_async(Trigger.Request())
        wait(answer.done)
        found = answer.result() if answer.done() else None
        if found is None or not found.success:
            said = "no answer" if found is None else found.message
            raise UnavailableError(f"teleoperation was not engaged: {said}")

    def _on_command(self, message: JointStateMsg) -> None:
        command = joint_command_from_msg(message)
        self._joints[command.stamp_ns] = millidegrees(command.positions[None, :6])[0]

    def _on_source(self, message: SetPointSource) -> None:
        self._leader_ns[stamp_to_ns(message.header.stamp)] = stamp_to_ns(message.leader_stamp)

    def _on_state(self, message: TeleopState) -> None:
        self.states.append(message.state)
        self.said = message.outcome.message


def measure(seconds: float, seed: int) -> Measured:
    """Teleoperation for so long, half of it with the leader at rest.

    Raises:
        ConfigError: no time. UnavailableError: a process ended, or it was not engaged.
    """
    if not seconds >= SHORTEST_S:
        raise ConfigError(f"--seconds is {seconds:g}; allowed: {SHORTEST_S:g} and more")
    clock, run_dir = SystemClock(), output_dir("bench", "teleop")
    arm = load_arm(config_file("arms", "piper.yaml"))
    run_dir.mkdir(parents=True, exist_ok=True)
    hand = run_dir / "hand.csv"
    hand_motion(arm, seconds, seed).write(hand)
    port, leader_port = free_udp_port(), free_udp_port()
    chosen = {"hardware": "emulated", "hand": str(hand)}
    chosen |= {"can_port": str(port), "leader_can_port": str(leader_port)}
    values = option_values(TELEOP_OPTIONS, chosen, str(share_root()))
    with (
        Supervisor(TELEOP, values, run_dir, clock=clock) as supervisor,
        _ahead(),
        spying(EMULATED_CAN_GROUP, port) as follower,
        spying(EMULATED_CAN_GROUP, leader_port) as leader,
        spinning(TeleopDesk, supervisor.domain_id) as desk,
    ):
        supervisor.wait_ready(READY_S)
        names = [row.full_name for row in started_rows(TELEOP, values)]
        run = _Run(supervisor, desk, dict(zip(names, supervisor.pids, strict=True)), clock)
        with LoopbackBus(EMULATED_CAN_GROUP, leader_port) as bus:
            run.engage(bus)
            began_ns = clock.now_ns()
            moving, resting = run.play(bus, seconds)
    found = figures_of(
        _since(leader, began_ns), _since(follower, began_ns), desk.commands, arm.max_velocity
    )
    return _measured(found, moving, resting, desk, seconds)


@contextmanager
def _ahead() -> Iterator[None]:
    """The threads started within go before ordinary ones, behind those that are measured: what is
    heard late would be lost."""
    realtime.claim(PRIORITY)
    try:
        yield
    finally:
        realtime.release()


def _since(spied: SpiedSetPoints, began_ns: int) -> tuple[Stamps, Float64]:
    stamps_ns = np.array(spied.stamps_ns, dtype=np.int64)
    first = int(np.searchsorted(stamps_ns, began_ns))
    return stamps_ns[first:], spied.table[first : len(stamps_ns)]


@dataclass(frozen=True)
class _Run:
    """The graph at work."""

    supervisor: Supervisor
    desk: TeleopDesk
    leaders: dict[str, int]
    clock: Clock

    def engage(self, bus: LoopbackBus) -> None:
        """Move the leader a little and back, engage, and wait until the follower follows."""
        for place in (WIGGLE_RAD, 0.0):
            tell(bus, Order("hand1", place), TELL_S)
            let_run(self.supervisor, SETTLE_S, self.clock)
        self._wait(lambda: self.desk.state == TeleopState.ALIGNED)
        if self.desk.state != TeleopState.ALIGNED:
            raise UnavailableError(f"leader and follower are not aligned: {self.desk.said}")
        self.desk.engage(self._wait)
        self._wait(lambda: self.desk.state == TeleopState.FOLLOWING)
        let_run(self.supervisor, SETTLE_S, self.clock)

    def play(self, bus: LoopbackBus, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
        """Cores that each process took while the leader moved, and while it rested."""
        tell(bus, Order("hand_play", 1.0), TELL_S)
        half_s = phase_s(seconds)
        taken: list[dict[str, float]] = []
        for _ in range(2 * phases(seconds)):
            before = self._moment()
            let_run(self.supervisor, half_s, self.clock)
            taken.append(self._moment().cores_since(before))
        let_run(self.supervisor, SETTLE_S, self.clock)
        return _mean(taken[::2]), _mean(taken[1::2])

    def _moment(self) -> Moment:
        usages = {name: usage_of_session(pid) for name, pid in self.leaders.items()}
        return Moment(self.clock.monotonic_ns(), usages)

    def _wait(self, done: Callable[[], bool]) -> None:
        let_run(self.supervisor, FIRST_S, self.clock, done)


def _mean(taken: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in taken])) for name in taken[0]}


def _measured(
    found: TeleopFigures,
    moving: dict[str, float],
    resting: dict[str, float],
    desk: TeleopDesk,
    seconds: float,
) -> Measured:
    lost = sum(state == TeleopState.LOST for state in desk.states)
    lines = [
        f"latency (ms), leader's 0x157 to follower's 0x157, by the kernel's stamps of the "
        f"datagrams that stand for CAN frames (SO_TIMESTAMPNS): {found.latency_ms}",
        f"set-points while the leader moved ({found.moving_s:.1f} s): leader's bus "
        f"{found.leader_set_points}, follower's bus {found.follower_set_points}; worst whole "
        f"second {found.worst_second:.1%} off 200",
        f"largest step: {found.largest_step_share:.1%} of speed limit x time",
        f"{'of one core':<18}{'moving':>8}{'at rest':>9}",
        *(f"{name:<18}{moving[name]:>8.1%}{resting[name]:>9.1%}" for name in moving),
    ]
    document = {**asdict(found), "cores_moving": moving, "cores_resting": resting, "lost": lost}
    figures = [
        Figure("latency, p50 (ms)", found.latency_ms.p50, 5.0),
        Figure("latency, p99 (ms)", found.latency_ms.p99, 10.0),
        Figure("share of set-points whose latency is not known", found.unknown_share, 0.05),
        Figure("steps over limit x period", float(found.steps_over), 0.0),
        Figure("set-points a second on the follower's bus, off 200", found.rate_error, 0.01),
        Figure("driver, cores while the leader moves", moving[DRIVER], ALLOWED_DRIVER_CORES),
        Figure("states that say lost", float(lost), 0.0),
    ]
    return Measured(f"teleop: {seconds:g} s, half at rest", "\n".join(lines), document, figures)
