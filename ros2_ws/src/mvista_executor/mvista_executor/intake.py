"""Joint states as they come in: what cannot be one is refused, whoever sent it."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.errors import ObservationError
from mvista_core.records import JointState
from mvista_core.timing import NS_PER_S, ns_to_seconds

BEYOND = 1.0
"""Rad (m) outside its limits at which no joint of the arm can stand."""
FASTER = 10.0
"""Times its limit at which no joint can move."""
JUMP_NS = NS_PER_S
RUN = 3
"""Messages in a row that bear a stamp out of line: then it is the clock that was stepped."""


class JointIntake:
    """The newest joint state that can be believed; one thread gives, others may read."""

    def __init__(self, arm: ArmModel) -> None:
        self._arm = arm
        self._least, self._most = arm.lower - BEYOND, arm.upper + BEYOND
        self._fastest = FASTER * arm.max_velocity
        self._stamp_ns: int | None = None
        self._other_ns, self._run = 0, 0
        self.newest: JointState | None = None

    def take(self, state: JointState) -> JointState:
        """Keep this one.

        Raises:
            ObservationError: it cannot be what the arm's joints are; the one before stays.
        """
        self._check_values(state)
        self._check_stamp(state.stamp_ns)
        self.newest = state
        return state

    def _check_values(self, state: JointState) -> None:
        names = self._arm.joint_names
        positions, velocities = state.positions, state.velocities
        if state.names != names:
            if len(set(state.names)) < len(state.names):
                raise ObservationError(f"a joint is named twice: {list(state.names)[:20]}")
            positions = state.ordered(names)
            velocities = velocities[[state.names.index(name) for name in names]]
        inside = (positions >= self._least) & (positions <= self._most)
        slow = np.abs(velocities) <= self._fastest
        if (inside & slow).all():  # what is not a number is neither
            return
        for joint in np.flatnonzero(~inside):
            where = f"{names[joint]} at {positions[joint]:.4g}"
            raise ObservationError(f"{where}: no joint of {self._arm.name} stands there")
        for joint in np.flatnonzero(~slow):
            raise ObservationError(
                f"{names[joint]} at {velocities[joint]:.4g}/s: no joint is that fast"
            )

    def _check_stamp(self, stamp_ns: int) -> None:
        """Stamps go on in steps of less than a second; a clock that is stepped does so once."""
        if self._stamp_ns is not None and not 0 <= stamp_ns - self._stamp_ns <= JUMP_NS:
            in_line = 0 <= stamp_ns - self._other_ns <= JUMP_NS
            self._run = self._run + 1 if in_line and self._run else 1
            self._other_ns = stamp_ns
            if self._run < RUN:
                raise ObservationError(
                    f"stamped {ns_to_seconds(stamp_ns - self._stamp_ns):.3f} s after the one before"
                )
        self._stamp_ns, self._run = stamp_ns, 0
