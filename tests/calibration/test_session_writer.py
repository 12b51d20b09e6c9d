"""Writers that are killed leave the old or the new, never a mixture; detections are kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mvista_calibration.records import Board, DepthImage, SessionCamera
from mvista_calibration.session.layout import BoardShot, SessionHeader, ShotImage, shot_folders
from mvista_calibration.session.reader import load_session
from mvista_calibration.session.writer import SessionWriter
from mvista_core.errors import CalibrationError, MvistaError
from mvista_core.files import replace_file
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import Float64, Intrinsics
from tests.calibration.drawing import board_picture
from tests.calibration.sessions import small_session

pytestmark = pytest.mark.slow

BOARD = Board(7, 5, 0.03, 0.022, legacy=False)
LENS = Intrinsics(1280, 720, 748.0, 748.0, 639.5, 359.5)
SETTINGS = SessionHeader(
    "killed", BOARD, tuple(SessionCamera(f"cam{k}", LENS, LENS) for k in range(3)), depth=False
)
WRITES = """
import sys
from tests.calibration.test_session_writer import SETTINGS, place, shot
from mvista_calibration.session.writer import SessionWriter
SessionWriter(sys.argv[1], SETTINGS).append(shot(0, (0, 1, 2)))
"""


def place(k: int) -> Float64:
    """`camera_from_board` of shot k."""
    turn = exp_so3(np.array([0.2, -0.3, 0.1 + 0.2 * k]))
    middle = np.array([*BOARD.size_m, 0.0]) / 2
    return pose_from(turn, np.array([0.05 * k - 0.05, 0.0, 0.4]) - turn @ middle)


def shot(k: int, cameras: tuple[int, ...]) -> BoardShot:
    return BoardShot(
        tuple(
            ShotImage(f"cam{c}", board_picture(BOARD, LENS, place(k), seed=c), None, 1000 + k)
            for c in cameras
        )
    )


def kill_when_it_writes(code: str, folder: Path, pattern: str) -> None:
    """Run `code` in a process and kill it (-9) when a file of this pattern comes into being."""
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    try:
        deadline = time.monotonic() + 60.0
        while not list(folder.rglob(pattern)) and child.poll() is None:
            assert time.monotonic() < deadline
    finally:
        child.kill()
    # Killed, or (rarely) done before the kill came: either way nothing may be mixed.
    assert child.wait() in (-signal.SIGKILL, 0)


def test_a_shot_that_was_killed_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    kill_when_it_writes(WRITES, folder, "cam0.png")
    before = shot_folders(folder)
    number = SessionWriter(folder, SETTINGS).append(shot(1, (1, 2)))
    assert number not in before
    new = shot_folders(folder)[number]
    assert sorted(file.name for file in new.iterdir()) == ["cam1.png", "cam2.png", "shot.yaml"]


def test_a_picture_of_an_earlier_place_never_joins_a_shot(tmp_path: Path) -> None:
    """What a killed writer of any kind left under the next number stays out of it."""
    folder = tmp_path / "killed"
    writer = SessionWriter(folder, SETTINGS)
    writer.append(shot(0, (0, 1, 2)))
    (folder / "shots/0000/shot.yaml").unlink()
    writer.append(shot(1, (1, 2)))
    writer.append(shot(2, (0, 1, 2)))
    session = load_session(folder)
    alone = [view for view in session.views if view.shot == 1]
    assert [view.camera for view in alone] == ["cam1", "cam2"]


def test_a_folder_whose_name_is_no_number_is_no_shot(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path, SETTINGS)
    for name in ("0²", "1a", "notes"):
        (tmp_path / "shots" / name).mkdir(parents=True)
        (tmp_path / "shots" / name / "shot.yaml").write_text("{}\n")
    assert [writer.append(shot(k, (0,))) for k in range(2)] == [0, 1]
    assert writer.shots == (0, 1)


def test_a_scene_is_whole_or_absent(tmp_path: Path) -> None:
    settings = SessionHeader("scene", BOARD, SETTINGS.cameras[:1])
    writer = SessionWriter(tmp_path, settings)
    for depth_m in (0.5, 0.7):
        image = np.full((720, 1280), depth_m, np.float32)
        writer.write_scene([DepthImage("cam0", -1, image, 3)])
    files = sorted(file.name for file in (tmp_path / "scene").iterdir())
    assert files == ["cam0_depth.png", "scene.yaml"]
    assert not list(tmp_path.glob(".scene*"))
    with pytest.raises(CalibrationError, match="unknown camera"):
        writer.write_scene([DepthImage("cam9", -1, image, 3)])
    assert sorted(file.name for file in (tmp_path / "scene").iterdir()) == files


def test_a_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text("old")
    code = """
import sys, pathlib
from mvista_core.files import replace_file
from mvista_core.errors import MvistaError
while True:
    replace_file(pathlib.Path(sys.argv[1]) / "rig.yaml", "new" * 3_000_000, MvistaError)
"""
    for _ in range(3):
        kill_when_it_writes(code, tmp_path, ".rig.yaml.part")
        assert file.read_text() in ("old", "new" * 3_000_000)
    with pytest.raises(MvistaError, match="is the folder there"):
        replace_file(tmp_path / "nowhere" / "rig.yaml", "x", MvistaError)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_session(tmp_path_factory.mktemp("searched") / "s", shots=3)


def test_detections_are_kept_and_belong_to_the_content(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_session(searched)
    kept = sorted((searched / "detections").glob("*.json"))
    assert len(kept) == 6
    with monkeypatch.context() as patched:
        patched.setattr("mvista_calibration.board.detections.locate_board", None)
        patched.setattr("mvista_calibration.session.reader.decode_gray", None)
        again = load_session(searched)
    for one, other in zip(first.views, again.views, strict=True):
        np.testing.assert_array_equal(one.corners_px, other.corners_px)
        assert (one.camera, one.shot, one.source, one.stamp_ns, one.blur_px) == (
            other.camera, other.shot, other.source, other.stamp_ns, other.blur_px,
        )  # fmt: skip
    # Another picture under the same name is searched for itself.
    other_shot = searched / "shots/0001/cam0.png"
    other_shot.write_bytes((searched / "shots/0002/cam0.png").read_bytes())
    assert "the same pixels" in " ".join(load_session(searched).notes)


@pytest.mark.parametrize(
    "spoiled", ["", "[]", "{", '{"size": [1]}', '{"size": [1280, 720], "digest": "a", "why": 3}']
)
def test_a_detection_that_cannot_be_read_is_made_anew(tmp_path: Path, spoiled: str) -> None:
    folder = small_session(tmp_path / "s", cameras=1, shots=1)
    first = load_session(folder)
    file = next((folder / "detections").glob("*.json"))
    document = json.loads(file.read_text())
    file.write_text(spoiled)
    if spoiled.startswith('{"size": [1280'):
        document["corners_px"] = document["corners_px"][1:]
        file.write_text(json.dumps(document))
    again = load_session(folder)
    np.testing.assert_array_equal(first.views[0].corners_px, again.views[0].corners_px)
