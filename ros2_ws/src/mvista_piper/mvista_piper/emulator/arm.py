"""The emulated arm as its bus sees it: frames in, frames out, time from outside."""

from __future__ import annotations

import random
from collections.abc import Callable

from mvista_core.timing import seconds_to_ns
from mvista_piper import protocol
from mvista_piper.emulator.controller import Controller
from mvista_piper.emulator.faults import Faults
from mvista_piper.emulator.feedback import PERIOD_NS, PERIOD_S, FeedbackFrames, Frame
from mvista_piper.emulator.garbling import garble
from mvista_piper.emulator.parameters import Parameters
from mvista_piper.emulator.settings import EmulatorSettings

_MOST_PERIODS_SENT = 4
_MOST_PERIODS_MOVED = 200


class EmulatedPiper:
    """One arm. Not locked: whoever shares it between threads takes turns.

    Answers leave with the next period, up to 5 ms after the question, as from the real arm.
    """

    def __init__(
        self, settings: EmulatorSettings | None = None, faults: Faults | None = None
    ) -> None:
        self.faults = faults or Faults()
        self.controller = Controller(settings or EmulatorSettings(), self.faults)
        self.periods = self.skipped_periods = 0
        self._feedback = FeedbackFrames(self.controller)
        self._answers: list[Frame] = []
        self._next_ns: int | None = None
        self._now_ns = 0
        self._random = random.Random(self.faults.drop_seed)
        self._seed = self.faults.drop_seed
        self._settings_and_queries, self._motion = self._make_handlers()

    @property
    def joints_rad(self) -> list[float]:
        """Where the six joints truly are, whatever the feedback says."""
        return self.controller.joints.positions

    @property
    def gripper_m(self) -> float:
        """Where the gripper truly is."""
        return self.controller.gripper.position

    @property
    def next_ns(self) -> int | None:
        """When the next period begins, on the clock given to `step`; None before the first."""
        return self._next_ns

    # Frames in
    def receive(self, can_id: int, data: bytes) -> None:
        """Take one frame from the bus. Ids that are not the arm's are nothing to it."""
        if self.faults.bus_off or len(data) != 8 or self._lost():
            return
        handler = self._settings_and_queries.get(can_id)
        if handler is not None:
            self._answers += handler(data)
            return
        if self.controller.leader:
            return
        motion = self._motion.get(can_id - self.controller.control_offset)
        if motion is not None:
            motion(data)

    # Time, and frames out
    def step(self, now_ns: int) -> list[Frame]:
        """Run all periods that have begun by `now_ns` (monotonic) and return what was sent.

        After a stall the arm has moved on, but frames older than 20 ms are skipped and counted.
        """
        self._now_ns = max(self._now_ns, now_ns)
        if self._next_ns is None:
            self._next_ns = now_ns
        due = max(0, (now_ns - self._next_ns) // PERIOD_NS + 1)
        self._next_ns += due * PERIOD_NS
        frames: list[Frame] = []
        moved = min(due, _MOST_PERIODS_MOVED)
        for left in range(moved, 0, -1):
            self.controller.drive(PERIOD_S)
            if left <= _MOST_PERIODS_SENT:
                frames += garble(self._feedback.next(), self.faults)
                frames += self._answers
                self._answers = []
        self.periods += due
        self.skipped_periods += max(0, due - _MOST_PERIODS_SENT)
        return self._what_passes(frames)

    def advance(self, seconds: float) -> list[Frame]:
        """As `step`, on a clock of its own that moves by `seconds`, one period at a time."""
        end_ns, frames = self._now_ns + seconds_to_ns(seconds), []
        while self._next_ns is None or self._next_ns < end_ns:
            frames += self.step(self._now_ns if self._next_ns is None else self._next_ns)
        self._now_ns = end_ns
        return frames

    def _what_passes(self, frames: list[Frame]) -> list[Frame]:
        if self.faults.silent or self.faults.bus_off:
            return []
        if self.faults.drop_share:
            return [frame for frame in frames if not self._lost()]
        return frames

    def _lost(self) -> bool:
        if not self.faults.drop_share:
            return False
        if self._seed != self.faults.drop_seed:
            self._seed = self.faults.drop_seed
            self._random.seed(self._seed)
        return self._random.random() < self.faults.drop_share

    def _make_handlers(
        self,
    ) -> tuple[
        dict[int, Callable[[bytes], list[Frame]]],
        dict[int, Callable[[bytes], None]],
    ]:
        arm, parameters = self.controller, Parameters(self.controller)

        def role(data: bytes) -> list[Frame]:
            arm.set_role(protocol.RoleCommand.unpack(data))
            return [(protocol.ACK, bytes((protocol.ROLE & 0xFF, 0, 0, 0, 0, 0, 0, 0)))]

        def enable(data: bytes) -> list[Frame]:
            arm.enable(protocol.EnableCommand.unpack(data))
            return [(protocol.ACK, bytes((protocol.ENABLE & 0xFF, 0, 0, 0, 0, 0, 0, 0)))]

        answered: dict[int, Callable[[bytes], list[Frame]]] = {
            protocol.ROLE: role,
            protocol.ENABLE: enable,
            protocol.QUERY_LIMITS: parameters.limits,
            protocol.SET_LIMITS: parameters.set_limits,
            protocol.JOINT_CONFIG: parameters.configure_joint,
            protocol.PARAMETERS: parameters.parameters,
            protocol.SET_END_LIMITS: parameters.set_end_limits,
            protocol.SET_COLLISION: parameters.set_collision,
            protocol.SET_GRIPPER_PARAMETERS: parameters.set_gripper,
            protocol.FIRMWARE: parameters.firmware,
        }
        angles = protocol.unpack_angles
        silent: dict[int, Callable[[bytes], None]] = {
            protocol.STOP: lambda data: arm.stop(protocol.StopCommand.unpack(data)),
            protocol.MODE: lambda data: arm.set_mode(protocol.ModeCommand.unpack(data)),
            protocol.GRIPPER: lambda data: arm.set_gripper(protocol.GripperCommand.unpack(data)),
            protocol.JOINTS[0]: lambda data: arm.set_targets(0, angles(data)),
            protocol.JOINTS[1]: lambda data: arm.set_targets(2, angles(data)),
            protocol.JOINTS[2]: lambda data: arm.set_targets(4, angles(data)),
        }
        return answered, silent
