"""What an enabled arm is sent: set-points as they come, then a brake, then the hold again."""

from __future__ import annotations

from mvista_core.errors import MvistaError
from mvista_core.records import Float64, JointCommand
from mvista_core.timing import seconds_to_ns
from mvista_piper.enabling import send_pose
from mvista_piper.limits import JointLimits
from mvista_piper.link import PiperLink
from mvista_piper.setpoints import SetPoints, per_joint
from mvista_piper.settings import PiperSettings
from mvista_piper.status import Mode


class SetPointSender:
    """Of one enabled arm, from the measured pose on; `tick` it at the command rate."""

    def __init__(
        self,
        link: PiperLink,
        limits: JointLimits,
        settings: PiperSettings,
        measured: Float64,
        now_ns: int,
    ) -> None:
        """The measured pose [J] is the first set-point, and is sent."""
        self._link, self._settings = link, settings
        within = per_joint(limits.names, settings.engage_within_rad, settings.engage_within_m)
        self._set_points = SetPoints(limits, settings.period_s, settings.longest_step_s, within)
        self._commanded_ns = self._ticked_ns = now_ns
        self.tracking = self.braking = False
        send_pose(link, self._set_points.start(measured, now_ns), settings)

    @property
    def mode(self) -> Mode:
        """TRACKING while somebody commands, else HOLDING."""
        return Mode.TRACKING if self.tracking else Mode.HOLDING

    @property
    def held(self) -> Float64:
        """The set-point that was sent last, [J]."""
        return self._set_points.last.positions

    def send(self, command: JointCommand, measured: Float64, now_ns: int) -> None:
        """Track one set-point; `measured` [J] is where the arm stands.

        Raises:
            TrajectoryError: refused whole; the arm brakes and holds.
        """
        try:
            positions = self._set_points.accept(command, measured, now_ns)
        except MvistaError:
            self.hold()
            raise
        send_pose(self._link, positions, self._settings)
        self.tracking, self.braking, self._commanded_ns = True, False, now_ns

    def hold(self) -> None:
        """Brake within the acceleration limits (`tick` does it) and keep the position."""
        if self.tracking:
            self.tracking, self.braking = False, True

    def tick(self, now_ns: int) -> None:
        """Once per period: notice that nobody commands any more, brake, repeat what is held."""
        self._forgive_a_stall(now_ns)
        if self.tracking:
            if now_ns - self._commanded_ns <= seconds_to_ns(self._settings.command_timeout_s):
                return
            # No brake: the set-point has stood still for so long that one would move it again.
            self._begin_hold()
        if self.braking:
            positions = self._set_points.brake(now_ns)
            if positions is not None:
                send_pose(self._link, positions, self._settings)
                return
            self._begin_hold()
        # Sent again, since a set-point is several frames and one that was lost would stay lost.
        refresh_ns = seconds_to_ns(self._settings.hold_refresh_s)
        if now_ns - self._set_points.last.sent_ns >= refresh_ns:
            send_pose(self._link, self._set_points.last.positions, self._settings)
            self._set_points.repeated(now_ns)

    def _forgive_a_stall(self, now_ns: int) -> None:
        """Commands may be waiting for a process that was not run: two periods to take them."""
        settings, before_ns = self._settings, self._ticked_ns
        self._ticked_ns = now_ns
        if now_ns - before_ns > seconds_to_ns(settings.longest_step_s):
            grace_s = settings.command_timeout_s - 2 * settings.period_s
            self._commanded_ns = max(self._commanded_ns, now_ns - seconds_to_ns(grace_s))

    def _begin_hold(self) -> None:
        self._set_points.release()
        self.tracking = self.braking = False
