"""Is the joint feedback fresh? Trusts stamps, not values: old feedback looks like a still arm."""

from __future__ import annotations

import numpy as np

from mvista_core.errors import StaleFeedbackError
from mvista_core.ports import Clock
from mvista_core.records import JointState
from mvista_core.timing import ns_to_seconds


class FeedbackWatch:
    """Judges each newest joint state by its stamp and by how long the stamp has not changed."""

    def __init__(self, clock: Clock, stale_after_s: float) -> None:
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._stamp_ns: int | None = None
        self._changed_ns = 0

    def fresh(self, measured: JointState | None) -> JointState:
        """The state itself when it may be trusted.

        Age is the larger of wall time since its stamp and monotonic time since the stamp last
        changed, so that neither a stopped driver nor a stepped clock passes for feedback.

        Raises:
            StaleFeedbackError: missing, older than `stale_after_s`, from the future, or not finite.
        """
        if measured is None:
            raise StaleFeedbackError("no joint feedback yet; does joint_states arrive?")
        now_ns = self._clock.monotonic_ns()
        if measured.stamp_ns != self._stamp_ns:
            self._stamp_ns, self._changed_ns = measured.stamp_ns, now_ns
        by_stamp_s = ns_to_seconds(self._clock.now_ns() - measured.stamp_ns)
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
