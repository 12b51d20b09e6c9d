"""A follower, its leader and an operator on one clock: what the coupling is told, what it sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mvista_bringup.paths import config_file
from mvista_core.arm import load_arm
from mvista_core.errors import LeaderLostError, MvistaError
from mvista_core.records import Float64
from mvista_core.timing import seconds_to_ns
from mvista_teleop.coupling import ENGAGED, Coupling, CouplingPhase
from mvista_teleop.mapping import GripperMapping, Mapping
from mvista_teleop.pursuit import Moving
from mvista_teleop.settings import CouplingSettings

ARM = load_arm(config_file("arms", "piper.yaml"))
JOINTS = len(ARM.joint_names)
PLAIN = GripperMapping()
REVERSED = GripperMapping(scale=-1.0, offset_m=0.07)
ROUNDING = 1e-6


def plain_mapping(gripper: GripperMapping = PLAIN) -> Mapping:
    return Mapping(ARM, [1.0] * 6, [1.0] * 6, [0.0] * 6, gripper)


@dataclass
class Desk:
    """Leader and follower at one desk; the follower is where it was sent, a period late."""

    mapping: Mapping = field(default_factory=plain_mapping)
    settings: CouplingSettings = field(default_factory=CouplingSettings)

    def __post_init__(self) -> None:
        self.now_ns = 10**12
        self.coupling = Coupling(ARM, self.mapping, self.settings, self.now_ns)
        self.leader: Float64 = ARM.home.copy()
        self.speeds: Float64 = np.zeros(JOINTS)
        self.follower: Float64 = ARM.home.copy()
        self.leader_answers = self.leader_sends = self.follower_answers = True
        self.sent: list[tuple[int, Float64]] = []
        self.begun: list[tuple[int, Float64]] = []
        """When the arms were coupled, and where the follower stood then."""
        self.refused: list[MvistaError] = []

    def phase(self) -> CouplingPhase:
        """A call, which a type checker does not take for the same before and after."""
        return self.coupling.phase

    def tick(self, elapsed_s: float = 0.005) -> Moving | None:
        """Time passes; both arms are heard, if they say anything; the coupling steps."""
        self.now_ns += seconds_to_ns(elapsed_s)
        self.leader = self.leader + self.speeds * elapsed_s
        if self.leader_answers:
            self.coupling.hear_leader(None, self.now_ns)
            if self.leader_sends:
                self.coupling.lead(self.leader, self.speeds, self.now_ns)
        if self.follower_answers:
            still = np.zeros(JOINTS)
            self.coupling.measure(self.follower, still, self.now_ns)
        found = self.coupling.step(self.now_ns)
        if found is not None:
            self.sent.append((self.now_ns, found.positions))
            self.follower = found.positions
        return found

    def run(self, seconds: float, elapsed_s: float = 0.005) -> None:
        for _ in range(round(seconds / elapsed_s)):
            self.tick(elapsed_s)

    def unplug_leader(self) -> None:
        self.leader_answers = False
        self.coupling.hear_leader(LeaderLostError("unplugged"), self.now_ns)

    # What the operator does; a refusal is noted
    def engage(self) -> bool:
        return self._does(lambda: self.coupling.engage(self.now_ns))

    def pause(self) -> bool:
        return self._does(self.coupling.pause)

    def resume(self) -> bool:
        return self._does(lambda: self.coupling.resume(self.now_ns))

    def clutch(self, held: bool) -> bool:
        return self._does(lambda: self.coupling.clutch(held, self.now_ns))

    def _does(self, act: Callable[[], object]) -> bool:
        engaged = self.phase() in ENGAGED
        try:
            act()
        except MvistaError as error:
            self.refused.append(error)
            return False
        if not engaged and self.phase() in ENGAGED:
            self.begun.append((self.now_ns, self.follower.copy()))
        return True

    def follow(self) -> None:
        """Engage, and go on until the follower follows."""
        self.run(0.05)
        assert self.engage(), self.refused
        for _ in range(2000):
            self.tick()
            if self.phase() is CouplingPhase.FOLLOWING:
                return
        raise AssertionError(f"not following: {self.phase()}, {self.coupling.reason}")


def assert_never_a_jump(desk: Desk) -> None:
    """Every set-point within the limits, every step and every change of speed too."""
    if not desk.sent:
        return
    times = np.array([at for at, _ in desk.sent]) * 1e-9
    sent = np.array([positions for _, positions in desk.sent])
    assert (sent >= ARM.lower).all() and (sent <= ARM.upper).all()
    before, speed, last_s = desk.begun[0][1], np.zeros(JOINTS), 0.005
    began = iter(desk.begun[1:])
    after = next(began, None)
    at_s = desk.begun[0][0] * 1e-9
    for time_s, positions in zip(times, sent, strict=True):
        if after is not None and time_s >= after[0] * 1e-9:
            # From rest, where the follower was measured.
            before, speed, at_s = after[1], np.zeros(JOINTS), after[0] * 1e-9
            after = next(began, None)
        step_s = time_s - at_s
        step = np.clip(positions, ARM.lower, ARM.upper) - np.clip(before, ARM.lower, ARM.upper)
        now = step / step_s
        assert (np.abs(now) <= ARM.max_velocity * (1 + ROUNDING)).all(), (time_s, now)
        # Two means of speed lie half of both steps apart. After a stall it begins anew, from rest.
        stalled = step_s > desk.settings.longest_step_s
        change = np.zeros(JOINTS) if stalled else 2.0 * (now - speed) / (step_s + last_s)
        assert (np.abs(change) <= ARM.max_acceleration * (1 + ROUNDING) + 1e-6).all(), (
            time_s, change
        )  # fmt: skip
        before, speed, at_s, last_s = positions, now, time_s, step_s
