"""What the arm says, each frame with the stamp of its own: values without a stamp are no feedback.

A group counts only while its newest frame is fresh, a frame only if it was parsed and is plausible
(`said`, `plausible`), and a pose exists only while all frames that make it are such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mvista_core.records import Float64, JointState
from mvista_core.timing import NS_PER_S, seconds_to_ns
from mvista_piper import protocol
from mvista_piper.bus_time import Stamp
from mvista_piper.firmware import FirmwareText
from mvista_piper.identity import ArmAnswers, Role
from mvista_piper.limits import GRIPPER_REACH, JOINT_REACHES, MOTORS, MotorLimits, motor_reaches
from mvista_piper.link import ReceivedFrame
from mvista_piper.plausible import Judge
from mvista_piper.protocol import JOINT_FEEDBACK, MOTOR_FAST, MOTOR_SLOW, CtrlMode
from mvista_piper.said import (
    DECODERS,
    LEADER_IDS,
    CollisionLevels,
    MotorAcceleration,
    MotorLimit,
    MotorStatus,
    NotParsedError,
    SaidStatus,
    decode,
)

MOST_DEAF_S = 0.3
"""So long the receiving thread may be kept from the bus before it counts as silence."""
LEADER_KEPT_S = 1.0
"""So long a frame that only leaders send makes a leader."""
AGREED_FRAMES = 5
"""Newest frames of each joint that must agree before the arm is enabled from them."""
AGREED_WITHIN_RAD = 0.02
"""... with each other; an arm at rest is far within."""
AGREED_WITHIN_M = 0.002


class _Stamped(NamedTuple):
    value: Any
    stamp: Stamp


class _Heard:
    """All that was heard since one `forget`. The receiving thread writes it; others read.

    Whoever forgets puts a new one in its place, so that no thread clears what another one fills.
    Dictionaries that are walked through are replaced and never changed.
    """

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.heard_ns = 0
        self.newest: dict[int, _Stamped] = {}
        self.recent: dict[int, tuple[_Stamped, ...]] = {}
        self.judges = _make_judges()
        self.limits: dict[int, MotorLimit] = {}
        self.accelerations: dict[int, float] = {}
        self.collision_levels: tuple[int, ...] = ()
        self.firmware = FirmwareText()
        self.leader_ns: int | None = None
        self.runs = 0
        self.run_said = ""
        self.changed_ns = [0] * MOTORS
        self.waiting = set(JOINT_FEEDBACK)


def _make_judges() -> dict[int, Judge]:
    judges = {can_id: Judge() for can_id in DECODERS}
    for pair, can_id in enumerate(JOINT_FEEDBACK):
        judges[can_id] = Judge(JOINT_REACHES[2 * pair : 2 * pair + 2])
    judges[protocol.GRIPPER_FEEDBACK] = Judge((GRIPPER_REACH,))
    for motor, can_id in enumerate(MOTOR_FAST):
        judges[can_id] = Judge(motor_reaches(motor))
    return judges


class Feedback:
    """The newest of every group. `take` belongs to the receiving thread; reading is free."""

    def __init__(
        self,
        names: tuple[str, ...],
        stale_s: float,
        slow_stale_s: float,
        motors_within_rad: float,
    ) -> None:
        """Times and the distance are those of `PiperSettings`."""
        self._names, self._motors_within_rad = names, motors_within_rad
        self._stale_ns, self._slow_stale_ns = seconds_to_ns(stale_s), seconds_to_ns(slow_stale_s)
        self._has_gripper = len(names) > MOTORS
        self._pose_ids = (
            *JOINT_FEEDBACK,
            *((protocol.GRIPPER_FEEDBACK,) if self._has_gripper else ()),
        )
        self._watched = self._make_watched()
        self._heard = _Heard(0)

    def forget(self, now_ns: int) -> None:
        """As if nothing had been heard; what comes from `now_ns` (monotonic) on counts."""
        self._heard = _Heard(now_ns)

    # In
    def heard(self, now_ns: int) -> None:
        """The bus was listened to until this moment (monotonic), and nothing more was on it."""
        self._heard.heard_ns = now_ns

    def take(self, frame: ReceivedFrame) -> bool:
        """Note one frame of the arm; True when it completes a set of joints."""
        heard, stamp, can_id = self._heard, frame.stamp, frame.can_id
        if stamp.monotonic_ns < heard.since_ns:
            return False
        # Any frame, whoever sent it, shows that the bus is being listened to.
        heard.heard_ns = stamp.monotonic_ns
        if frame.foreign:
            return False
        if can_id in LEADER_IDS and not frame.flaw:
            heard.leader_ns = stamp.monotonic_ns
        judge = heard.judges.get(can_id)
        if judge is None:
            return False
        runs_before = judge.runs
        value = _value_of(frame, judge)
        if judge.runs > runs_before:
            heard.runs, heard.run_said = heard.runs + 1, f"0x{can_id:X}: {judge.said}"
        return value is not None and _note(heard, can_id, value, stamp)

    def _make_watched(self) -> list[tuple[int, str, int]]:
        """What a pose and its safety need: id, name, and how old it may be in nanoseconds."""
        fast_ns, slow_ns = self._stale_ns, self._slow_stale_ns
        joints = [
            (can_id, f"joints {2 * k + 1}-{2 * k + 2} (0x{can_id:X})", fast_ns)
            for k, can_id in enumerate(JOINT_FEEDBACK)
        ]
        gripper = [(protocol.GRIPPER_FEEDBACK, "gripper (0x2A8)", fast_ns)]
        motors = [
            (can_id, f"motor {k + 1} (0x{can_id:X})", slow_ns)
            for k, can_id in enumerate(MOTOR_SLOW)
        ]
        status = (protocol.STATUS, "status (0x2A1)", fast_ns)
        return [*joints, *(gripper if self._has_gripper else []), status, *motors]

    # Out
    def _until(self, heard: _Heard, now_ns: int) -> int:
        """What ages are counted to: the last moment at which the bus was listened to.

        A process that was not run for a while finds frames waiting: the arm was not silent. After
        `MOST_DEAF_S` without listening it no longer knows, and ages count to the present.
        """
        heard_ns = heard.heard_ns
        deaf = now_ns - heard_ns > seconds_to_ns(MOST_DEAF_S)
        return now_ns if deaf else min(now_ns, heard_ns)

    def age_s(self, can_id: int, now_ns: int) -> float:
        """Age of the newest frame of an id in seconds; infinite when there was none."""
        heard = self._heard
        newest = heard.newest.get(can_id)
        if newest is None:
            return float("inf")
        return max(self._until(heard, now_ns) - newest.stamp.monotonic_ns, 0) / NS_PER_S

    def stale(self, now_ns: int) -> str:
        """Which groups are missing or old, with their ages and what was dropped; "" if none."""
        heard = self._heard
        newest, until_ns = heard.newest, self._until(heard, now_ns)
        said = [
            f"{label} ({self._age_text(can_id, now_ns)})"
            for can_id, label, limit_ns in self._watched
            if can_id not in newest or until_ns - newest[can_id].stamp.monotonic_ns > limit_ns
        ]
        return ", ".join(said)

    def _age_text(self, can_id: int, now_ns: int) -> str:
        age_s, judge = self.age_s(can_id, now_ns), self._heard.judges[can_id]
        age = "never" if age_s == float("inf") else f"{age_s:.3f} s old"
        return f"{age}; {judge.dropped} dropped: {judge.said}" if judge.dropped else age

    def pose(self, now_ns: int) -> JointState | None:
        """Measured joints, stamped with the oldest frame that makes them; None unless all fresh."""
        heard = self._heard
        fresh = self._fresh_pose(heard, now_ns)
        if not fresh:
            return None
        positions = np.array([value for frame in fresh for value in frame.value])
        stamp_ns = min(frame.stamp.wall_ns for frame in fresh)
        velocities = self._velocities(heard, self._until(heard, now_ns))
        return JointState(self._names, positions, velocities, stamp_ns)

    def positions(self, now_ns: int) -> Float64 | None:
        """The positions of `pose` alone, [J]."""
        fresh = self._fresh_pose(self._heard, now_ns)
        return np.array([value for frame in fresh for value in frame.value]) if fresh else None

    def _fresh_pose(self, heard: _Heard, now_ns: int) -> list[_Stamped]:
        """The frames that make a pose; none unless all are fresh."""
        frames = [heard.newest.get(can_id) for can_id in self._pose_ids]
        since_ns = self._until(heard, now_ns) - self._stale_ns
        fresh = [frame for frame in frames if frame and frame.stamp.monotonic_ns >= since_ns]
        return fresh if len(fresh) == len(frames) else []

    def doubt(self, now_ns: int) -> str:
        """Why the pose is not to be enabled from, "" if its frames and the motors agree."""
        heard = self._heard
        if not self._fresh_pose(heard, now_ns):
            return f"no pose: {self.stale(now_ns)}"
        return ", ".join(
            [*self._unsteady(heard), *self._motors_elsewhere(heard, self._until(heard, now_ns))]
        )

    def _unsteady(self, heard: _Heard) -> Iterator[str]:
        for can_id in self._pose_ids:
            recent = heard.recent[can_id]
            within = AGREED_WITHIN_M if can_id == protocol.GRIPPER_FEEDBACK else AGREED_WITHIN_RAD
            spreads = [max(v) - min(v) for v in zip(*(f.value for f in recent), strict=True)]
            if len(recent) < AGREED_FRAMES:
                yield f"0x{can_id:X} came {len(recent)} times, {AGREED_FRAMES} are needed"
            elif max(spreads) > within:
                yield f"the last {AGREED_FRAMES} of 0x{can_id:X} differ by {max(spreads):.3f}"

    def _motors_elsewhere(self, heard: _Heard, until_ns: int) -> Iterator[str]:
        """Joints whose own motor (0x251-0x256) says another position, or none."""
        for motor, can_id in enumerate(MOTOR_FAST):
            # 0x2A5-0x2A7 and 0x251-0x256 report the same joint twice: a wrong zero parts them.
            said = heard.newest[JOINT_FEEDBACK[motor // 2]].value[motor % 2]
            own = heard.newest.get(can_id)
            if own is None or until_ns - own.stamp.monotonic_ns > self._stale_ns:
                yield f"joint{motor + 1} at {said:.3f}, its motor (0x{can_id:X}) says nothing"
            elif abs(own.value[0] - said) > self._motors_within_rad:
                yield (
                    f"joint{motor + 1} at {said:.3f}, its motor (0x{can_id:X}) at "
                    f"{own.value[0]:.3f}: at most {self._motors_within_rad} rad apart is allowed "
                    "(motors_within_rad)"
                )

    def _velocities(self, heard: _Heard, until_ns: int) -> Float64:
        """The motors' own speeds; where one is stale, the change between its last two positions."""
        # The frames of a pose carry no speed, so the gripper's is never more than a difference.
        speeds = np.array([v for can_id in self._pose_ids for v in _difference(heard, can_id)])
        for motor, can_id in enumerate(MOTOR_FAST):
            newest = heard.newest.get(can_id)
            if newest and until_ns - newest.stamp.monotonic_ns <= self._stale_ns:
                speeds[motor] = newest.value[1]
        return speeds

    def unchanged_s(self, now_ns: int) -> Float64:
        """How long each motor's joint [6] has said the very same, in seconds."""
        heard = self._heard
        return (self._until(heard, now_ns) - np.array(heard.changed_ns)) / NS_PER_S

    @property
    def dropped(self) -> int:
        """Frames that gave no value, or one that cannot be, since `forget`."""
        return sum(judge.dropped for judge in self._heard.judges.values())

    @property
    def runs(self) -> tuple[int, str]:
        """How often a run of frames of one id was dropped since `forget`; the last reason."""
        heard = self._heard
        return heard.runs, heard.run_said

    @property
    def drops(self) -> str:
        """Which ids had frames dropped since `forget`, how many, and the last reason of each."""
        return ", ".join(
            f"{judge.dropped} of 0x{can_id:X} ({judge.said})"
            for can_id, judge in self._heard.judges.items()
            if judge.dropped
        )

    def status(self, now_ns: int, since_ns: int = 0) -> SaidStatus | None:
        """The controller's status if fresh and not older than `since_ns`."""
        heard = self._heard
        found = heard.newest.get(protocol.STATUS)
        if found is None or found.stamp.monotonic_ns < since_ns:
            return None
        fresh = self._until(heard, now_ns) - found.stamp.monotonic_ns <= self._stale_ns
        return found.value if fresh else None

    def motors(self, now_ns: int, since_ns: int = 0) -> tuple[MotorStatus | None, ...]:
        """Each motor's status if fresh and not older than `since_ns`, motor 1 first."""
        heard = self._heard
        found, until_ns = [heard.newest.get(i) for i in MOTOR_SLOW], self._until(heard, now_ns)
        return tuple(
            f.value
            if f
            and f.stamp.monotonic_ns >= since_ns
            and until_ns - f.stamp.monotonic_ns <= self._slow_stale_ns
            else None
            for f in found
        )

    # Identity
    def role(self, now_ns: int) -> Role:
        """Leader when it says so or offsets its ids; follower when it answers as one."""
        status, leader_ns = self.status(now_ns), self._heard.leader_ns
        offset = leader_ns is not None and now_ns - leader_ns <= seconds_to_ns(LEADER_KEPT_S)
        if offset or (status and status.ctrl_mode == CtrlMode.LEADER):
            return Role.LEADER
        return Role.UNKNOWN if status is None else Role.FOLLOWER

    def answers(self, now_ns: int) -> ArmAnswers:
        """What has been answered so far to `PiperLink.ask_identity`."""
        heard = self._heard
        accelerations = heard.accelerations
        # A motor has answered when both its frames came, 0x473 and 0x47C.
        limits = {
            motor: MotorLimits(
                found.lower_rad, found.upper_rad, found.max_speed_rad_s, accelerations[motor]
            )
            for motor, found in heard.limits.items()
            if motor in accelerations
        }
        return ArmAnswers(heard.firmware.text, self.role(now_ns), limits, heard.collision_levels)


def _value_of(frame: ReceivedFrame, judge: Judge) -> Any:
    """What the frame says; None: nothing that can be, which is counted."""
    try:
        if frame.flaw:
            raise NotParsedError(frame.flaw)
        value = decode(frame.can_id, frame.data)
    except NotParsedError as error:
        judge.refuse(str(error))
        return None
    return value if judge.accept(value, frame.stamp.monotonic_ns) else None


def _note(heard: _Heard, can_id: int, value: Any, stamp: Stamp) -> bool:
    if isinstance(value, MotorLimit):
        # Replaced and not changed: another thread may be walking through it.
        heard.limits = {**heard.limits, value.motor: value}
    elif isinstance(value, MotorAcceleration):
        heard.accelerations = {**heard.accelerations, value.motor: value.max_acceleration_rad_s2}
    elif isinstance(value, CollisionLevels):
        heard.collision_levels = value.levels
    elif can_id == protocol.FIRMWARE:
        heard.firmware.take(value, stamp.monotonic_ns)
    else:
        return _note_feedback(heard, can_id, _Stamped(value, stamp))
    return False


def _note_feedback(heard: _Heard, can_id: int, frame: _Stamped) -> bool:
    before = heard.newest.get(can_id)
    heard.newest[can_id] = frame
    if can_id not in JOINT_FEEDBACK and can_id != protocol.GRIPPER_FEEDBACK:
        return False
    heard.recent[can_id] = (*heard.recent.get(can_id, ())[1 - AGREED_FRAMES :], frame)
    if can_id == protocol.GRIPPER_FEEDBACK:
        return False
    first = 2 * JOINT_FEEDBACK.index(can_id)
    for k in range(2):
        if before is None or before.value[k] != frame.value[k]:
            heard.changed_ns[first + k] = frame.stamp.monotonic_ns
    # A set is complete with the last of its three frames, whichever that is, gripper or not.
    heard.waiting.discard(can_id)
    if heard.waiting:
        return False
    heard.waiting = set(JOINT_FEEDBACK)
    return True


def _difference(heard: _Heard, can_id: int) -> tuple[float, ...]:
    """Change per second between the last two values of an id."""
    recent = heard.recent[can_id][-2:]
    before, newest = recent[0], recent[-1]
    elapsed_ns = newest.stamp.monotonic_ns - before.stamp.monotonic_ns
    if elapsed_ns <= 0:
        return (0.0,) * len(newest.value)
    return tuple(
        (now - then) * (NS_PER_S / elapsed_ns)
        for now, then in zip(newest.value, before.value, strict=True)
    )
