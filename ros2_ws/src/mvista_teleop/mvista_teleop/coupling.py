"""The state machine of teleoperation: when the follower moves, where to, and why not.

Pure: poses and the operator's wishes come in with their times, set-points go out. Nothing moves but
by the operator's `engage`, `resume`, or by letting the clutch go; whatever ends a motion ends it
with a smooth stop and a hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ArmNotReadyError,
    BusyError,
    FarApartError,
    LeaderError,
    LeaderLostError,
    MvistaError,
    StaleFeedbackError,
)
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds
from mvista_teleop.mapping import Mapping
from mvista_teleop.pursuit import Moving, Pursuit
from mvista_teleop.settings import CouplingSettings

NEVER_MOVED = "the leader's pose is unknown until it is moved: move the leader a little"
AT_REST_RAD_S = 0.05
"""Feedback of an arm that holds is slower than this."""
SHORTEST_STEP_S = 1e-4
"""Two set-points closer than this are one."""


class CouplingPhase(Enum):
    """What teleoperation does; the numbers are those of `TeleopState.msg`."""

    WAITING = 0
    ALIGNED = 1
    RAMPING = 2
    FOLLOWING = 3
    PAUSED = 4
    LOST = 5


COUPLED = frozenset({CouplingPhase.RAMPING, CouplingPhase.FOLLOWING})
ENGAGED = frozenset({*COUPLED, CouplingPhase.PAUSED})


@dataclass(frozen=True)
class _Heard:
    """Positions and speeds [J] of one arm, and when they were so (monotonic)."""

    positions: Float64
    speeds: Float64
    at_ns: int


class Coupling:
    """One leader and one follower. Not thread-safe: all calls belong to one thread, or one lock."""

    def __init__(
        self, arm: ArmModel, mapping: Mapping, settings: CouplingSettings, now_ns: int
    ) -> None:
        self._arm, self._mapping, self._settings = arm, mapping, settings
        self._pursuit = Pursuit(arm)
        self._gripper = np.array([name == "gripper" for name in arm.joint_names])
        self._ramp = np.where(self._gripper, settings.ramp_m_s, settings.ramp_rad_s)
        self._reached = np.where(self._gripper, settings.reached_m, settings.reached_rad)
        self._offsets = np.zeros(len(arm.joint_names))
        self._leader: _Heard | None = None
        self._follower: _Heard | None = None
        self._leader_trouble: MvistaError | None = None
        self._follower_trouble: MvistaError | None = None
        self._status_ns: int | None = None
        self._stepped_ns = self._forgiven_ns = now_ns
        self._resting_sent = True
        self.phase = CouplingPhase.WAITING
        self.reason: MvistaError | None = LeaderError(NEVER_MOVED)
        self.clutched = False
        self.saturated: tuple[str, ...] = ()
        self.apart: Float64 | None = None

    @property
    def rests(self) -> bool:
        """Whether what was sent last does not move."""
        return self._pursuit.state.rests

    # What is heard
    def lead(self, positions: Float64, speeds: Float64, at_ns: int) -> None:
        """The leader stood at `positions` [J] and moved with `speeds` [J] at that time, in its own
        joints."""
        mapped = self._mapping.follower_from_leader(positions)
        self._leader = _Heard(mapped, self._mapping.follower_speeds(positions, speeds), at_ns)

    def hear_leader(self, trouble: MvistaError | None, now_ns: int) -> None:
        """The leader's status: what is wrong with it, None if nothing is."""
        if trouble is not None and self._leader_trouble is None:
            self._leader = None  # where it is moved meanwhile nobody knows
        self._status_ns, self._leader_trouble = now_ns, trouble

    def measure(self, positions: Float64, speeds: Float64, now_ns: int) -> None:
        """The follower was measured at `positions` [J], with `speeds` [J]."""
        self._follower = _Heard(positions, speeds, now_ns)

    def hear_follower(self, trouble: MvistaError | None) -> None:
        """The follower's status: why it takes no set-points, None if it does."""
        self._follower_trouble = trouble

    # The operator
    def engage(self, now_ns: int) -> None:
        """Couple the arms as they are mapped: the follower goes to its leader, then follows it.

        Raises:
            BusyError: they are coupled, or the follower is still stopping.
            LeaderError, FarApartError, StaleFeedbackError, ArmNotReadyError: why nothing moves.
        """
        if self.phase in COUPLED:
            raise BusyError(
                f"teleoperation is {self.phase.name.lower()}; there is nothing to engage"
            )
        if not self.rests and self.phase in (CouplingPhase.PAUSED, CouplingPhase.LOST):
            raise BusyError("the follower is still stopping; engage once it stands")
        leader, follower = self._both(now_ns)
        fastest = float(np.abs(follower.speeds[~self._gripper]).max())
        if fastest > AT_REST_RAD_S:
            raise ArmNotReadyError(
                f"the follower moves by {fastest:.3f} rad/s; it must stand to be engaged "
                f"({AT_REST_RAD_S} at most)"
            )
        offsets = np.zeros_like(self._offsets)
        if self.phase is CouplingPhase.PAUSED:
            # It stands at the set-point that is repeated; what was measured may be older.
            self._go_on(offsets, now_ns)
            return
        self._check_apart(leader, offsets, follower.positions)
        self._offsets = offsets
        self._pursuit.start(follower.positions)
        self._stepped_ns = now_ns
        self._couple()

    def pause(self) -> None:
        """Stop smoothly and hold, until `resume`.

        Raises:
            BusyError: there is nothing to pause.
        """
        if self.phase not in ENGAGED:
            raise BusyError(
                f"teleoperation is {self.phase.name.lower()}; there is nothing to pause"
            )
        self.phase, self.reason = CouplingPhase.PAUSED, None

    def resume(self, now_ns: int) -> None:
        """Go on after a pause: to the leader by a ramp.

        Raises:
            BusyError: not paused, or the clutch is held. Others as `engage`.
        """
        if self.phase is not CouplingPhase.PAUSED or self.clutched:
            said = "clutched; let the clutch go" if self.clutched else self.phase.name.lower()
            raise BusyError(f"teleoperation is {said}; there is nothing to resume")
        self._go_on(self._offsets, now_ns)

    def clutch(self, held: bool, now_ns: int) -> None:
        """Hold the clutch: the follower holds, the leader may be moved elsewhere. Let it go: the
        follower's joints move on from where they are, as the leader's do; its gripper ramps.

        Raises:
            BusyError: there is nothing to clutch, or the clutch is so already. Others as `engage`.
        """
        if self.phase not in ENGAGED or held == self.clutched:
            said = f"{self.phase.name.lower()}{', clutched' if self.clutched else ''}"
            raise BusyError(f"teleoperation is {said}; the clutch does nothing")
        if held:
            self.pause()
            self.clutched = True
            return
        leader, _ = self._both(now_ns)
        offsets = np.where(
            self._gripper, self._offsets, self._pursuit.state.positions - leader.positions
        )
        self._go_on(offsets, now_ns)

    # Time
    def step(self, now_ns: int) -> Moving | None:
        """The set-point for now; None: none is to be sent. Call it often, and when a pose comes."""
        elapsed_s = ns_to_seconds(now_ns - self._stepped_ns)
        if self.phase in ENGAGED and elapsed_s < SHORTEST_STEP_S:
            return None
        if elapsed_s > self._settings.longest_step_s:
            # The follower stands at the last set-point by now; and nobody was heard meanwhile.
            self._pursuit.start(self._pursuit.state.positions)
            self._forgiven_ns = now_ns
            elapsed_s = self._settings.longest_step_s
        self._stepped_ns = now_ns
        loss = self._loss(now_ns)
        if self.phase not in ENGAGED:
            return self._idle(loss, now_ns, elapsed_s)
        if loss is not None:
            self._lose(loss)
        if self.phase in COUPLED:
            return self._follow(now_ns, elapsed_s)
        if self.phase is CouplingPhase.PAUSED:
            self._compare(now_ns)
        return self._stop(elapsed_s)

    def _idle(self, loss: MvistaError | None, now_ns: int, elapsed_s: float) -> Moving | None:
        self._compare(now_ns)
        if self.phase is CouplingPhase.LOST:
            return self._stop(elapsed_s)
        trouble = loss or self._too_far()
        self.phase = CouplingPhase.WAITING if trouble else CouplingPhase.ALIGNED
        self.reason = trouble
        return None

    def _stop(self, elapsed_s: float) -> Moving | None:
        """Brake; once at rest a pause is repeated, and a loss is left to the driver's own hold."""
        if self.rests:
            if self.phase is CouplingPhase.PAUSED:
                return self._pursuit.state
            resting_sent, self._resting_sent = self._resting_sent, True
            return None if resting_sent else self._pursuit.state
        return self._pursuit.brake(elapsed_s)

    def _follow(self, now_ns: int, elapsed_s: float) -> Moving:
        target, speeds = self._target(now_ns)
        ramping = self.phase is CouplingPhase.RAMPING
        velocity = self._ramp if ramping else self._arm.max_velocity
        state = self._pursuit.toward(target, speeds, elapsed_s, velocity)
        self.apart = target - state.positions
        if far := self._too_far():
            self.phase, self.reason = CouplingPhase.PAUSED, far
        elif ramping and (np.abs(self.apart) <= self._reached).all():
            self.phase = CouplingPhase.FOLLOWING
        return state

    def _target(self, now_ns: int) -> tuple[Float64, Float64]:
        """Where the leader is by now, and its speeds [J]; within the follower's limits."""
        leader = self._leader
        assert leader is not None
        age_s = max(ns_to_seconds(now_ns - leader.at_ns), 0.0)
        # What was on its way for some milliseconds is led on by them; older than that, it rests.
        moving = age_s <= self._settings.settle_s
        wanted = leader.positions + self._offsets + (leader.speeds * age_s if moving else 0.0)
        target, self.saturated = self._mapping.saturated(wanted)
        still = (target != wanted) | (not moving)
        return target, np.where(still, 0.0, leader.speeds)

    def _compare(self, now_ns: int) -> None:
        """How far the leader is from where the follower holds, or is measured."""
        if self._leader is None or self._follower is None:
            self.apart = None
            return
        held = self.phase in ENGAGED
        self.apart = self._target(now_ns)[0] - (
            self._pursuit.state.positions if held else self._follower.positions
        )

    # What speaks against it
    def _both(self, now_ns: int) -> tuple[_Heard, _Heard]:
        trouble = self._loss(now_ns)
        if trouble is not None:
            raise trouble
        assert self._leader is not None and self._follower is not None
        return self._leader, self._follower

    def _loss(self, now_ns: int) -> MvistaError | None:
        """Why a side cannot be counted on."""
        return self._leader_loss(now_ns) or self._follower_loss(now_ns)

    def _leader_loss(self, now_ns: int) -> MvistaError | None:
        settings, leader = self._settings, self._leader
        status_s = self._silence_s(self._status_ns, now_ns)
        if status_s > settings.status_stale_s:
            return LeaderLostError(
                f"the leader's status is {_age(status_s)}: is its reader running?"
            )
        if self._leader_trouble is not None:
            return self._leader_trouble
        if leader is None:
            return LeaderError(NEVER_MOVED)
        fastest = float(np.abs(leader.speeds[~self._gripper]).max())
        silent_s = self._silence_s(leader.at_ns, now_ns)
        if fastest > settings.moving_rad_s and silent_s > settings.silent_s:
            return LeaderLostError(
                f"the leader's set-points ended in the middle of a motion ({fastest:.2f} rad/s), "
                f"{silent_s:.2f} s ago"
            )
        return None

    def _follower_loss(self, now_ns: int) -> MvistaError | None:
        settings, follower = self._settings, self._follower
        age_s = self._silence_s(None if follower is None else follower.at_ns, now_ns)
        if follower is None or age_s > settings.feedback_stale_s:
            return StaleFeedbackError(f"the follower's joint states are {_age(age_s)}")
        if self._follower_trouble is not None:
            return self._follower_trouble
        if self.phase in ENGAGED:
            away = np.abs(follower.positions - self._pursuit.state.positions)
            away = np.where(self._gripper, 0.0, away)  # what it grips stops a gripper
            worst = int(np.argmax(away))
            if away[worst] > settings.strays_rad:
                return ArmNotReadyError(
                    f"the follower does not follow: {self._arm.joint_names[worst]} is "
                    f"{away[worst]:.3f} rad from its set-point, {settings.strays_rad} at most"
                )
        return None

    def _silence_s(self, heard_ns: int | None, now_ns: int) -> float:
        """Time without a word, not counting what this process slept through."""
        if heard_ns is None:
            return float("inf")
        return ns_to_seconds(now_ns - max(heard_ns, self._forgiven_ns))

    def _check_apart(self, leader: _Heard, offsets: Float64, held: Float64) -> None:
        target, _ = self._mapping.saturated(leader.positions + offsets)
        self.apart = target - held
        if far := self._too_far():
            raise far

    def _too_far(self) -> FarApartError | None:
        if self.apart is None:
            return None
        within = self._settings.engage_within_rad
        far = (np.abs(self.apart) > within) & ~self._gripper
        if not far.any():
            return None
        table = ", ".join(
            f"{name} {value:+.2f}{' (too far)' if out else ''}"
            for name, value, out in zip(self._arm.joint_names, self.apart, far, strict=True)
        )
        return FarApartError(
            f"leader minus follower, rad (gripper m): {table}; at most {within} allowed. Move the "
            "leader to the follower's pose"
        )

    # Going on and ending
    def _go_on(self, offsets: Float64, now_ns: int) -> None:
        leader, follower = self._both(now_ns)
        held = self._pursuit.state.positions
        away = np.where(self._gripper, 0.0, np.abs(follower.positions - held))
        if away.max() > self._settings.held_within_rad:
            raise ArmNotReadyError(
                f"{self._arm.joint_names[int(np.argmax(away))]} is {away.max():.3f} rad from where "
                f"the follower holds, {self._settings.held_within_rad} at most: engage anew"
            )
        self._check_apart(leader, offsets, held)
        self._offsets = offsets
        self._couple()

    def _couple(self) -> None:
        self.phase, self.reason, self.clutched = CouplingPhase.RAMPING, None, False
        self._resting_sent = False

    def _lose(self, loss: MvistaError) -> None:
        self.phase, self.reason, self.clutched = CouplingPhase.LOST, loss, False
        self._resting_sent = False


def _age(seconds: float) -> str:
    return "missing" if seconds == float("inf") else f"{seconds:.2f} s old"
