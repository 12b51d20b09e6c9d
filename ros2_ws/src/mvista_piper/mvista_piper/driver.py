"""The driver: identify, enable, stream set-points, hold; the `Arm` port over one CAN bus.

One thread ticks, sends and asks (`tick`, `send`, `hold`, `enable`, `rearm`); another may receive
(`receive`). Time passes only on the injected clock. No path disables the arm or resets it: whatever
ends, the arm holds its last set-point. `deactivate` shuts out whoever would move it, and holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ArmFaultError,
    ArmNotReadyError,
    BusLostError,
    BusyError,
    IdentityError,
    MvistaError,
    StaleFeedbackError,
)
from mvista_core.ports import Clock
from mvista_core.records import Float64, JointCommand, JointState
from mvista_core.set_points import positions_of
from mvista_piper import health
from mvista_piper.enabling import Enabling
from mvista_piper.feedback import Feedback
from mvista_piper.identity import ArmIdentity
from mvista_piper.limits import check_arm_file
from mvista_piper.link import PiperLink
from mvista_piper.search import Search
from mvista_piper.sender import SetPointSender
from mvista_piper.setpoints import check_limits
from mvista_piper.settings import PiperSettings
from mvista_piper.status import ARMED, DriverStatus, Mode

FRAMES_PER_POLL = 20_000
"""Over six seconds of an arm's feedback."""
CLOSED = "the driver's bus is closed, nothing is sent; configure it first"
INACTIVE = "the driver is inactive and lets nobody move the arm; activate it first"


class PiperDriver:
    """One Piper behind the `Arm` port. `open` it, `tick` it at the command rate, `close` it."""

    def __init__(
        self, link: PiperLink, arm: ArmModel, settings: PiperSettings, clock: Clock
    ) -> None:
        """Raises ConfigError: the arm file is not a Piper's."""
        check_arm_file(arm)
        self.arm = arm
        self._link, self._settings, self._clock = link, settings, clock
        stale_s, slow_stale_s = settings.stale_after_s, settings.slow_stale_after_s
        self._feedback = Feedback(
            arm.joint_names, stale_s, slow_stale_s, settings.motors_within_rad
        )
        self._on_state: Callable[[JointState], None] = lambda state: None
        # While there is no sender: that of an enabled arm knows whether somebody commands.
        self._mode: Mode = Mode.CLOSED
        self._sender: SetPointSender | None = None
        self._reason: MvistaError | None = ArmNotReadyError(CLOSED)
        self._identity: ArmIdentity | None = None
        self._enabling: Enabling | None = None
        self._meter = health.FrameMeter(clock.monotonic_ns())
        self._searching = self._new_search()
        self._said_ns = self._opened = 0
        self._refused = self._foreign_before = self._runs_before = 0
        self._lost: tuple[int, BusLostError] | None = None
        self._rearming = False
        self._active = True

    # Frames
    def open(self) -> None:
        """Open the bus and begin to look for the arm.

        Raises:
            BusLostError, ConfigError: the bus cannot be opened.
        """
        self._link.open()
        self._opened += 1
        self._feedback.forget(self._clock.monotonic_ns())
        self._search()

    def close(self) -> None:
        """Let go of the bus. Nothing is sent: the arm holds its last set-point."""
        self._link.close()
        self._search()
        self._mode, self._reason = Mode.CLOSED, ArmNotReadyError(CLOSED)

    def listen(self, on_state: Callable[[JointState], None]) -> None:
        """`on_state` gets each complete set of joints, on the receiving thread."""
        self._on_state = on_state

    def receive(self, timeout_s: float) -> bool:
        """Take one frame, waiting at most so long for it; False when none came.

        A bus that cannot be read is remembered and reported by the next `tick`.
        """
        # Read first: the other thread may open the bus afresh while this one waits.
        opened = self._opened
        try:
            frame = self._link.receive(timeout_s)
        except BusLostError as error:
            self._lost = opened, error
            return False
        if frame is None:
            self._feedback.heard(self._clock.monotonic_ns())
            return False
        if self._feedback.take(frame):
            state = self.state()
            # While a frame of it was dropped the pose is as old as before: nothing new to say.
            if state is not None and state.stamp_ns != self._said_ns:
                self._said_ns = state.stamp_ns
                self._on_state(state)
        return True

    def poll(self) -> None:
        """Take the frames that are waiting; on a flooded bus not for ever."""
        for _ in range(FRAMES_PER_POLL):
            if not self.receive(0.0):
                return

    # Arm
    def state(self) -> JointState | None:
        """Measured joints, stamped by capture; None unless every frame of them is fresh."""
        return self._feedback.pose(self._clock.monotonic_ns())

    def send(self, command: JointCommand) -> None:
        """Track one set-point, or refuse it whole; refused, the arm brakes and holds.

        Raises:
            TrajectoryError: not finite, unknown joint, outside limits, or a jump.
            StaleFeedbackError: the feedback or the bus is lost. ArmFaultError: the arm has a fault.
            ArmNotReadyError: not enabled, or inactive. BusyError: being enabled.
        """
        try:
            self._send(command)
        except MvistaError:
            self._refused += 1
            raise

    def _send(self, command: JointCommand) -> None:
        self._check_active()
        now_ns = self._clock.monotonic_ns()
        if self._sender is None:
            self._refuse_unarmed(command)
        # Faults are looked for in `tick`, at the same rate; here only what the set-point needs.
        measured = self._feedback.positions(now_ns)
        if measured is None:
            raise StaleFeedbackError(f"no pose: {self._feedback.stale(now_ns)}")
        self._sender.send(command, measured, now_ns)

    def hold(self) -> None:
        """Brake within the acceleration limits (`tick` does it) and keep the position."""
        if self._sender is not None:
            self._sender.hold()

    def refuse(self) -> None:
        """A set-point of one who may not send any is not taken: counted, and the arm holds."""
        self._refused += 1
        self.hold()

    @property
    def mode(self) -> Mode:
        """What the driver does now."""
        sender = self._sender
        return self._mode if sender is None else sender.mode

    @property
    def reason(self) -> MvistaError | None:
        """Why the arm is not moved; None while it may be."""
        return self._reason

    @property
    def bus_lost(self) -> bool:
        """Whether the bus could not be read when last tried."""
        return self._bus_error is not None

    @property
    def _bus_error(self) -> BusLostError | None:
        """Why the present bus cannot be read; what another thread met on the one before is past."""
        lost = self._lost
        return lost[1] if lost is not None and lost[0] == self._opened else None

    @property
    def braking(self) -> bool:
        """Whether the smooth stop of `hold` is still under way."""
        sender = self._sender
        return sender is not None and sender.braking

    # The operator
    def activate(self) -> None:
        """Take set-points and orders to enable again. It sends nothing, but with
        `enable_at_start` it enables an arm that is ready."""
        self._active = True
        if self._mode is Mode.READY and self._settings.enable_at_start:
            self._enable_again()

    def deactivate(self) -> None:
        """Brake, hold, and take neither set-points nor orders to enable until `activate`.

        Motors that are just being enabled go on to hold where the arm stands.
        """
        self.hold()
        self._active = self._rearming = False

    def enable(self) -> None:
        """Begin to enable the motors; `tick` carries it out, `status` says how it went.

        Raises:
            BusyError: already under way or done. ArmNotReadyError: the driver is inactive, or the
            arm is not identified, has a fault, or stands outside its limits.
        """
        self._check_active()
        self._check_not_enabled("nothing to enable")
        if self._mode is not Mode.READY or self._identity is None:
            raise ArmNotReadyError(f"cannot enable: {self._mode.value}; {self._reason}")
        now_ns = self._clock.monotonic_ns()
        health.refuse_company(self._link.counters, now_ns)
        limits, clear = self._identity.limits, self._rearming
        self._enabling = Enabling(
            self._link, self._feedback, limits, self._settings, now_ns, clear_errors=clear
        )
        # A second writer is whoever sends from now on; the last second was looked at just above.
        self._foreign_before = self._link.counters.foreign
        self._mode, self._reason = Mode.ENABLING, None

    def rearm(self) -> None:
        """After a fault: open the bus afresh, identify the arm again, clear its errors, enable it.

        Raises:
            BusyError: there is no fault. BusLostError, ConfigError: the bus cannot be opened.
            ArmNotReadyError: the driver is inactive.
        """
        self._check_active()
        self._check_not_enabled("there is no fault to clear")
        self.open()
        # After `open`, whose new search forgets it.
        self._rearming = True

    def quick_stop(self) -> None:
        """Damped emergency stop: the arm sinks slowly. Leaving it takes power off at the arm.

        Raises:
            ArmNotReadyError: the bus is closed.
        """
        self._check_open()
        self._link.quick_stop()
        self._fail(ArmFaultError("the operator asked for an emergency stop"))

    def make_follower(self) -> None:
        """Make a leader a follower, for good.

        Raises:
            BusyError: the arm is enabled. ArmNotReadyError: the bus is closed.
        """
        self._check_open()
        self._check_not_enabled("roles change only while it is not")
        self._link.make_follower()
        self._feedback.forget(self._clock.monotonic_ns())
        self._search()

    def status(self) -> DriverStatus:
        """Everything an operator wants to see."""
        now_ns = self._clock.monotonic_ns()
        return DriverStatus(
            self.mode,
            self._reason,
            self._identity,
            self._feedback.status(now_ns),
            self._feedback.motors(now_ns),
            self._link.counters,
            self._meter.rate_hz,
            self._refused,
            self._meter.dropped_hz,
            self._feedback.drops,
        )

    # Time
    def tick(self) -> None:
        """Once per command period: look for faults, go on with what is under way."""
        now_ns = self._clock.monotonic_ns()
        self._meter.update(self._link.counters.received, self._feedback, now_ns)
        if self._sender is not None:
            self._check_armed(self._sender.held, now_ns)
        # Asked again: a fault that was just found has ended it, and then nothing is sent.
        if self._sender is not None:
            self._sender.tick(now_ns)
        elif self._mode is Mode.ENABLING:
            self._step_enabling(now_ns)
        elif self._mode in (Mode.SEARCHING, Mode.REFUSED):
            self._step_search(now_ns)
        # What comes back after silence may be another arm, or set otherwise: identified again.
        elif self._mode is Mode.READY and self._feedback.stale(now_ns):
            self._search()

    def _search(self) -> None:
        self._mode, self._identity = Mode.SEARCHING, None
        self._reason = StaleFeedbackError("nothing was heard of the arm yet")
        self._searching = self._new_search()
        self._sender = self._enabling = None
        self._rearming = False

    def _new_search(self) -> Search:
        now_ns = self._clock.monotonic_ns()
        return Search(self._link, self._feedback, self.arm, self._settings, now_ns)

    def _step_search(self, now_ns: int) -> None:
        if self._bus_error is not None:
            self._reason = self._bus_error
            return
        try:
            identity = self._searching.step(now_ns)
        except IdentityError as error:
            self._mode, self._reason = Mode.REFUSED, error
        except MvistaError as error:
            self._mode, self._reason = Mode.SEARCHING, error
        else:
            if identity is not None:
                self._welcome(identity)

    def _welcome(self, identity: ArmIdentity) -> None:
        self._mode, self._identity = Mode.READY, identity
        self._reason = ArmNotReadyError("the motors are not enabled; call the service `enable`")
        if self._active and (self._rearming or self._settings.enable_at_start):
            self._enable_again()

    def _enable_again(self) -> None:
        try:
            self.enable()
        except MvistaError as error:
            self._fail(error)
        self._rearming = False

    def _step_enabling(self, now_ns: int) -> None:
        try:
            self._check_bus()
            assert self._enabling is not None
            done = self._enabling.step(now_ns)
            measured = self._feedback.pose(now_ns)
            if measured is None:
                raise StaleFeedbackError(f"lost while enabling: {self._feedback.stale(now_ns)}")
        except MvistaError as error:
            self._fail(error)
            return
        if done and self._identity is not None:
            limits, settings = self._identity.limits, self._settings
            self._enabling, self._reason = None, None
            self._runs_before = self._feedback.runs[0]
            self._sender = SetPointSender(self._link, limits, settings, measured.positions, now_ns)

    # Faults
    def _check_armed(self, held: Float64, now_ns: int) -> None:
        feedback, settings = self._feedback, self._settings
        before = health.Before(self._foreign_before, self._runs_before)
        after_s, beyond_rad = settings.frozen_after_s, settings.frozen_beyond_rad
        try:
            self._check_bus()
            fault = health.find_fault(
                feedback, self._link.counters, before, now_ns
            ) or health.find_frozen(feedback, held, after_s, beyond_rad, now_ns)
        except MvistaError as error:
            fault = error
        if fault is not None:
            self._fail(fault)

    def _check_bus(self) -> None:
        fault = self._bus_error or health.find_bus_fault(
            self._link.counters, self._settings.lost_after_failures
        )
        if fault is not None:
            raise fault

    def _fail(self, reason: MvistaError) -> None:
        """Send nothing more: the arm holds its last set-point until the operator re-arms."""
        self._mode, self._reason = Mode.FAULT, reason
        self._sender = self._enabling = None

    def _check_active(self) -> None:
        if not self._active:
            raise ArmNotReadyError(INACTIVE)

    def _check_open(self) -> None:
        if self._mode is Mode.CLOSED:
            raise ArmNotReadyError(CLOSED)

    def _check_not_enabled(self, words: str) -> None:
        if self.mode in ARMED or self.mode is Mode.ENABLING:
            raise BusyError(f"the arm is {self.mode.value}; {words}")

    def _refuse_unarmed(self, command: JointCommand) -> NoReturn:
        """Say first what is wrong with the command itself, then why the arm would not take it."""
        limits = self._identity.limits if self._identity else None
        wanted = positions_of(command, self.arm.joint_names, self.arm.home)
        if limits is not None:
            check_limits(wanted, limits)
        if self._mode is Mode.ENABLING:
            raise BusyError("the motors are being enabled")
        raise self._reason or ArmNotReadyError("the motors are not enabled")
