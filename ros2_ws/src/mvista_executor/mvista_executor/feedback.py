"""Is the joint feedback fresh? Trusts stamps, not values: old feedback looks like a still arm."""

from __future__ import annotations

import numpy as np

from mvista_core.errors import StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import Float64, JointState
from mvista_core.timing import ns_to_seconds

_STEP_NS = 20_000_000
"""Wall against monotonic time between two looks: slewing moves it microseconds, a step more."""


class FeedbackWatch:
    """Judges each newest joint state by its stamp and by how long the stamp has not changed."""

    def __init__(self, clock: Clock, stale_after_s: float) -> None:
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._stamp_ns: int | None = None
        self._changed_ns = 0
        self._offset_ns: int | None = None
        self._stepped_ns: int | None = None

    def fresh(self, measured: JointState | None) -> JointState:
        """The state itself when it may be trusted.

        Age is the larger of wall time since its stamp and monotonic time since the stamp last
        changed, so that neither a stopped driver nor a stepped clock passes for feedback. For
        `stale_after_s` after this machine's wall clock was stepped stamps say nothing about age,
        and monotonic time alone decides: a step neither stops nor moves the arm.

        Raises:
            StaleFeedbackError: missing, older than `stale_after_s`, from the future, or not finite.
        """
        if measured is None:
            raise StaleFeedbackError("no joint feedback yet; does joint_states arrive?")
        now_ns = self.see(measured)
        by_stamp_s = ns_to_seconds(self._clock.now_ns() - measured.stamp_ns)
        if self._just_stepped(now_ns):
            by_stamp_s = 0.0
        age_s = max(by_stamp_s, ns_to_seconds(now_ns - self._changed_ns))
        if age_s > self._stale_after_s:
            raise StaleFeedbackError(
                f"joint feedback is {age_s:.3f} s old, at most {self._stale_after_s} s allowed; "
                "is the arm's driver alive (joint_states)?"
            )
        if by_stamp_s < -self._stale_after_s:
            raise StaleFeedbackError(
                f"joint feedback is stamped {-by_stamp_s:.3f} s ahead of this clock; "
                "synchronise the machines' clocks"
            )
        if not (np.isfinite(measured.positions).all() and np.isfinite(measured.velocities).all()):
            raise StaleFeedbackError("joint feedback is not finite; see the arm's status")
        return measured

    def see(self, measured: JointState) -> int:
        """Note when the stamp changed, without a judgement; the monotonic time of the look."""
        now_ns = self._clock.monotonic_ns()
        if measured.stamp_ns != self._stamp_ns:
            self._stamp_ns, self._changed_ns = measured.stamp_ns, now_ns
        return now_ns

    def _just_stepped(self, now_ns: int) -> bool:
        """Whether wall time was stepped against monotonic time within the last `stale_after_s`."""
        offset_ns = self._clock.now_ns() - now_ns
        before_ns, self._offset_ns = self._offset_ns, offset_ns
        if before_ns is not None and abs(offset_ns - before_ns) > _STEP_NS:
            self._stepped_ns = now_ns
        if self._stepped_ns is None:
            return False
        return ns_to_seconds(now_ns - self._stepped_ns) <= self._stale_after_s


def velocities_of(state: JointState, names: tuple[str, ...]) -> Float64:
    """Measured velocities [J] in the order of `names`."""
    return np.asarray(state.velocities[[state.names.index(name) for name in names]])
