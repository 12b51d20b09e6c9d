"""Enabling is a loop and a claim to verify: send, wait for the motors' own bits, check the mode.

First the newest frames of each joint must agree with each other and with the motors' own positions.
The order on the wire: enable (0x471) until bit 6 of all six 0x261-266 is set; then the measured
pose, the mode (0x151: CAN, joints, high follow) and the measured pose again, until 0x2A1 says so.
A set-point the controller remembers from before can thus never be what it jumps to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.errors import ArmNotReadyError, EnableError, StaleFeedbackError
from mvista_core.records import Float64, JointState
from mvista_core.timing import seconds_to_ns
from mvista_piper.feedback import Feedback
from mvista_piper.limits import MOTORS, JointLimits
from mvista_piper.link import PiperLink
from mvista_piper.protocol import ArmCondition, CtrlMode, MoveMode
from mvista_piper.said import CTRL_MODES, SaidStatus
from mvista_piper.setpoints import per_joint
from mvista_piper.settings import PiperSettings

REST_RAD_S = 0.05
"""Faster than this an arm moves; its encoders' noise is below 0.01."""


@dataclass(frozen=True)
class _Stage:
    began_ns: int
    next_send_ns: int


class Enabling:
    """One attempt to enable an arm; `step` it until it returns True or raises."""

    def __init__(
        self,
        link: PiperLink,
        feedback: Feedback,
        limits: JointLimits,
        settings: PiperSettings,
        now_ns: int,
        clear_errors: bool = False,
    ) -> None:
        """`clear_errors`: first clear what a collision left (0x475).

        Raises:
            ArmNotReadyError: the arm cannot be enabled as it stands; nothing was sent.
        """
        self._link, self._feedback, self._settings = link, feedback, settings
        self._limits = limits
        self._doubted_ns: int | None = None
        self._motors: _Stage | None = _Stage(now_ns, now_ns)
        self._mode: _Stage | None = None
        self._check_start(now_ns)
        if clear_errors:
            link.clear_errors()

    def step(self, now_ns: int) -> bool:
        """Send and look; True once the motors are on and the mode is taken.

        Raises:
            EnableError: time is up; the message names the motors and their bits, or the mode.
            ArmNotReadyError: what the arm says of its pose does not agree with itself.
            StaleFeedbackError: the feedback was lost meanwhile.
        """
        if not self._pose_is_agreed(now_ns):
            return False
        if self._mode is None:
            self._step_motors(now_ns)
            return False
        return self._step_mode(self._mode, now_ns)

    def _check_start(self, now_ns: int) -> None:
        measured = self._pose(now_ns).positions
        settings = self._settings
        slack = per_joint(self._limits.names, settings.limit_slack_rad, settings.limit_slack_m)
        outside = self._limits.outside(measured, slack)
        if outside:
            raise ArmNotReadyError(
                f"{'; '.join(outside)}, by more than {settings.limit_slack_rad} rad: bring the arm "
                "within its limits by hand before enabling it"
            )
        status = self._feedback.status(now_ns)
        if status and status.status == ArmCondition.EMERGENCY_STOP:
            raise ArmNotReadyError(
                "the arm is in emergency stop; leaving it takes a reset (0x150 byte 0 = 2), which "
                "cuts the motors' power and drops a raised arm: support it and use the vendor's "
                "tool. This driver never sends it"
            )

    def _pose_is_agreed(self, now_ns: int) -> bool:
        """An outlier is waited for, a lasting contradiction is not."""
        doubt = self._feedback.doubt(now_ns)
        if not doubt:
            self._doubted_ns = None
            return True
        if self._doubted_ns is None:
            self._doubted_ns = now_ns
        if now_ns - self._doubted_ns > seconds_to_ns(self._settings.mode_timeout_s):
            raise ArmNotReadyError(
                f"where the arm stands is in doubt: {doubt}. Let it stand still; if it does, look "
                "at the joint's encoder and its zero before enabling it"
            )
        return False

    def _step_motors(self, now_ns: int) -> None:
        stage = self._motors
        assert stage is not None
        # Only frames younger than the question: an older enable bit proves nothing.
        motors = self._feedback.motors(now_ns, since_ns=stage.began_ns)
        if all(motor is not None and motor.enabled for motor in motors):
            self._mode = _Stage(now_ns, now_ns)
            self._step_mode(self._mode, now_ns)
            return
        if now_ns - stage.began_ns > seconds_to_ns(self._settings.enable_timeout_s):
            said = [
                f"motor {i + 1}: {'no status frame' if m is None else self._bits(m.problem)}"
                for i, m in enumerate(motors)
                if m is None or not m.enabled
            ]
            raise EnableError(
                f"not enabled after {self._settings.enable_timeout_s:.1f} s: {'; '.join(said)} "
                f"({MOTORS - len(said)} of {MOTORS} are). Check power and the joint's cable"
            )
        if now_ns >= stage.next_send_ns:
            # Repeated: after a stop and its reset one alone is lost (piper_sdk issue 66).
            self._link.enable_motors()
            next_ns = now_ns + seconds_to_ns(self._settings.enable_period_s)
            self._motors = _Stage(stage.began_ns, next_ns)

    def _step_mode(self, stage: _Stage, now_ns: int) -> bool:
        status = self._feedback.status(now_ns, since_ns=stage.began_ns + 1)
        # Only after a pose of ours: an arm that another host left in this mode may be moving.
        if status and _taken(status) and stage.next_send_ns > stage.began_ns:
            return True
        pose = self._pose(now_ns)
        speed_rad_s = float(np.abs(pose.velocities[:MOTORS]).max())
        if now_ns - stage.began_ns > seconds_to_ns(self._settings.mode_timeout_s):
            raise EnableError(self._mode_refused(status, speed_rad_s))
        # The pose of an arm that moves is old when it arrives: as a set-point it would be a jump.
        if now_ns >= stage.next_send_ns and speed_rad_s <= REST_RAD_S:
            measured = pose.positions
            send_pose(self._link, measured, self._settings)
            self._link.follow_mode()
            send_pose(self._link, measured, self._settings)
            next_ns = now_ns + seconds_to_ns(self._settings.enable_period_s)
            self._mode = _Stage(stage.began_ns, next_ns)
        return False

    def _mode_refused(self, status: SaidStatus | None, speed_rad_s: float) -> str:
        if speed_rad_s > REST_RAD_S:
            return (
                f"the arm moves at {speed_rad_s:.2f} rad/s, at most {REST_RAD_S} is allowed: wait "
                "until it stands still"
            )
        if status is None:
            return "no status frame (0x2A1) after the mode was set"
        mode = f"ctrl_mode {status.ctrl_mode} ({CTRL_MODES.get(status.ctrl_mode, 'unknown')})"
        said = f"{mode}, mode_feed {status.mode_feed}" + (status.problem and f", {status.problem}")
        return (
            f"the arm did not take CAN control (ctrl_mode 1, mode_feed 1, no fault) in "
            f"{self._settings.mode_timeout_s:.1f} s: {said}. After teach mode press the arm's "
            "button once more; other faults must be cleared at the arm"
        )

    def _bits(self, problem: str) -> str:
        return problem or "no fault bit, enable bit (6) not set"

    def _pose(self, now_ns: int) -> JointState:
        pose = self._feedback.pose(now_ns)
        if pose is None:
            raise StaleFeedbackError(f"no pose to start from: {self._feedback.stale(now_ns)}")
        return pose


def _taken(status: SaidStatus) -> bool:
    return (status.ctrl_mode, status.mode_feed) == (
        CtrlMode.CAN,
        MoveMode.JOINT,
    ) and status.problem == ""


def send_pose(link: PiperLink, positions: Float64, settings: PiperSettings) -> None:
    """One set-point [J] on the wire: joints, then the gripper if there is one."""
    link.joints(positions[:MOTORS])
    if len(positions) > MOTORS:
        link.gripper(float(positions[MOTORS]), settings.gripper_effort_nm)
