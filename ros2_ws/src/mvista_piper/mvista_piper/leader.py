"""A leader arm, read on its bus: set-points while it is moved, and an answer now and then at rest.

A leader (0x470 = 0xFA) gives no feedback: while it is moved it sends the set-points that a follower
on the same bus would obey (0x151, 0x155-0x157, 0x159), at rest nothing, and nothing at all before
it first moves. So it is asked for its firmware (0x4AF), which it answers in any state: rest differs
from death. With `listen_only` nothing is ever sent, and the follower on the bus is told as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import BusLostError, ConfigError, LeaderError, LeaderLostError, MvistaError
from mvista_core.ports import Clock
from mvista_core.records import Float64, JointState
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_piper import protocol
from mvista_piper.bus_time import Stamp
from mvista_piper.feedback import Feedback
from mvista_piper.limits import GRIPPER_REACH, JOINT_REACHES, MOTORS, check_arm_file
from mvista_piper.link import LinkCounters, PiperLink, ReceivedFrame
from mvista_piper.plausible import Judge
from mvista_piper.protocol import ASK_FIRMWARE
from mvista_piper.said import NotParsedError, decode_set_point
from mvista_piper.settings import LeaderSettings

SET_POINTS = (*protocol.JOINTS, protocol.GRIPPER)
SKIPPED = frozenset({*protocol.END_POSE, *protocol.MOTOR_FAST, *protocol.MOTOR_SLOW})
"""What a follower on the same bus says and nobody reads here."""
SPEED_OVER_S = 0.025
"""Speeds are means over the last so many seconds of set-points."""
FOLLOWER_STALE_S, FOLLOWER_SLOW_STALE_S, MOTORS_WITHIN_RAD = 0.1, 0.3, 0.05


class LeaderCondition(Enum):
    """What a leader does; the numbers are those of `LeaderStatus.msg`."""

    UNKNOWN = 0
    MOVING = 1
    RESTING = 2
    LOST = 3


class SetPointsHeard:
    """The set-points of one leader, frame by frame; a whole one is a pose. Pure."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._has_gripper = names, len(names) > MOTORS
        self._judges = {
            can_id: Judge(JOINT_REACHES[2 * pair : 2 * pair + 2])
            for pair, can_id in enumerate(protocol.JOINTS)
        }
        self._judges[protocol.GRIPPER] = Judge((GRIPPER_REACH,))
        self._values: dict[int, tuple[float, ...]] = {}
        self._fresh: set[int] = set()
        self._recent: deque[tuple[int, Float64]] = deque(maxlen=64)
        self.count = 0

    @property
    def dropped(self) -> int:
        """Frames that gave no value, or one that cannot be."""
        return sum(judge.dropped for judge in self._judges.values())

    def take(self, frame: ReceivedFrame) -> JointState | None:
        """The pose that this frame completes: with 0x157 the joints are whole."""
        judge = self._judges[frame.can_id]
        try:
            if frame.flaw:
                raise NotParsedError(frame.flaw)
            value = decode_set_point(frame.can_id, frame.data)
        except NotParsedError as error:
            judge.refuse(str(error))
            return None
        if not judge.accept(value, frame.stamp.monotonic_ns):
            return None
        self._values[frame.can_id] = value
        self._fresh.add(frame.can_id)
        if frame.can_id != protocol.JOINTS[-1] or not self._fresh.issuperset(protocol.JOINTS):
            return None
        # The gripper's frame comes after the joints': its last value stands for this set-point.
        if self._has_gripper and protocol.GRIPPER not in self._values:
            return None
        self._fresh.clear()
        return self._pose(frame.stamp)

    def _pose(self, stamp: Stamp) -> JointState:
        ids = SET_POINTS if self._has_gripper else protocol.JOINTS
        positions = np.array([value for can_id in ids for value in self._values[can_id]])
        now_ns, recent = stamp.monotonic_ns, self._recent
        if recent and now_ns - recent[-1][0] > seconds_to_ns(2 * SPEED_OVER_S):
            recent.clear()  # it rested meanwhile
        while recent and now_ns - recent[0][0] > seconds_to_ns(SPEED_OVER_S):
            recent.popleft()
        speeds = np.zeros_like(positions)
        if recent and now_ns > recent[0][0]:
            speeds = (positions - recent[0][1]) / ns_to_seconds(now_ns - recent[0][0])
        recent.append((now_ns, positions))
        self.count += 1
        return JointState(self._names, positions, speeds, stamp.wall_ns)


class PiperLeader:
    """The `Leader` port on one CAN bus. One thread receives and ticks; others may ask."""

    def __init__(
        self, link: PiperLink, arm: ArmModel, settings: LeaderSettings, clock: Clock
    ) -> None:
        """Raises ConfigError: the arm file is not a Piper's."""
        check_arm_file(arm)
        self._link, self._settings, self._clock = link, settings, clock
        self._names = arm.joint_names
        self._heard = SetPointsHeard(self._names)
        self._follower = self._new_follower()
        self._on_pose: Callable[[JointState], None] = lambda pose: None
        self._on_follower: Callable[[JointState], None] = lambda state: None
        self._pose: JointState | None = None
        self._posed_ns: int | None = None
        self._answered_ns: int | None = None
        self._asked_ns: int | None = None
        self._lost: MvistaError | None = None
        self._returning = False
        self._opened_ns = self._closed_ns = 0
        self._before = (0, 0)

    def listen(
        self,
        on_pose: Callable[[JointState], None],
        on_follower: Callable[[JointState], None] = lambda state: None,
    ) -> None:
        """Both are called on the receiving thread, with every whole pose of their arm."""
        self._on_pose, self._on_follower = on_pose, on_follower

    # Frames
    def open(self) -> None:
        """Open the bus; what was heard before is forgotten.

        Raises:
            BusLostError, ConfigError: it cannot be opened.
        """
        self._link.open()
        self._forget()
        self._opened_ns, self._lost = self._clock.monotonic_ns(), None

    def close(self) -> None:
        """Let go of the bus."""
        self._link.close()
        self._forget()
        self._lost = LeaderLostError("the leader's bus is closed")

    @property
    def bus_lost(self) -> bool:
        """Whether the bus is gone."""
        return self._lost is not None

    def receive(self, timeout_s: float) -> bool:
        """Take one frame, waiting at most so long for it; False when none came."""
        if self._lost is not None:
            return False
        try:
            frame = self._link.receive(timeout_s)
        except BusLostError as error:
            self._lose(error)
            return False
        if frame is None:
            return False
        if not frame.foreign:
            self._take(frame)
        return True

    def tick(self) -> None:
        """Ask whether the leader is there; open anew a bus that was lost."""
        now_ns, settings = self._clock.monotonic_ns(), self._settings
        if self._lost is not None:
            if now_ns - self._closed_ns >= seconds_to_ns(settings.reopen_s):
                self._reopen(now_ns)
            return
        if settings.listen_only:
            return
        due = self._asked_ns is None or now_ns - self._asked_ns >= seconds_to_ns(
            settings.question_period_s
        )
        if due:
            self._asked_ns = now_ns
            self._link.ask_firmware()
        # A pose from before a silence is none: nobody knows where it was moved meanwhile.
        if self._silent(now_ns) and self._pose is not None:
            self._forget_pose()

    def _take(self, frame: ReceivedFrame) -> None:
        self._returning = self._returning and not self._settings.listen_only
        answers = frame.can_id == protocol.FIRMWARE and frame.data != ASK_FIRMWARE
        if answers or frame.can_id == protocol.MODE or frame.can_id in SET_POINTS:
            self._answered_ns, self._returning = frame.stamp.monotonic_ns, False
        elif self._settings.listen_only:
            self._take_follower(frame)
        if frame.can_id not in SET_POINTS:
            return
        pose = self._heard.take(frame)
        if pose is not None:
            self._pose, self._posed_ns = pose, frame.stamp.monotonic_ns
            self._on_pose(pose)

    def _take_follower(self, frame: ReceivedFrame) -> None:
        if self._follower.take(frame):
            state = self._follower.pose(self._clock.monotonic_ns())
            if state is not None:
                self._on_follower(state)

    # What is known
    def pose(self) -> JointState | None:
        """Where the leader stood when it last said so."""
        return self._pose

    def trouble(self) -> MvistaError | None:
        """Why its pose cannot be counted on; see the port."""
        now_ns = self._clock.monotonic_ns()
        if self._lost is not None:
            return LeaderLostError(f"the leader's bus is lost: {self._lost}")
        if self._returning:
            return LeaderLostError("the leader's bus was lost and is open again; no answer yet")
        if self._silent(now_ns):
            return LeaderLostError(self._silence(now_ns))
        if self._pose is None:
            return LeaderError(
                "the leader's pose is unknown until it is moved: move the leader a little"
            )
        return None

    @property
    def condition(self) -> LeaderCondition:
        """What it does."""
        trouble, posed_ns = self.trouble(), self._posed_ns
        if isinstance(trouble, LeaderLostError):
            return LeaderCondition.LOST
        if trouble is not None or posed_ns is None:
            return LeaderCondition.UNKNOWN
        silent_ns = self._clock.monotonic_ns() - posed_ns
        moving = silent_ns <= seconds_to_ns(self._settings.rest_after_s)
        return LeaderCondition.MOVING if moving else LeaderCondition.RESTING

    @property
    def answered_s(self) -> float:
        """Since the leader last said anything; -1: it never did."""
        if self._answered_ns is None:
            return -1.0
        return max(ns_to_seconds(self._clock.monotonic_ns() - self._answered_ns), 0.0)

    @property
    def counters(self) -> LinkCounters:
        """Of the bus."""
        return self._link.counters

    @property
    def counts(self) -> tuple[int, int]:
        """Set-points heard, and frames of them dropped, since the start."""
        return self._before[0] + self._heard.count, self._before[1] + self._heard.dropped

    def _silent(self, now_ns: int) -> bool:
        """Whether the leader no longer answers; one that is only listened to is never asked."""
        if self._settings.listen_only:
            return False
        since_ns = self._opened_ns if self._answered_ns is None else self._answered_ns
        return now_ns - since_ns > seconds_to_ns(self._settings.answer_timeout_s)

    def _silence(self, now_ns: int) -> str:
        counters, answered_ns = self._link.counters, self._answered_ns
        since_s = ns_to_seconds(now_ns - (answered_ns or self._opened_ns))
        asked = "" if answered_ns is None else " any more"
        unsent = f"; the question was not sent: {counters.last_error}" if counters.failed else ""
        if answered_ns is None and counters.received:
            return (
                "an arm that gives feedback is on the leader's bus: it is a follower, or both are"
            )
        return (
            f"the leader does not answer (0x4AF){asked}, for {since_s:.1f} s{unsent}. Check its "
            "power, the cable and the bit rate (1,000,000)"
        )

    # Losing it
    def _lose(self, error: MvistaError) -> None:
        self._link.close()
        self._forget()
        self._lost, self._closed_ns = error, self._clock.monotonic_ns()

    def _reopen(self, now_ns: int) -> None:
        try:
            self.open()
            self._returning = True
        except (BusLostError, ConfigError) as error:
            self._lost, self._closed_ns = error, now_ns

    def _forget(self) -> None:
        self._answered_ns = self._asked_ns = None
        self._follower = self._new_follower()
        self._forget_pose()

    def _forget_pose(self) -> None:
        self._before = self.counts
        self._pose = self._posed_ns = None
        self._heard = SetPointsHeard(self._names)

    def _new_follower(self) -> Feedback:
        return Feedback(self._names, FOLLOWER_STALE_S, FOLLOWER_SLOW_STALE_S, MOTORS_WITHIN_RAD)
