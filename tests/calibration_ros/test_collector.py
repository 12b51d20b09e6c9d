"""Collecting from pictures of a board: what is recorded can be read back, what moves is refused."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mvista_calibration.session.reader import load_session
from mvista_calibration_ros.collector import Collector, Guidance, gripper_pose
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import load_arm
from mvista_core.errors import (
    CalibrationError,
    CameraSilentError,
    CancelledError,
    ConfigError,
    StaleFeedbackError,
)
from mvista_core.geometry import pose_from
from mvista_core.records import Float64, JointState, UInt8
from mvista_core.timing import ManualClock, SystemClock
from mvista_ros.convert import depth_to_mm
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.parameters import read_file
from tests.calibration.drawing import LENS, board_depth, board_picture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ARM = load_arm(ROOT / "config" / "arms" / "piper.yaml")
SETTINGS = CalibrationParameters(
    cameras=("cam0",), squares_x=7, squares_y=5, square_m=0.03, marker_m=0.022, shots=3,
    depth_frames=4, still_s=0.2, patience_s=5.0, look_timeout_s=2.0,
)  # fmt: skip
FRAME_NS = 100_000_000
Pose = Callable[[int], Float64]


def placed(x_m: float, turn_deg: float = 20.0) -> Float64:
    turn = Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()
    return pose_from(turn, np.array([x_m - 0.1, -0.07, 0.6]))


class FeedingClock(ManualClock):
    """Time passes only while somebody waits, and each wait brings one frame of the camera.

    Frames are stamped 0.1 s apart. `late` depth images are `late` frames old when they arrive.
    """

    def __init__(
        self, settings: CalibrationParameters, pose: Pose, arm: bool = False, late: int = 0
    ) -> None:
        super().__init__()
        self.buffer = FrameBuffer(settings.cameras, self)
        self.frame = 0
        self.shots = 0
        self.gone = self.arm_moves = False
        self._pose, self._arm = pose, arm
        self._drawn: dict[bytes, tuple[UInt8, NDArray[np.uint16]]] = {}
        self._depths = deque[bytes](maxlen=late + 1)

    def sleep_until(self, monotonic_ns: int) -> None:
        super().sleep_until(monotonic_ns)
        self.frame += 1
        color, depth = self._draw(self._pose(self.frame if self.shots < 0 else self.shots))
        if self.gone:
            color, depth = np.zeros_like(color), np.full_like(depth, 1000)
        stamp_ns = self.frame * FRAME_NS
        self._depths.append(image_to_bytes(depth, "16UC1", stamp_ns, "cam0"))
        self.buffer.add_info("cam0", LENS)
        self.buffer.add_color("cam0", image_to_bytes(color, "rgb8", stamp_ns, "cam0"))
        self.buffer.add_depth("cam0", self._depths[0])
        if self._arm:
            for part in (0.0, 0.5):  # of a frame later
                moved = 0.01 * (self.frame + part) * self.arm_moves
                joints = np.full(len(ARM.joint_names), moved)
                at_ns = stamp_ns + round(part * FRAME_NS)
                self.buffer.add_joints(JointState(ARM.joint_names, joints, joints, at_ns))

    def _draw(self, pose: Float64) -> tuple[UInt8, NDArray[np.uint16]]:
        key = pose.tobytes()
        if key not in self._drawn:
            gray = board_picture(SETTINGS.board, LENS, pose)
            color = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
            self._drawn[key] = color, depth_to_mm(board_depth(SETTINGS.board, LENS, pose))
        return self._drawn[key]


def test_accepted_shots_can_be_read_back_with_pose_and_depth(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda shot: placed(0.08 * shot - 0.1), arm=True)
    stages: list[str] = []

    def tell(guidance: Guidance) -> bool:
        stages.append(guidance.stage)
        clock.shots = guidance.coverage.shots
        return True

    collector = Collector(SETTINGS, clock.buffer, clock, ARM)
    found = collector.collect(tmp_path / "monday", 2, tell)
    session = load_session(found.folder)
    assert stages.count("accepted") == 2 == found.coverage.shots and session.shots == (0, 1)
    np.testing.assert_allclose(
        session.gripper[0].base_from_gripper, ARM.base_from_flange(np.zeros(6)), atol=1e-9
    )
    assert session.board_depth[0].frames >= SETTINGS.depth_frames
    continued = collector.collect(found.folder, 1, tell)
    assert continued.coverage.shots == 3


def test_a_moving_board_is_never_recorded(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda frame: placed(0.01 * (frame % 7)))
    clock.shots = -1
    refused: list[str] = []

    def tell(guidance: Guidance) -> bool:
        refused.append(guidance.refused)
        return len(refused) < 3

    with pytest.raises(CancelledError, match="0 shots"):
        Collector(SETTINGS, clock.buffer, clock).collect(tmp_path / "s", 1, tell)
    assert all("moved by" in why for why in refused)


def test_a_look_at_an_arm_that_moves_ends_before_depth_is_waited_for(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda shot: placed(0.0), arm=True)
    clock.arm_moves = True
    looks: list[tuple[str, bool, int]] = []

    def tell(guidance: Guidance) -> bool:
        looks.append((guidance.refused, guidance.sees["cam0"], clock.frame))
        return len(looks) < 4

    with pytest.raises(CancelledError, match="0 shots"):
        Collector(SETTINGS, clock.buffer, clock, ARM).collect(tmp_path / "s", 1, tell)
    assert all("the arm moved" in why and sees for why, sees, _ in looks)
    frames = np.diff([frame for _, _, frame in looks])
    assert (frames < SETTINGS.depth_frames).all(), "a look waits for depth"


def test_depth_that_was_taken_before_the_shot_is_not_part_of_it(tmp_path: Path) -> None:
    """A reader that lags gets depth of the place before, after the board stands at the next."""
    clock = FeedingClock(SETTINGS, lambda shot: placed(0.12 * shot - 0.1, 20.0 * shot), late=5)

    def tell(guidance: Guidance) -> bool:
        clock.shots = guidance.coverage.shots
        return True

    found = Collector(SETTINGS, clock.buffer, clock).collect(tmp_path / "s", 3, tell)
    session = load_session(found.folder)
    for image in session.board_depth:
        exact = board_depth(
            SETTINGS.board, LENS, placed(0.12 * image.shot - 0.1, 20.0 * image.shot)
        )
        both = (exact > 0) & (image.depth_m > 0)
        assert both.sum() > 1000
        np.testing.assert_allclose(image.depth_m[both], exact[both], atol=0.001)


def test_a_mean_is_whole_while_depth_keeps_coming() -> None:
    clock, stop = SystemClock(), threading.Event()
    buffer = FrameBuffer(("cam0",), clock)
    message = image_to_bytes(np.full((576, 640), 800, dtype=np.uint16), "16UC1", 1, "cam0")

    def camera() -> None:
        while not stop.is_set():
            buffer.add_depth("cam0", message)

    thread = threading.Thread(target=camera)
    thread.start()
    try:
        for _ in range(30):
            buffer.start_depth({"cam0": 0})
            mean = buffer.wait_depth(1, 5.0)["cam0"]
            np.testing.assert_allclose(mean.depth_m, 0.8, atol=1e-6)
    finally:
        stop.set()
        thread.join()


def test_a_slow_camera_is_waited_for_and_a_silent_one_is_not() -> None:
    """`look_timeout_s` is how long a camera may be silent, however many frames are averaged."""
    message = image_to_bytes(np.full((36, 64), 800, dtype=np.uint16), "16UC1", 1, "cam0")

    class Slow(ManualClock):
        """A frame every 3 s, 25 in all."""

        def __init__(self) -> None:
            super().__init__()
            self.buffer, self.sent = FrameBuffer(("cam0",), self), 0

        def sleep_until(self, monotonic_ns: int) -> None:
            super().sleep_until(monotonic_ns)
            while self.sent < min(25, self.monotonic_ns() // 3_000_000_000):
                self.sent += 1
                self.buffer.add_depth("cam0", message)

    clock = Slow()
    settings = replace(SETTINGS, depth_frames=20, look_timeout_s=4.0)
    collector = Collector(settings, clock.buffer, clock)
    assert collector._mean_depth({"cam0": 0})["cam0"].frames == 20
    assert clock.monotonic_ns() >= 60_000_000_000
    started_ns = clock.monotonic_ns()
    with pytest.raises(CameraSilentError, match=r"cam0: no depth image for 4 s, 5 of 20 came"):
        collector._mean_depth({"cam0": 0})
    assert clock.monotonic_ns() - started_ns < 20_000_000_000


def test_a_board_found_while_collecting_is_not_searched_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FeedingClock(SETTINGS, lambda shot: placed(0.08 * shot - 0.1))

    def tell(guidance: Guidance) -> bool:
        clock.shots = guidance.coverage.shots
        return True

    collector = Collector(SETTINGS, clock.buffer, clock)
    folder = collector.collect(tmp_path / "s", 2, tell).folder
    with monkeypatch.context() as patched:
        patched.setattr("mvista_calibration.board.detections.locate_board", None)
        session = load_session(folder)
    shutil.rmtree(folder / "detections")
    for kept, found in zip(session.views, load_session(folder).views, strict=True):
        np.testing.assert_array_equal(kept.corner_ids, found.corner_ids)
        np.testing.assert_allclose(kept.corners_px, found.corners_px, atol=0.01)


def test_joints_are_taken_by_stamp() -> None:
    buffer = FrameBuffer(("cam0",), ManualClock())
    for stamp_ns in (10, 20, 30):
        buffer.add_joints(JointState(("a",), np.zeros(1), np.zeros(1), stamp_ns))
    assert [state.stamp_ns for state in buffer.joints_between(15, 30)] == [20, 30]
    with pytest.raises(StaleFeedbackError, match="no joint states are stamped"):
        buffer.joints_between(31, 40)


def test_the_scene_is_refused_while_the_arm_moves(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda _: placed(0.0), arm=True)
    Collector(SETTINGS, clock.buffer, clock, ARM).collect(tmp_path / "s", 1, lambda _: True)
    clock.gone = clock.arm_moves = True
    with pytest.raises(CalibrationError, match=r"scene must stand still, and the arm moved"):
        Collector(SETTINGS, clock.buffer, clock, ARM).record_scene(tmp_path / "s")


def test_patience_ends_with_what_is_missing(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda _: placed(0.0))
    hasty = replace(SETTINGS, patience_s=1.5)
    with pytest.raises(CalibrationError, match=r"no shot was accepted for 1.5 s.*earlier shot"):
        Collector(hasty, clock.buffer, clock).collect(tmp_path / "s", 2, lambda _: True)


def test_the_scene_is_refused_while_the_board_is_there(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda _: placed(0.0))
    collector = Collector(SETTINGS, clock.buffer, clock)
    with pytest.raises(CalibrationError, match="no session in"):
        collector.record_scene(tmp_path / "s")
    collector.collect(tmp_path / "s", 1, lambda _: True)
    with pytest.raises(CalibrationError, match="still seen by cam0"):
        collector.record_scene(tmp_path / "s")


def test_a_silent_camera_is_named(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = replace(SETTINGS, cameras=("cam0", "cam7"))
    buffer = FrameBuffer(settings.cameras, clock)
    with pytest.raises(CameraSilentError, match="cam0, cam7: no colour images"):
        Collector(settings, buffer, clock).collect(tmp_path / "s", 1, lambda _: True)


def test_an_arm_that_moves_gives_no_pose() -> None:
    names = ARM.joint_names
    states = [JointState(names, np.full(len(names), x), np.zeros(len(names)), 0) for x in (0, 0.01)]
    pose, joints, why = gripper_pose(ARM, states, 0.002)
    assert pose is None and joints == () and "the arm moved" in why and "0.0100 rad" in why


def test_the_shipped_parameters_can_be_used() -> None:
    settings = read_file(CalibrationParameters, ROOT / "config" / "calibration.yaml")
    assert settings.board.corner_count == 24 and settings.limits.shots == 15
    assert settings.session_folder("a/b") == Path("a/b")
    limits = settings.verify_limits(0)
    assert limits.shots == settings.verify_shots == settings.verify_limits(4).shots
    assert limits.shared_views == 2 and limits.blur_px == settings.blur_px
    with pytest.raises(ConfigError, match="no session"):
        settings.session_folder("")
    with pytest.raises(ConfigError, match="must lie below"):
        CalibrationParameters(workspace_lower_m=(1.0, 0.0, 0.0))
