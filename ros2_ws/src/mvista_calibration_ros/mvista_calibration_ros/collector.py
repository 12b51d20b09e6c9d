"""Collecting without a node: looks at what the buffer holds, judges it, writes shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvista_calibration.board.detect import detect_board
from mvista_calibration.records import BoardView, DepthImage, SessionCamera
from mvista_calibration.session.checks import check_stamps
from mvista_calibration.session.guide import CollectGuide, CollectLimits, Coverage, Decision
from mvista_calibration.session.layout import BoardShot, SessionHeader, ShotImage
from mvista_calibration.session.reader import load_session, workers
from mvista_calibration.session.writer import SessionWriter
from mvista_calibration_ros.frames import FrameBuffer, MeanDepth
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import ArmModel
from mvista_core.errors import (
    CalibrationError,
    CancelledError,
    NoBoardError,
    StaleFeedbackError,
)
from mvista_core.ports import Clock
from mvista_core.records import Float64, Intrinsics, JointState
from mvista_core.rig import load_rig
from mvista_core.timing import seconds_to_ns
from mvista_ros.convert.image_bytes import ReceivedImage

_LATEST_NS = 2**63 - 1


@dataclass(frozen=True)
class Guidance:
    """What a person is told: stage, what the last look saw, coverage, why it was refused."""

    stage: str
    coverage: Coverage
    sees: dict[str, bool]
    refused: str = ""

    @property
    def progress(self) -> float:
        """0 to 1: how few things are missing, by the camera worst off."""
        if self.coverage.enough:
            return 1.0
        return min(0.99, self.coverage.shots / max(self.coverage.shots + self._missing, 1))

    @property
    def _missing(self) -> int:
        return len(self.coverage.missing)


Tell = Callable[[Guidance], bool]
"""Called after every look; returns False to end collecting."""


@dataclass(frozen=True)
class Collected:
    """The session as it is now."""

    folder: Path
    coverage: Coverage


@dataclass
class Collector:
    """Records one session from the topics behind `buffer`. Runs on a thread that may wait."""

    settings: CalibrationParameters
    buffer: FrameBuffer
    clock: Clock
    arm: ArmModel | None = None

    def collect(
        self, folder: Path, shots: int, tell: Tell, limits: CollectLimits | None = None
    ) -> Collected:
        """Record until coverage is enough by `limits` (None: the settings'), or `shots` (> 0) more
        are taken.

        Raises:
            CalibrationError: no shot could be accepted for `patience_s`, or the folder cannot take
                them. CameraSilentError, StaleFeedbackError: topics are silent.
            CancelledError: `tell` returned False. Shots already recorded stay.
        """
        guide, writer = self._open(folder, limits)
        taken, since_ns = 0, self.clock.monotonic_ns()
        while not self._finished(guide, taken, shots):
            guidance = self._attempt(guide, writer)
            if not tell(guidance):
                raise CancelledError(
                    f"collecting was cancelled; {len(writer.shots)} shots are in {folder}"
                )
            if guidance.stage == "accepted":
                taken, since_ns = taken + 1, self.clock.monotonic_ns()
            elif self.clock.monotonic_ns() - since_ns > seconds_to_ns(self.settings.patience_s):
                raise CalibrationError(
                    f"no shot was accepted for {self.settings.patience_s:g} s: {guidance.refused}. "
                    f"{len(writer.shots)} shots are in {folder}; still missing: "
                    f"{guidance.coverage.advice}"
                )
        return Collected(folder, guide.coverage())

    def record_scene(self, folder: Path) -> Collected:
        """Depth of the cell as it will be used, the board gone, beside the shots in `folder`.

        Raises:
            CalibrationError: no session there, the board is still in sight, the arm moves, or no
                depth topic.
        """
        if not self.settings.depth_topic:
            raise CalibrationError("no depth is recorded: set depth_topic, or solve without scene")
        if not (folder / "session.yaml").exists():
            raise CalibrationError(f"no session in {folder}: collect shots first, then the scene")
        guide, writer = self._open(folder)
        images = self._fresh()
        views, _ = self._detect(images)
        if views:
            seen = ", ".join(view.camera for view in views)
            raise CalibrationError(f"the board is still seen by {seen}: take it out of the cell")
        means = self._mean_depth(_stamps(images))
        last_ns = max(mean.last_ns for mean in means.values())
        if why := self._arm_pose(min(_stamps(images).values()), last_ns)[2]:
            raise CalibrationError(f"the scene must stand still, and {why}")
        writer.write_scene(
            [DepthImage(name, -1, mean.depth_m, mean.frames) for name, mean in means.items()]
        )
        return Collected(folder, guide.coverage())

    def _finished(self, guide: CollectGuide, taken: int, shots: int) -> bool:
        return taken >= shots if shots else guide.coverage().enough

    def _fresh(self) -> dict[str, ReceivedImage]:
        return self.buffer.wait_color(self.clock.monotonic_ns(), self.settings.look_timeout_s)

    def _open(
        self, folder: Path, limits: CollectLimits | None = None
    ) -> tuple[CollectGuide, SessionWriter]:
        """Cameras as they are on the topics now; a session that is continued must have the same."""
        cameras = self._cameras(self._fresh())
        settings = self.settings
        writer = SessionWriter(
            folder,
            SessionHeader(
                folder.name,
                settings.board,
                cameras,
                settings.workspace,
                settings.warm_up_minutes,
                None,
                bool(settings.depth_topic),
            ),
        )
        wanted = limits or settings.limits
        guide = CollectGuide(settings.board, cameras, settings.workspace, wanted)
        if writer.shots:
            session = load_session(folder)
            for shot in session.shots:
                guide.take([view for view in session.views if view.shot == shot])
        return guide, writer

    def _cameras(self, images: Mapping[str, ReceivedImage]) -> tuple[SessionCamera, ...]:
        depth: dict[str, tuple[int, int]] = {}
        if self.settings.depth_topic:
            self.buffer.start_depth(dict.fromkeys(self.settings.cameras, 0))
            means = self.buffer.wait_depth(1, self.settings.look_timeout_s)
            sizes = {name: mean.depth_m.shape for name, mean in means.items()}
            depth = {name: (width, height) for name, (height, width) in sizes.items()}
        serials = self._serials()
        found = []
        for name in self.settings.cameras:
            lens = self.buffer.lens(name)
            height, width = images[name].pixels.shape[:2]
            if lens is None or (lens.width_px, lens.height_px) != (width, height):
                said = None if lens is None else f"{lens.width_px}x{lens.height_px}"
                raise CalibrationError(
                    f"{name}: images are {width}x{height}, camera info says {said}; make "
                    "color_topic and info_topic belong to the same stream"
                )
            size = depth.get(name, (width, height))
            found.append(
                SessionCamera(name, lens, _at_size(name, lens, size), serials.get(name, ""))
            )
        return tuple(found)

    def _serials(self) -> dict[str, str]:
        if not self.settings.serials_file:
            return {}
        rig = load_rig(self.settings.serials_file, allow_failed=True)
        return {camera.name: camera.serial for camera in rig.cameras}

    def _attempt(self, guide: CollectGuide, writer: SessionWriter) -> Guidance:
        """One look: refused with the reason, or written as a shot.

        By its stamps a shot is a colour image, then depth, then the colour image that is kept; the
        board and the arm must stand still from the first to the last.
        """
        first = self._fresh()
        before, wrong = self._detect(first)
        sees = {name: any(v.camera == name for v in before) for name in self.settings.cameras}
        early = Decision(False, wrong) if wrong else guide.judge(before)
        if not early.accept:
            return Guidance("refused", guide.coverage(), sees, early.why)
        begun_ns = {view.camera: first[view.camera].stamp_ns for view in before}
        if why := self._moved_since(min(begun_ns.values())):
            return Guidance("refused", guide.coverage(), sees, why)
        means = self._mean_depth(begun_ns) if self.settings.depth_topic else {}
        images = self._after(begun_ns, means)
        views, wrong = self._detect(images)
        decision = Decision(False, wrong) if wrong else guide.judge(views, before)
        pose, joints, why = self._arm_pose(min(begun_ns.values()), max(_stamps(images).values()))
        why = why or _apart({view.camera: view.stamp_ns for view in views})
        if not decision.accept or why:
            return Guidance("refused", guide.coverage(), sees, why or decision.why)
        found = [_shot_image(images[v.camera], v.camera, means.get(v.camera)) for v in views]
        writer.append(BoardShot(tuple(found), pose, joints), views)
        guide.take(views)
        return Guidance("accepted", guide.coverage(), sees)

    def _mean_depth(self, from_ns: Mapping[str, int]) -> dict[str, MeanDepth]:
        self.buffer.start_depth(from_ns)
        return self.buffer.wait_depth(self.settings.depth_frames, self.settings.look_timeout_s)

    def _after(
        self, begun_ns: Mapping[str, int], means: Mapping[str, MeanDepth]
    ) -> dict[str, ReceivedImage]:
        """Images of these cameras no older than their depth, and `still_s` after they began."""
        still_ns = seconds_to_ns(self.settings.still_s)
        from_ns = {name: stamp_ns + still_ns for name, stamp_ns in begun_ns.items()}
        for name, mean in means.items():
            from_ns[name] = max(from_ns[name], mean.last_ns)
        timeout_s = self.settings.look_timeout_s + self.settings.still_s
        images = self.buffer.wait_color(self.clock.monotonic_ns(), timeout_s, from_ns)
        return {name: images[name] for name in begun_ns}

    def _detect(self, images: Mapping[str, ReceivedImage]) -> tuple[list[BoardView], str]:
        """Views in camera order, and the complaint about a board that is another one."""

        def look(name: str) -> BoardView | str | None:
            image = images[name]
            try:
                return detect_board(
                    image.pixels, self.settings.board, name, -1, "live", image.stamp_ns
                )
            except NoBoardError:
                return None
            except CalibrationError as error:
                return str(error)

        with ThreadPoolExecutor(workers()) as pool:
            found = list(pool.map(look, images))
        wrong = next((item for item in found if isinstance(item, str)), "")
        return [item for item in found if isinstance(item, BoardView)], wrong

    def _moved_since(self, start_ns: int) -> str:
        """Why a shot that begins then is in vain already: its depth need not be waited for."""
        try:
            return self._arm_pose(start_ns, _LATEST_NS)[2]
        except StaleFeedbackError:
            return ""  # none yet: judged when the shot is whole

    def _arm_pose(
        self, start_ns: int, end_ns: int
    ) -> tuple[Float64 | None, tuple[tuple[str, float], ...], str]:
        """Forward kinematics of the shot's mean joints; or why the arm did not stand still."""
        if self.arm is None:
            return None, (), ""
        states = self.buffer.joints_between(start_ns, end_ns)
        return gripper_pose(self.arm, states, self.settings.joint_motion_rad)


def gripper_pose(
    arm: ArmModel, states: list[JointState], motion_limit_rad: float
) -> tuple[Float64 | None, tuple[tuple[str, float], ...], str]:
    """`base_from_gripper` [4, 4] (flange), the joints (name, value), and why not if they moved."""
    names = arm.joint_names[: len(arm.dh)]
    positions = np.stack([state.ordered(names) for state in states])
    travel = np.ptp(positions, axis=0)
    worst = int(travel.argmax())
    if travel[worst] > motion_limit_rad:
        return (
            None,
            (),
            f"the arm moved: {names[worst]} by {travel[worst]:.4f} rad during the shot, at most "
            f"{motion_limit_rad:g}; wait until it stands",
        )
    mean = positions.mean(axis=0)
    joints = tuple((name, float(value)) for name, value in zip(names, mean, strict=True))
    return np.asarray(arm.base_from_flange(mean)), joints, ""


def _apart(stamps_ns: Mapping[str, int]) -> str:
    """Why these pictures are not of one shot, or nothing."""
    try:
        check_stamps(stamps_ns, "this look")
    except CalibrationError as error:
        return str(error)
    return ""


def _stamps(images: Mapping[str, ReceivedImage]) -> dict[str, int]:
    return {name: image.stamp_ns for name, image in images.items()}


def _shot_image(image: ReceivedImage, camera: str, mean: MeanDepth | None) -> ShotImage:
    depth_m, frames = (mean.depth_m, mean.frames) if mean is not None else (None, 1)
    return ShotImage(camera, image.pixels, depth_m, image.stamp_ns, frames)


def _at_size(camera: str, lens: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """Depth registered to colour has the same lens at its own resolution."""
    factor = size[0] / lens.width_px
    try:
        scaled = lens.scaled(factor)
    except ValueError as error:
        raise CalibrationError(f"{camera}: depth of {size[0]}x{size[1]}: {error}") from None
    if (scaled.width_px, scaled.height_px) != size:
        raise CalibrationError(
            f"{camera}: depth is {size[0]}x{size[1]}, colour {lens.width_px}x{lens.height_px}: "
            "not the same picture at another resolution; register depth to colour"
        )
    return scaled
