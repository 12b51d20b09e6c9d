"""Looking for the arm: ask, listen, agree or refuse once the answers are whole or time is up."""

from __future__ import annotations

from dataclasses import replace

from mvista_core.arm import ArmModel
from mvista_core.errors import StaleFeedbackError
from mvista_core.timing import seconds_to_ns
from mvista_piper.feedback import Feedback
from mvista_piper.identity import ArmIdentity, Role, check_identity
from mvista_piper.limits import MOTORS
from mvista_piper.link import PiperLink
from mvista_piper.settings import PiperSettings

ASK_EVERY_S = 0.5


class Search:
    """One search; `step` it until it returns the arm. It never gives up by itself."""

    def __init__(
        self,
        link: PiperLink,
        feedback: Feedback,
        arm: ArmModel,
        settings: PiperSettings,
        now_ns: int,
    ) -> None:
        self._link, self._feedback, self._arm, self._settings = link, feedback, arm, settings
        self._began_ns = self._ask_ns = now_ns

    def step(self, now_ns: int) -> ArmIdentity | None:
        """The checked arm, or None while its answers are awaited.

        Raises:
            IdentityError: an arm is there that this driver must not move.
            StaleFeedbackError: nothing, or not everything, is heard.
        """
        if now_ns >= self._ask_ns:
            self._link.ask_identity()
            self._ask_ns = now_ns + seconds_to_ns(ASK_EVERY_S)
        answers, stale = self._feedback.answers(now_ns), self._feedback.stale(now_ns)
        whole = (
            answers.firmware
            and len(answers.motor_limits) == MOTORS
            and answers.collision_levels
            and not stale
        )
        late = now_ns - self._began_ns > seconds_to_ns(self._settings.identity_timeout_s)
        if not whole and not late and answers.role is not Role.LEADER:
            return None
        if answers.role is Role.UNKNOWN and answers.motor_limits:
            # It answers and yet sends no status: a leader, which is silent while it stands still.
            answers = replace(answers, role=Role.LEADER)
        elif answers.role is Role.UNKNOWN:
            raise StaleFeedbackError(self._silence(stale))
        settings = self._settings
        identity = check_identity(
            answers, self._arm, settings.min_collision_level, settings.accept_firmware
        )
        if stale:
            raise StaleFeedbackError(f"feedback is missing or old: {stale}")
        return identity

    def _silence(self, stale: str) -> str:
        counters = self._link.counters
        if counters.foreign:
            return (
                "no feedback, but set-points of another sender "
                f"(0x{counters.last_foreign_id:03X}): a leader arm, which sends none, or another "
                "program"
            )
        failed = f"; {counters.failed} frames not sent: {counters.last_error}"
        return (
            f"no feedback of the arm: {stale}{failed if counters.failed else ''}. "
            "Check power, the cable and the bit rate (1,000,000)"
        )
