"""The teleoperation node: a leader's poses in, a follower's `joint_command` out, as they come.

With `wiring: host` each arm has a bus and a process of its own, and this node stands between them:
it forwards on arrival, and repeats what it holds while nothing comes. With `wiring: bus` leader and
follower share one, the leader's own frames move the follower, and this node only says so.
"""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from mvista_interfaces.msg import LeaderStatus, TeleopState

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import ArmNotReadyError, LeaderError, MvistaError
from mvista_core.ticker import Ticker
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, run_node
from mvista_ros.convert import error_from_outcome, outcome_from_status
from mvista_ros.parameters import declare
from mvista_teleop.coupling import ENGAGED, Coupling
from mvista_teleop.coupling_report_node import CouplingReport
from mvista_teleop.coupling_services_node import CouplingServices
from mvista_teleop.set_point_topics_node import SetPointTopics
from mvista_teleop.teleop_parameters import HOST, TeleopParameters

ARMED = frozenset({"holding", "tracking"})
"""Modes in which a driver's `status` says that it takes set-points."""
FIXED = "the arms may be coupled by it"
STATE_PERIOD_S = 0.1
STOP_S = 1.0
TICK_S = 0.002
"""A topic of 200 Hz is looked at so often: an executor's wait costs more than ten such looks, and
is later on a busy machine."""
REALTIME_PRIORITY = 20


class TeleopNode(HouseNode):
    """Couples one leader and one follower, when the operator says so."""

    def __init__(self) -> None:
        super().__init__("teleop")
        settings = declare(self, TeleopParameters, fixed=FIXED)
        arm, clock = load_arm(settings.arm_file), self.system_clock
        coupling = Coupling(arm, settings.mapping(arm), settings, clock.monotonic_ns())
        gated = settings.wiring == HOST
        self._coupling, self._report = coupling, CouplingReport(coupling, arm.joint_names, gated)
        self._arms = SetPointTopics(self, coupling, arm.joint_names, settings, self._on_step)
        self._operator = CouplingServices(self, coupling, self._arms, gated)
        self._states = self.create_publisher(TeleopState, "teleop/state", qos.STATUS)
        for type_, name, hear in (
            (LeaderStatus, settings.leader, self._on_leader_status),
            (DiagnosticStatus, settings.follower, self._on_follower_status),
        ):
            self.listen(type_, f"{name}/status", hear, qos.STATUS)
        self._news = self.create_guard_condition(self._tell)
        self.create_timer(STATE_PERIOD_S, self._tell)
        self._failure: BaseException | None = None
        self._ticker = Ticker(clock, TICK_S, self._tick)
        self._ticker.start()
        self._collector = realtime.YoungCollector()
        realtime.freeze_collector()

    def _tick(self) -> None:
        """On the ticker's thread."""
        try:
            self._arms.tick()
        except BaseException as error:
            # What ends this thread ends no node: `_tell` raises it on the executor's.
            self._failure = error
            self._news.trigger()
            raise

    def _on_step(self) -> None:
        if self._report.outdated:
            self._news.trigger()

    def _on_leader_status(self, message: LeaderStatus) -> None:
        trouble = error_from_outcome(message.outcome)
        topic = self._arms.leader_topic
        leaders = self.count_publishers(topic)
        if leaders > 1:
            trouble = LeaderError(
                f"{leaders} publishers of {topic}; one is allowed: end all but one"
            )
        with self._arms.lock:
            self._coupling.hear_leader(trouble, self.system_clock.monotonic_ns())
            if trouble is not None:
                self._arms.step()

    def _on_follower_status(self, message: DiagnosticStatus) -> None:
        mode = next((value.value for value in message.values if value.key == "mode"), "")
        trouble: MvistaError | None = None
        if message.level == DiagnosticStatus.ERROR or mode not in ARMED:
            found = outcome_from_status(message)
            found.message = f"the follower takes no set-points: {found.message or message.message}"
            trouble = error_from_outcome(found) or ArmNotReadyError(found.message)
        with self._arms.lock:
            self._coupling.hear_follower(trouble)

    def _tell(self) -> None:
        """On the executor's thread."""
        if self._failure is not None:
            raise self._failure
        with self._arms.lock:
            message = self._report.message(self.system_clock.now_ns(), self._arms.sent)
        self._states.publish(message)

    def health(self) -> Health:
        """The phase, and what is in the way."""
        self._collector.collect()
        return self._report.health(self._arms.sent)

    def stop(self) -> None:
        """Bring the follower to rest; its driver then holds."""
        clock = self.system_clock
        until_ns = clock.monotonic_ns() + seconds_to_ns(STOP_S)
        with self._arms.lock:
            if self._coupling.phase in ENGAGED:
                self._coupling.pause()
        while not self._coupling.rests and clock.monotonic_ns() < until_ns:
            clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(STATE_PERIOD_S))
        self._ticker.stop()
        realtime.thaw_collector()


def main() -> None:
    """Entry point of the `teleop_node` executable."""
    run_node(TeleopNode, realtime_priority=REALTIME_PRIORITY)
