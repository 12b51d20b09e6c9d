"""Drift watch: has a camera moved, is a joint zero off, told from ordinary operation.

Three looks, each a number with its sigma:
1. every camera against its own background (background.py): what a bump does, 6 degrees of
   freedom, best where the background has edges. The background is learned from the first frames,
   while the rig is taken to be good, or comes from a file saved then: a camera that was moved
   before learning looks right to this one.
2. the cameras against each other as the rig places them (between.py): needs no baseline,
   but a table shows only height and tilt of a camera, and depth offsets look like motion.
3. the arm's links against forward kinematics (arm.py): joint zeros, cameras to robot.

A warning needs the estimate (a median over `window` frames; metres and radians in units of their
thresholds, squared and added) beyond 1 and beyond `sigmas` of its own scatter, `persistence` times
in a row; it ends below `clear_share` of the
threshold, `clear_after` times in a row. False alarms: none in an hour of
simulated frames (`mvista bench drift`), that is fewer than 3 an hour at 95 %; none were tried on
real cameras, whose depth also drifts with temperature.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mvista_calibration.drift.arm import ArmPoints, JointZeros, LinkShapes, arm_points, joint_zeros
from mvista_calibration.drift.background import (
    Background,
    Reduced,
    align,
    learn_background,
    reduce_frame,
)
from mvista_calibration.drift.between import Agreement, between_cameras
from mvista_calibration.drift.records import (
    BLIND,
    LEARNING,
    OK,
    WARNING,
    CameraDrift,
    DriftReport,
    JointDrift,
)
from mvista_core.arm import ArmModel
from mvista_core.errors import CalibrationError
from mvista_core.records import CameraFrame, Float64, JointState, RigCalibration


@dataclass(frozen=True)
class DriftSettings:
    """Counts are frames of each camera, at about 1 Hz; the thresholds are half of what matters
    (1 cm, 1 degree) and nearly twice the largest estimate (2.8 mm) in an hour of unmoved frames."""

    learn_frames: int = 25
    window: int = 12
    warn_m: float = 0.005
    warn_rad: float = float(np.deg2rad(0.5))
    joint_warn_rad: float = float(np.deg2rad(1.0))
    rig_warn_m: float = 0.02
    rig_warn_rad: float = float(np.deg2rad(1.5))
    sigmas: float = 4.0
    persistence: int = 5
    clear_share: float = 0.6
    clear_after: int = 15
    least_share: float = 0.3
    between_every: int = 20
    arm_every: int = 4
    arm_poses: int = 12
    shapes: LinkShapes = field(default_factory=LinkShapes)

    def __post_init__(self) -> None:
        if self.learn_frames < 5 or self.window < 3 or self.persistence < 1:
            raise CalibrationError(
                f"drift: learn_frames {self.learn_frames}, window {self.window}, persistence "
                f"{self.persistence}; allowed: at least 5, 3 and 1"
            )


@dataclass
class _Alarm:
    """Persistence and hysteresis."""

    persistence: int
    clear_after: int
    on: bool = False
    _over: int = 0
    _under: int = 0

    def update(self, over: bool, under: bool) -> bool:
        self._over = self._over + 1 if over else 0
        self._under = self._under + 1 if under else 0
        if self._over >= self.persistence:
            self.on = True
        elif self._under >= self.clear_after:
            self.on = False
        return self.on


@dataclass
class _Camera:
    alarm: _Alarm
    lost: _Alarm
    twists: deque[Float64]
    shares: deque[float]
    recent: deque[Reduced]
    learning: list[Reduced] = field(default_factory=list)
    background: Background | None = None
    seen: int = 0
    report: CameraDrift | None = None


class DriftWatch:
    """Feed it frames (all cameras at once, or one at a time) and ask for the report."""

    def __init__(
        self,
        rig: RigCalibration,
        arm: ArmModel | None = None,
        settings: DriftSettings | None = None,
        baseline: Sequence[Background] = (),
    ) -> None:
        """`baseline` backgrounds stand in for learning, camera by camera."""
        self.settings = settings or DriftSettings()
        self._rig, self._arm = rig, arm
        self._poses = {camera.name: camera.base_from_camera for camera in rig.cameras}
        known = {background.camera: background for background in baseline}
        self._cameras = {name: self._fresh(known.get(name)) for name in rig.names}
        self._agreed: Agreement | None = None
        self._agreement: Agreement | None = None
        self._poses_seen: dict[str, deque[ArmPoints]] = {
            name: deque(maxlen=self.settings.arm_poses) for name in rig.names
        }
        self._zeros: JointZeros | None = None
        # Joints and rig are solved from many frames at once, and seldom: two in a row must do.
        self._joint_alarms = [_Alarm(2, 3) for _ in (arm.dh if arm else ())]
        self._rig_alarm = _Alarm(2, 3)

    @property
    def backgrounds(self) -> tuple[Background, ...]:
        """What has been learned (or given) so far; to be saved while the rig is good."""
        found = (camera.background for camera in self._cameras.values())
        return tuple(background for background in found if background is not None)

    def add(self, frames: Sequence[CameraFrame], joints: JointState | None = None) -> None:
        """Take frames of one moment, and the joints measured then (None: no arm to look at).

        Raises:
            RigError: a camera that the rig does not have.
        """
        for frame in frames:
            self._rig.camera(frame.camera)
            camera, reduced = self._cameras[frame.camera], reduce_frame(frame)
            camera.seen += 1
            camera.recent.append(reduced)
            if camera.background is None:
                self._learn(frame.camera, camera, reduced)
                continue
            self._follow(frame.camera, camera, reduced)
            if joints is not None and self._arm is not None:
                self._look_at_arm(frame.camera, camera, reduced, joints)
        first = next(iter(self._cameras.values()))
        if any(frame.camera == self._rig.names[0] for frame in frames):
            if first.seen % self.settings.between_every == 0:
                self._compare_cameras()
            if first.seen % self.settings.between_every == self.settings.between_every // 2:
                self._solve_joints()

    def report(self) -> DriftReport:
        """The present estimates."""
        cameras = tuple(self._camera_report(name) for name in self._cameras)
        joints = self._joint_reports()
        gaps = () if self._zeros is None else tuple(float(g) for g in self._zeros.before_m)
        return DriftReport(
            cameras,
            joints,
            gaps,
            float("nan") if self._agreement is None else self._agreement.disagreement_m,
            (*self._camera_warnings(cameras), *_joint_warnings(joints), *self._rig_warnings()),
        )

    def _fresh(self, background: Background | None) -> _Camera:
        s = self.settings
        return _Camera(
            _Alarm(s.persistence, s.clear_after),
            _Alarm(2 * s.persistence, s.clear_after),
            deque(maxlen=s.window),
            deque(maxlen=s.window),
            deque(maxlen=6),
            background=background,
        )

    def _learn(self, name: str, camera: _Camera, reduced: Reduced) -> None:
        camera.learning.append(reduced)
        words = f"learning, {len(camera.learning)} of {self.settings.learn_frames} frames"
        if len(camera.learning) >= self.settings.learn_frames:
            try:
                camera.background = learn_background(name, camera.learning)
            except CalibrationError as error:
                words = f"learning again: {error}"
            camera.learning.clear()
        camera.report = CameraDrift(name, LEARNING, words=words)

    def _follow(self, name: str, camera: _Camera, reduced: Reduced) -> None:
        assert camera.background is not None
        start = np.median(camera.twists, axis=0) if len(camera.twists) >= 3 else None
        found = align(camera.background, reduced, start)
        if found is None or found.share < self.settings.least_share:
            # A lost track must not lead the next one astray.
            found = align(camera.background, reduced)
        share = 0.0 if found is None else found.share
        camera.shares.append(share)
        unknown = share < self.settings.least_share
        camera.lost.update(unknown, not unknown)
        if found is not None and not unknown:
            camera.twists.append(found.twist)
        camera.report = self._judge(name, camera)

    def _judge(self, name: str, camera: _Camera) -> CameraDrift:
        s = self.settings
        share = float(np.median(camera.shares))
        if len(camera.twists) < 3:
            return CameraDrift(name, WARNING if camera.lost.on else BLIND, share=share)
        stack = np.stack(camera.twists)
        twist = np.median(stack, axis=0)
        # Median and its deviation: a hand before the camera spoils some frames of the window, not
        # half. The median's own sd is 1.25 sigma / sqrt(n) (1.2533 for a Gaussian).
        spread = 1.4826 * np.median(np.abs(stack - twist), axis=0)
        sd = np.maximum(1.25 * spread / np.sqrt(len(stack)), [2e-4] * 3 + [2e-4] * 3)
        moved_m, turned = float(np.linalg.norm(twist[:3])), float(np.linalg.norm(twist[3:]))
        sd_m, sd_rad = float(np.linalg.norm(sd[:3])), float(np.linalg.norm(sd[3:]))
        # A step aside and a turn look much alike: what one lacks, the other shows.
        size = float(np.hypot(moved_m / s.warn_m, turned / s.warn_rad))
        sure = moved_m > s.sigmas * sd_m or turned > s.sigmas * sd_rad
        over, under = size > 1.0 and sure, size < s.clear_share
        # A window half empty has a sigma of chance.
        full = len(stack) == s.window
        camera.alarm.update(over and full, under)
        state = WARNING if camera.alarm.on or camera.lost.on else OK
        return CameraDrift(name, state, moved_m, sd_m, turned, sd_rad, share)

    def _look_at_arm(
        self, name: str, camera: _Camera, reduced: Reduced, joints: JointState
    ) -> None:
        assert self._arm is not None and camera.background is not None
        moving = camera.report is not None and camera.report.state != OK
        # Seen by a camera that has moved, every joint would look wrong.
        if moving:
            self._poses_seen[name].clear()
        if moving or camera.seen % self.settings.arm_every:
            return
        count = len(self._arm.dh)
        positions = joints.ordered(self._arm.joint_names[:count])
        index = self._rig.names.index(name)
        seen = arm_points(
            self._arm, self.settings.shapes, camera.background, reduced, positions,
            self._poses[name], index,
        )  # fmt: skip
        if len(seen.points) >= 20:
            self._poses_seen[name].append(seen)

    def _solve_joints(self) -> None:
        seen = [item for items in self._poses_seen.values() for item in items]
        if self._arm is None or len(seen) < self.settings.arm_poses:
            return
        s = self.settings
        self._zeros = joint_zeros(self._arm, s.shapes, seen, len(self._cameras))
        for alarm, offset, sd in zip(
            self._joint_alarms, self._zeros.offsets_rad, self._zeros.sd_rad, strict=True
        ):
            size = abs(float(offset))
            over = size > max(s.joint_warn_rad, s.sigmas * float(sd))
            alarm.update(over, size < s.clear_share * s.joint_warn_rad)

    def _compare_cameras(self) -> None:
        now: list[Background] = []
        for name, camera in self._cameras.items():
            if camera.background is None or len(camera.recent) < 5:
                return
            try:
                now.append(learn_background(name, list(camera.recent)))
            except CalibrationError:
                return
        if len(now) < 2:
            return
        self._agreement = between_cameras(now, self._poses)
        if self._agreed is None:
            self._agreed = between_cameras(self.backgrounds, self._poses)
        worst_m, worst_rad = self._rig_error()
        s = self.settings
        self._rig_alarm.update(
            worst_m > s.rig_warn_m or worst_rad > s.rig_warn_rad,
            worst_m < s.clear_share * s.rig_warn_m and worst_rad < s.clear_share * s.rig_warn_rad,
        )

    def _rig_error(self) -> tuple[float, float]:
        """The largest significant twist against the rig itself, no baseline involved, m and rad."""
        if self._agreement is None:
            return 0.0, 0.0
        sure = np.abs(self._agreement.twists) > self.settings.sigmas * self._agreement.sd
        size = np.where(sure, np.abs(self._agreement.twists), 0.0)
        return float(size[:, :3].max()), float(size[:, 3:].max())

    def _camera_report(self, name: str) -> CameraDrift:
        found = self._cameras[name].report or CameraDrift(name, LEARNING, words="no frame yet")
        if self._agreement is None or self._agreed is None:
            return found
        index = self._agreement.cameras.index(name)
        # Against the baseline's own disagreement: what is wrong with the rig since it was made
        # cancels.
        change = self._agreement.twists[index] - self._agreed.twists[index]
        others = (float(np.linalg.norm(change[:3])), float(np.linalg.norm(change[3:])))
        return CameraDrift(
            found.camera, found.state, found.moved_m, found.moved_sd_m, found.turned_rad,
            found.turned_sd_rad, found.share, others, found.words,
        )  # fmt: skip

    def _joint_reports(self) -> tuple[JointDrift, ...]:
        if self._zeros is None or self._arm is None:
            return ()
        return tuple(
            JointDrift(
                name,
                WARNING if alarm.on else OK if 3 * sd < self.settings.joint_warn_rad else BLIND,
                float(offset),
                float(sd),
            )
            for name, alarm, offset, sd in zip(
                self._arm.joint_names[: len(self._arm.dh)],
                self._joint_alarms,
                self._zeros.offsets_rad,
                self._zeros.sd_rad,
                strict=True,
            )
        )

    def _camera_warnings(self, cameras: Sequence[CameraDrift]) -> list[str]:
        words = []
        for camera in cameras:
            if camera.state != WARNING:
                continue
            if self._cameras[camera.camera].lost.on:
                words.append(
                    f"{camera.camera}: only {camera.share:.0%} of its background is recognised: "
                    "moved far, or covered; look at it, then calibrate again"
                )
                continue
            words.append(
                f"{camera.camera} has moved by {camera.moved_m * 1e3:.1f} +- "
                f"{camera.moved_sd_m * 1e3:.1f} mm and {np.rad2deg(camera.turned_rad):.2f} +- "
                f"{np.rad2deg(camera.turned_sd_rad):.2f} deg; calibrate again"
            )
        return words

    def _rig_warnings(self) -> list[str]:
        if not self._rig_alarm.on:
            return []
        metres, radians = self._rig_error()
        return [
            f"the cameras disagree by {metres * 1e3:.0f} mm, {np.rad2deg(radians):.1f} deg as rig "
            f"'{self._rig.name}' places them; run `mvista calibrate`"
        ]


def _joint_warnings(joints: Sequence[JointDrift]) -> list[str]:
    return [
        f"{joint.joint}'s zero is off by {np.rad2deg(joint.offset_rad):.1f} +- "
        f"{np.rad2deg(joint.sd_rad):.1f} deg by depth; check the arm's zeros and its arm file"
        for joint in joints
        if joint.state == WARNING
    ]
