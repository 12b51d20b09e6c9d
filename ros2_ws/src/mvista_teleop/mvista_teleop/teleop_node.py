"""The teleoperation node: a leader's poses in, a follower's `joint_command` out, as they come.

With `wiring: host` each arm has a bus and a process of its own, and this node stands between them:
it forwards on arrival, and repeats what it holds while nothing comes. With `wiring: bus` leader and
follower share one, the leader's own frames move the follower, and this node only says so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus
from mvista_interfaces.msg import LeaderStatus, TeleopState
from sensor_msgs.msg import JointState as JointStateMsg
from std_srvs.srv import SetBool, Trigger

from mvista_core import realtime
from mvista_core.arm import load_arm
from mvista_core.errors import (
    ArmNotReadyError,
    ConfigError,
    LeaderError,
    MvistaError,
    RivalWritersError,
)
from mvista_core.records import JointCommand, JointState
from mvista_core.ticker import Ticker
from mvista_core.timing import seconds_to_ns
from mvista_ros import qos
from mvista_ros.base_node import Health, HouseNode, Level, run_node
from mvista_ros.convert import (
    error_from_outcome,
    error_from_text,
    header,
    joint_command_to_msg,
    joint_state_from_msg,
    outcome_from_error,
    outcome_ok,
)
from mvista_ros.listening import message_from_bytes
from mvista_ros.parameters import declare, parameter
from mvista_teleop.coupling import COUPLED, ENGAGED, Coupling, CouplingPhase
from mvista_teleop.mapping import GripperMapping, Mapping
from mvista_teleop.settings import CouplingSettings

HOST, BUS = "host", "bus"
ARMED = frozenset({"holding", "tracking"})
"""Modes in which a driver's `status` says that it takes set-points."""
FIXED = "the arms may be coupled by it"
NO_GATE = (
    "wiring is bus: the leader's own frames move the follower, nothing is sent from here, and no "
    "gate is possible. Unplug the leader to stop; wire a bus per arm for wiring:=host"
)
STATE_PERIOD_S = 0.1
STOP_S = 1.0
LOOK_S = 0.02
MOST_WAITING = 3
TICK_S = 0.002
"""A topic of 200 Hz is looked at so often: an executor's wait costs more than ten such looks, and
is later on a busy machine."""
OLDEST_S = 0.05
REALTIME_PRIORITY = 20


@dataclass(frozen=True)
class TeleopParameters(CouplingSettings):
    """The node's parameters: wiring, mapping, and what couples the arms."""

    arm_file: str = parameter("config/arms/piper.yaml", "The follower's arm file: joints, limits")
    wiring: str = parameter(HOST, "host: a bus per arm, or bus: leader and follower on one")
    leader: str = parameter("leader", "Namespace of the leader's reader")
    follower: str = parameter("piper", "Namespace of the follower's driver")
    joint_signs: tuple[float, ...] = parameter((1.0,) * 6, "1 or -1 per joint", -1.0, 1.0)
    joint_scales: tuple[float, ...] = parameter((1.0,) * 6, "Scale per joint", 0.1, 5.0)
    joint_offsets_rad: tuple[float, ...] = parameter(
        (0.0,) * 6, "Added to each scaled joint", -6.3, 6.3
    )
    gripper_scale: float = parameter(
        1.0, "Of the opening; 0.7: leader of 0.1 m, follower of 0.07 m. Negative reverses it",
        -5.0, 5.0,
    )  # fmt: skip
    gripper_offset_m: float = parameter(0.0, "Added to the scaled opening", -0.2, 0.2)
    gripper_dead_band_m: float = parameter(
        0.0, "Openings of the leader below this count as shut", 0.0, 0.05
    )
    repeat_rate_hz: float = parameter(
        60.0, "While nothing comes of the leader the set-point is repeated so often", 50.0, 200.0
    )

    def __post_init__(self) -> None:
        if self.wiring not in (HOST, BUS):
            raise ConfigError(f"wiring is '{self.wiring}'; allowed: {HOST}, {BUS}")

    def gripper(self) -> GripperMapping:
        """How its opening is mapped."""
        return GripperMapping(self.gripper_scale, self.gripper_offset_m, self.gripper_dead_band_m)


class TeleopNode(HouseNode):
    """Couples one leader and one follower, when the operator says so."""

    def __init__(self) -> None:
        super().__init__("teleop")
        settings = declare(self, TeleopParameters, fixed=FIXED)
        arm, clock = load_arm(settings.arm_file), self.system_clock
        signs, scales, offsets = (
            settings.joint_signs, settings.joint_scales, settings.joint_offsets_rad,
        )  # fmt: skip
        mapping = Mapping(arm, signs, scales, offsets, settings.gripper())
        self._coupling = Coupling(arm, mapping, settings, clock.monotonic_ns())
        self._settings, self._names = settings, arm.joint_names
        self._lock = threading.Lock()
        self._sent = self._stepped_ns = self._looked_ns = 0
        self._told: tuple[object, ...] = ()
        self._waiting: deque[JointState] = deque(maxlen=MOST_WAITING)
        # A joint's set-point has no frame: its field says which pose of the leader it is made from.
        self._pose_stamp = ""
        leader, follower = settings.leader, settings.follower
        self._states = self.create_publisher(TeleopState, "teleop/state", qos.STATUS)
        self._poses = self.listening.queue(
            JointStateMsg, f"{leader}/joint_states", self._read_state, qos.SENSOR_IN
        )
        self.listen(LeaderStatus, f"{leader}/status", self._on_leader_status, qos.STATUS)
        self.listen(DiagnosticStatus, f"{follower}/status", self._on_follower_status, qos.STATUS)
        self._measured = self.listening.queue(
            JointStateMsg, f"{follower}/joint_states", self._read_state, qos.SENSOR_NEWEST_IN
        )
        self._commands = None
        if settings.wiring == HOST:
            topic = f"{follower}/joint_command"
            self._commands = self.create_publisher(JointStateMsg, topic, qos.COMMAND)
        self._serve()
        self._repeat_ns = seconds_to_ns(1.0 / settings.repeat_rate_hz)
        self._news = self.create_guard_condition(self._tell)
        self.create_timer(STATE_PERIOD_S, self._tell)
        self._failure: BaseException | None = None
        self._ticker = Ticker(clock, TICK_S, self._tick)
        self._ticker.start()
        self._collector = realtime.YoungCollector()
        realtime.freeze_collector()

    def _serve(self) -> None:
        coupling, clock = self._coupling, self.system_clock

        def engage() -> None:
            self._refuse_rivals()
            coupling.engage(clock.monotonic_ns())

        for name, act in (
            ("engage", engage),
            ("pause", coupling.pause),
            ("resume", lambda: coupling.resume(clock.monotonic_ns())),
        ):
            self.create_service(Trigger, f"teleop/{name}", self._server(act))
        self.create_service(SetBool, "teleop/clutch", self._on_clutch)

    # Poses, on the ticker's thread
    def _tick(self) -> None:
        """Forward what has come of the leader; while nothing does, repeat what is held."""
        try:
            self._waiting.extend(self._poses.take())
            with self._lock:
                # One a tick: the driver's end of the topic keeps the newest command only.
                if self._waiting:
                    self._forward(self._waiting.popleft())
                if self.system_clock.monotonic_ns() - self._stepped_ns >= self._repeat_ns:
                    self._step()
        except BaseException as error:
            self._failure = error
            self._news.trigger()
            raise

    def _forward(self, pose: JointState) -> None:
        self._pose_stamp = str(pose.stamp_ns)
        self._coupling.lead(pose.positions, pose.velocities, self._heard_ns(pose.stamp_ns))
        self._step()

    def _step(self) -> None:
        """Holding the lock: look at the follower, send what is due."""
        coupling, clock = self._coupling, self.system_clock
        self._look_at_follower()
        self._stepped_ns = clock.monotonic_ns()
        moving = coupling.step(self._stepped_ns)
        if moving is not None and self._commands is not None:
            command = JointCommand(self._names, moving.positions, moving.velocities, clock.now_ns())
            message = joint_command_to_msg(command)
            message.header.frame_id = self._pose_stamp
            self._commands.publish(message)
            self._sent += 1
        if self._telling() != self._told:
            self._news.trigger()

    def _look_at_follower(self) -> None:
        """Often enough to notice its loss; each look takes as long as a step of the motion."""
        now_ns = self.system_clock.monotonic_ns()
        if now_ns - self._looked_ns < seconds_to_ns(LOOK_S):
            return
        self._looked_ns = now_ns
        for state in self._measured.take():
            # A state that was taken late is as old as its stamp says.
            at_ns = self._heard_ns(state.stamp_ns)
            self._coupling.measure(state.positions, state.velocities, at_ns)

    def _heard_ns(self, stamp_ns: int) -> int:
        """The stamp's moment on the steady clock. One that cannot be, of another clock, is now."""
        clock = self.system_clock
        age_ns = clock.now_ns() - stamp_ns
        return clock.monotonic_ns() - (age_ns if 0 <= age_ns <= seconds_to_ns(OLDEST_S) else 0)

    def _read_state(self, data: bytes) -> JointState:
        state = joint_state_from_msg(message_from_bytes(data, JointStateMsg))
        if state.names == self._names:
            return state
        order = [state.names.index(name) for name in self._names if name in state.names]
        positions = state.ordered(self._names)
        return JointState(self._names, positions, state.velocities[order], state.stamp_ns)

    # What the others say of themselves
    def _on_leader_status(self, message: LeaderStatus) -> None:
        trouble = error_from_outcome(message.outcome)
        leaders = self.count_publishers(self._poses.topic)
        if leaders > 1:
            trouble = LeaderError(
                f"{leaders} publishers of {self._poses.topic}; one is allowed: end all but one"
            )
        with self._lock:
            self._coupling.hear_leader(trouble, self.system_clock.monotonic_ns())
            if trouble is not None:
                self._step()

    def _on_follower_status(self, message: DiagnosticStatus) -> None:
        mode = next((value.value for value in message.values if value.key == "mode"), "")
        trouble: MvistaError | None = None
        if message.level == DiagnosticStatus.ERROR or mode not in ARMED:
            trouble = error_from_text(
                f"the follower takes no set-points: {message.message}", ArmNotReadyError
            )
        with self._lock:
            self._coupling.hear_follower(trouble)

    def _refuse_rivals(self) -> None:
        if self._commands is None:
            return
        topic = self._commands.topic_name
        count = self.count_publishers(topic)
        if count > 1:
            raise RivalWritersError(
                f"{count} publishers of {topic}; one is allowed: end the others (an executor?), "
                f"see `ros2 topic info -v {topic}`"
            )

    # The operator
    def _server(
        self, act: Callable[[], None]
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self._do(act)
            return response

        return serve

    def _on_clutch(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        now_ns = self.system_clock.monotonic_ns()
        response.success, response.message = self._do(
            lambda: self._coupling.clutch(request.data, now_ns)
        )
        return response

    def _do(self, act: Callable[[], None]) -> tuple[bool, str]:
        """(whether it was done, what teleoperation does now or why it was refused)."""
        with self._lock:
            try:
                if self._settings.wiring == BUS:
                    raise ConfigError(NO_GATE)
                act()
            except MvistaError as error:
                return False, f"[{error.code}] {error}"
            self._step()
            return True, self._coupling.phase.name.lower()

    # Telling
    def _telling(self) -> tuple[object, ...]:
        coupling = self._coupling
        return coupling.phase, coupling.clutched, coupling.saturated, type(coupling.reason)

    def _tell(self) -> None:
        """On the executor's thread."""
        if self._failure is not None:
            raise self._failure
        with self._lock:
            message = self._state_message()
        self._states.publish(message)

    def _state_message(self) -> TeleopState:
        coupling = self._coupling
        listening = self._settings.wiring == BUS
        reason: MvistaError | None = ConfigError(NO_GATE) if listening else coupling.reason
        apart = coupling.apart
        self._told = self._telling()
        return TeleopState(
            header=header(self.system_clock.now_ns(), ""),
            state=TeleopState.LISTENING if listening else coupling.phase.value,
            outcome=outcome_ok() if reason is None else outcome_from_error(reason),
            clutched=coupling.clutched,
            joint_names=list(self._names),
            apart=[] if apart is None else apart.tolist(),
            saturated=list(coupling.saturated) if coupling.phase in ENGAGED else [],
            sent=self._sent,
        )

    def health(self) -> Health:
        """The phase, and what is in the way."""
        self._collector.collect()
        if self._settings.wiring == BUS:
            return Health(Level.WARN, NO_GATE)
        coupling = self._coupling
        said, reason = coupling.phase.name.lower(), coupling.reason
        values = (("set-points sent", str(self._sent)), ("clutched", str(coupling.clutched)))
        level = Level.OK
        if reason is not None:
            said = f"{said}: [{reason.code}] {reason}"
            level = Level.ERROR if coupling.phase is CouplingPhase.LOST else Level.WARN
        elif coupling.saturated and coupling.phase in COUPLED:
            said = f"{said}; the leader is beyond the follower's limits: {coupling.saturated}"
            level = Level.WARN
        return Health(level, said, values)

    def stop(self) -> None:
        """Bring the follower to rest; its driver then holds."""
        clock = self.system_clock
        until_ns = clock.monotonic_ns() + seconds_to_ns(STOP_S)
        with self._lock:
            if self._coupling.phase in ENGAGED:
                self._coupling.pause()
        while not self._coupling.rests and clock.monotonic_ns() < until_ns:
            clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(STATE_PERIOD_S))
        self._ticker.stop()
        realtime.thaw_collector()


def main() -> None:
    """Entry point of the `teleop_node` executable."""
    run_node(TeleopNode, realtime_priority=REALTIME_PRIORITY)
