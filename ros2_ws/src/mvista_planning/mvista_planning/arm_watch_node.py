"""The arm's status topic, and the wait for an arm that can carry a plan out."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from mvista_interfaces.msg import Outcome
from rclpy.callback_groups import ReentrantCallbackGroup

from mvista_core.errors import ArmNotReadyError, CancelledError, UnavailableError
from mvista_core.ports import Clock, Progress
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_planning.arm_watch import ArmWatch, ArmWord
from mvista_ros import qos
from mvista_ros.base_node import HouseNode
from mvista_ros.convert import error_from_outcome, outcome_from_status

LOOK_PERIOD_S = 0.1


class ArmTopic:
    """What the driver of `<arm>` says on `<arm>/status`."""

    def __init__(self, node: HouseNode, clock: Clock, arm: str) -> None:
        self._node, self._clock, self._watch = node, clock, ArmWatch(clock)
        self._topic = f"{arm}/status"
        group = ReentrantCallbackGroup()
        node.listen(DiagnosticStatus, self._topic, self._hear, qos.STATUS, group)

    def _hear(self, message: DiagnosticStatus) -> None:
        said = {pair.key: pair.value for pair in message.values}
        failed = message.level == DiagnosticStatus.ERROR
        active = said.get("lifecycle", "active") == "active"
        found, mode = outcome_from_status(message), said.get("mode", "")
        self._watch.hear(ArmWord(mode, failed, message.message, active, found.code, found.message))

    def check(self) -> None:
        """Refuse an arm that only somebody's help makes ready. One that says nothing is let pass.

        Raises:
            ArmNotReadyError, StaleFeedbackError: with the driver's own number and words.
        """
        word = self._watch.word
        if word is not None and not word.able and not word.coming:
            text = f"{word.reason or word.text}; no plan is made for it"
            found = error_from_outcome(Outcome(code=word.code, message=text))
            raise found or ArmNotReadyError(text)

    def wait(self, stage: str, timeout_s: float, progress: Progress) -> None:
        """Return once the arm is ready, or where nobody says how it is.

        Raises:
            ArmNotReadyError, StaleFeedbackError: as `check`.
            UnavailableError: it does not become ready within `timeout_s`.
            CancelledError: the caller gave up.
        """
        start_ns = self._clock.monotonic_ns()
        while self._awaited():
            self.check()
            waited_s = ns_to_seconds(self._clock.monotonic_ns() - start_ns)
            if waited_s > timeout_s:
                raise UnavailableError(
                    f"the arm is not ready in {timeout_s:g} s (server_timeout_s): {self._said()}"
                )
            if not progress(stage, min(waited_s / timeout_s, 1.0)):
                raise CancelledError(f"cancelled while the arm was waited for: {self._said()}")
            self._clock.sleep_until(self._clock.monotonic_ns() + seconds_to_ns(LOOK_PERIOD_S))

    def _awaited(self) -> bool:
        word = self._watch.word
        if word is None:
            return self._node.count_publishers(self._topic) > 0
        return not word.able

    def _said(self) -> str:
        word = self._watch.word
        return f"nothing comes on {self._topic}" if word is None else word.text
