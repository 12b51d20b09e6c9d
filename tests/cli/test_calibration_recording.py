"""A session from a recording of cameras: what stood still is taken, what moved is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvista_calibration.session.reader import load_session
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_cli.cli import EXIT_OK, EXIT_REFUSED, main
from mvista_core.capture import Capture
from mvista_core.geometry import pose_from
from mvista_core.records import Float64
from mvista_core.timing import NS_PER_S
from mvista_ros.convert import depth_to_mm
from tests.calibration.drawing import LENS, board_depth, board_picture
from tests.recorder.filmed import filmed

pytestmark = pytest.mark.slow

BOARD = CalibrationParameters().board
RATE_HZ = 10
START_NS = 1_700_000_000 * NS_PER_S
STILL_FRAMES, MOVING_FRAMES = 12, 4
CONFIG = """/**:
  ros__parameters:
    cameras: [cam0, cam1]
    board_on_gripper: false
    depth_frames: 4
    still_s: 0.3
    patience_s: 60.0
"""


def _poses(places: int) -> Iterator[tuple[int, Float64]]:
    """(place or -1 on the way, camera_from_board) of each frame."""
    for place in range(places):
        for step in range(MOVING_FRAMES + STILL_FRAMES):
            way = min(step / MOVING_FRAMES, 1.0) + place
            turn = Rotation.from_euler("y", 18.0 + 9.0 * way, degrees=True).as_matrix()
            pose = pose_from(turn, np.array([0.06 * way - 0.22, -0.07, 0.6]))
            yield (place if step >= MOVING_FRAMES else -1), pose


def _shots(places: int) -> Iterator[Capture]:
    drawn: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for frame, (_, pose) in enumerate(_poses(places)):
        if pose.tobytes() not in drawn:
            color = np.asarray(
                cv2.cvtColor(board_picture(BOARD, LENS, pose), cv2.COLOR_GRAY2RGB), dtype=np.uint8
            )
            drawn[pose.tobytes()] = (color, depth_to_mm(board_depth(BOARD, LENS, pose)))
        for k, camera in enumerate(("cam0", "cam1")):
            stamp_ns = START_NS + frame * NS_PER_S // RATE_HZ + k * 1_000_000
            yield Capture.of_pixels(camera, *drawn[pose.tobytes()], LENS, stamp_ns)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = filmed(tmp_path_factory.mktemp("recorded"), list(_shots(4)))
    (folder.parent / "calibration.yaml").write_text(CONFIG)
    return folder


def _collect(recording: Path, session: Path, *more: str) -> int:
    config = str(recording.parent / "calibration.yaml")
    words = ["calibrate", "collect", str(session), "--recording", str(recording)]
    return main([*words, "--config", config, *more])


def test_every_place_at_which_the_board_stood_is_a_shot(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _collect(recording, tmp_path / "s") == EXIT_OK
    session = load_session(tmp_path / "s")
    assert session.names == ("cam0", "cam1") and len(session.shots) == 4
    stood = {
        START_NS + frame * NS_PER_S // RATE_HZ: place
        for frame, (place, _) in enumerate(_poses(4))
        if place >= 0
    }
    places = [stood[view.stamp_ns] for view in session.views if view.camera == "cam0"]
    assert places == [0, 1, 2, 3]
    assert all(image.frames >= 4 for image in session.board_depth)
    said = capsys.readouterr()
    assert "4 shots" in said.out and "of 15 shots" in said.out


def test_no_more_shots_than_asked_for(recording: Path, tmp_path: Path) -> None:
    assert _collect(recording, tmp_path / "s", "--shots", "2") == EXIT_OK
    assert len(load_session(tmp_path / "s").shots) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--scene",), "needs live topics"),
        (("--cameras", "cam0", "cam7"), "cam7"),
    ],
)
def test_what_a_recording_cannot_give_is_refused(
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    words: str,
) -> None:
    assert _collect(recording, tmp_path / "s", *more) == EXIT_REFUSED
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_board_that_never_stands_gives_no_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moving = [
        shot
        for (place, _), shots in zip(
            _poses(2), zip(*[iter(_shots(2))] * 2, strict=True), strict=True
        )
        if place < 0
        for shot in shots
    ]
    board = filmed(tmp_path / "root", moving)
    (board.parent / "calibration.yaml").write_text(CONFIG)
    assert _collect(board, tmp_path / "s") == EXIT_REFUSED
    assert "no shot was accepted" in capsys.readouterr().err
