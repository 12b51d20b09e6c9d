"""Collecting from pictures of a board: what is recorded can be read back, what moves is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvista_calibration.session_files import load_session
from mvista_calibration_ros.collector import Collector, Guidance, gripper_pose
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError, CameraSilentError, CancelledError, ConfigError
from mvista_core.geometry import pose_from
from mvista_core.records import Float64, JointState
from mvista_core.timing import ManualClock
from mvista_ros.convert import depth_to_mm
from mvista_ros.convert.image_bytes import image_to_bytes
from mvista_ros.parameters import read_file
from tests.calibration.drawing import LENS, board_depth, board_picture

ROOT = Path(__file__).parents[2]
ARM = load_arm(ROOT / "config" / "arms" / "piper.yaml")
SETTINGS = CalibrationParameters(
    cameras=("cam0",), squares_x=7, squares_y=5, square_m=0.03, marker_m=0.022, shots=3,
    depth_frames=4, still_s=0.2, patience_s=5.0, look_timeout_s=2.0,
)  # fmt: skip
Pose = Callable[[int], Float64]


def placed(x_m: float, turn_deg: float = 20.0) -> Float64:
    turn = Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()
    return pose_from(turn, np.array([x_m - 0.1, -0.07, 0.6]))


class FeedingClock(ManualClock):
    """Time passes only while somebody waits, and each wait brings one frame of the camera."""

    def __init__(self, settings: CalibrationParameters, pose: Pose, arm: bool = False) -> None:
        super().__init__()
        self.buffer = FrameBuffer(settings.cameras, self)
        self.frame = 0
        self.shots = 0
        self._pose, self._arm = pose, arm
        self._drawn: dict[bytes, tuple[bytes, bytes]] = {}

    def sleep_until(self, monotonic_ns: int) -> None:
        super().sleep_until(monotonic_ns)
        self.frame += 1
        pose = self._pose(self.frame if self.shots < 0 else self.shots)
        board, key = SETTINGS.board, pose.tobytes()
        if key not in self._drawn:
            gray = board_picture(board, LENS, pose)
            color = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
            depth = depth_to_mm(board_depth(board, LENS, pose))
            self._drawn[key] = (
                image_to_bytes(color, "rgb8", self.frame, "cam0"),
                image_to_bytes(depth, "16UC1", self.frame, "cam0"),
            )
        color_bytes, depth_bytes = self._drawn[key]
        self.buffer.add_info("cam0", LENS)
        self.buffer.add_color("cam0", color_bytes)
        self.buffer.add_depth("cam0", depth_bytes)
        if self._arm:
            joints = np.zeros(len(ARM.joint_names))
            self.buffer.add_joints(JointState(ARM.joint_names, joints, joints, self.frame))


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


def test_patience_ends_with_what_is_missing(tmp_path: Path) -> None:
    clock = FeedingClock(SETTINGS, lambda _: placed(0.0))
    with pytest.raises(CalibrationError, match=r"no shot was accepted for 5 s.*earlier shot"):
        Collector(SETTINGS, clock.buffer, clock).collect(tmp_path / "s", 2, lambda _: True)


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
    with pytest.raises(ConfigError, match="no session"):
        settings.session_folder("")
    with pytest.raises(ConfigError, match="must lie below"):
        CalibrationParameters(workspace_lower_m=(1.0, 0.0, 0.0))
