"""Session folders: what is written comes back, and bad input is refused by camera and frame."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from mvista_calibration.records import Board, DepthImage, SessionCamera
from mvista_calibration.session.checks import check_header
from mvista_calibration.session.layout import (
    BoardShot,
    SessionHeader,
    ShotImage,
    parse_header,
    parse_shot,
)
from mvista_calibration.session.reader import load_session
from mvista_calibration.session.writer import SessionWriter, write_session
from mvista_core.errors import CalibrationError, CancelledError, WrongBoardError
from mvista_core.geometry import exp_so3, pose_from
from mvista_core.records import Float64, Intrinsics, UInt8
from tests.calibration.drawing import board_depth, board_picture, corners_px

pytestmark = pytest.mark.slow

BOARD = Board(7, 5, 0.03, 0.022, legacy=False)
LENS = Intrinsics(640, 360, 374.0, 374.0, 319.7, 180.4)
DEPTH_LENS = LENS.scaled(0.5)
CAMERAS = tuple(SessionCamera(f"cam{i}", LENS, DEPTH_LENS, f"SN{i}") for i in range(2))
SETTINGS = SessionHeader("cell", BOARD, CAMERAS, warm_up_minutes=45.0)
TURNS = ((0.2, -0.3, 0.1), (-0.3, 0.2, -0.2), (0.1, 0.35, 0.4))


def pose(shot: int, camera: int) -> Float64:
    """`camera_from_board`, 0.3 m away."""
    rotation = exp_so3(np.array(TURNS[shot]) + 0.1 * camera)
    middle = np.array([*BOARD.size_m, 0.0]) / 2.0
    return pose_from(rotation, np.array([0.01 * camera, 0.0, 0.3]) - rotation @ middle)


def image(shot: int, camera: int) -> ShotImage:
    gray = board_picture(BOARD, LENS, pose(shot, camera), seed=10 * shot + camera)
    color = np.repeat(gray[..., None], 3, axis=2)
    depth_m = board_depth(BOARD, DEPTH_LENS, pose(shot, camera))
    return ShotImage(f"cam{camera}", color, depth_m, 1_000 + shot, 30)


def gripper(shot: int) -> Float64:
    return pose_from(exp_so3(np.array([0.1, 0.2, 0.3]) * shot), np.array([0.3, 0.01 * shot, 0.2]))


@pytest.fixture(scope="module")
def shots() -> list[BoardShot]:
    return [
        BoardShot((image(shot, 0), image(shot, 1)), gripper(shot), (("joint1", 0.1 * shot),))
        for shot in range(3)
    ]


@pytest.fixture(scope="module")
def recorded(shots: list[BoardShot], tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = [
        DepthImage(camera.name, -1, np.full((180, 320), 0.5 + i, np.float32), 30)
        for i, camera in enumerate(CAMERAS)
    ]
    return write_session(tmp_path_factory.mktemp("session") / "cell", SETTINGS, shots, scene).folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(recorded, tmp_path / "cell"))


def edit(
    folder: Path, change: Callable[[dict[str, Any]], None], name: str = "session.yaml"
) -> None:
    document = yaml.safe_load((folder / name).read_text())
    change(document)
    (folder / name).write_text(yaml.safe_dump(document))


def overwrite(file: Path, picture: np.ndarray) -> None:
    assert file.exists() and cv2.imwrite(str(file), picture)


def test_what_is_written_comes_back(recorded: Path, shots: list[BoardShot]) -> None:
    heard: list[tuple[str, float]] = []

    def hear(stage: str, done: float) -> bool:
        heard.append((stage, done))
        return True

    session = load_session(recorded, hear)
    assert (session.name, session.board, session.cameras) == ("cell", BOARD, CAMERAS)
    assert (session.warm_up_minutes, session.notes) == (45.0, ())
    assert [(view.shot, view.camera) for view in session.views] == [
        (shot, f"cam{i}") for shot in range(3) for i in range(2)
    ]
    for view in session.views:
        truth = corners_px(BOARD, LENS, pose(view.shot, int(view.camera[3:])))
        assert np.abs(view.corners_px - truth[view.corner_ids]).max() < 0.3
        assert (view.stamp_ns, view.source) == (
            1_000 + view.shot,
            f"shots/000{view.shot}/{view.camera}.png",
        )
    for depth in session.board_depth:
        written = shots[depth.shot].images[int(depth.camera[3:])].depth_m
        assert written is not None and depth.frames == 30
        # The mean of 30 frames is known to less than a millimetre, and is kept so.
        np.testing.assert_allclose(depth.depth_m, written, atol=0.000051)
    for held in session.gripper:
        np.testing.assert_array_equal(held.base_from_gripper, gripper(held.shot))
    assert [float(one.depth_m[0, 0]) for one in session.scene] == pytest.approx([0.5, 1.5])
    assert [done for _, done in heard] == sorted(done for _, done in heard)
    assert heard[-1] == ("detect", 1.0)


def test_shots_are_appended_one_at_a_time(shots: list[BoardShot], tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "live", SETTINGS)
    assert [writer.append(shots[0]), writer.append(shots[1])] == [0, 1]
    (tmp_path / "live" / "shots" / "0001" / "shot.yaml").unlink()  # somebody's, half done
    again = SessionWriter(tmp_path / "live", SETTINGS)
    assert again.shots == (0,)
    assert again.append(shots[2]) == 2  # nothing is mixed with what lies there
    assert load_session(tmp_path / "live").shots == (0, 2)
    with pytest.raises(CalibrationError, match="holds another session"):
        SessionWriter(tmp_path / "live", replace(SETTINGS, name="other"))


def test_the_pattern_of_an_even_rowed_board_is_found(tmp_path: Path) -> None:
    board = Board(8, 6, 0.025, 0.018)
    legacy = replace(board, legacy=True)
    picture = board_picture(legacy, LENS, pose(0, 0))
    settings = SessionHeader("old", board, CAMERAS[:1], depth=False)
    write_session(tmp_path, settings, [BoardShot((ShotImage("cam0", picture, None, 0),))])
    session = load_session(tmp_path)
    assert session.board == legacy
    assert len(session.views[0].corner_ids) == board.corner_count


def test_trap_copied_images_count_once(folder: Path) -> None:
    shutil.copy(folder / "shots/0000/cam1.png", folder / "shots/0002/cam1.png")
    session = load_session(folder)
    assert [view.shot for view in session.views if view.camera == "cam1"] == [0, 1]
    assert session.notes == (
        "cam1, shot 2 (shots/0002/cam1.png): the same pixels as shots/0000/cam1.png; left out: "
        "a frozen stream, or a copied file",
    )


def test_images_without_the_board_are_noted(folder: Path) -> None:
    overwrite(folder / "shots/0001/cam0.png", np.full((360, 640), 90, np.uint8))
    (folder / "shots/0002/cam0.png").unlink()
    session = load_session(folder)
    assert [view.shot for view in session.views if view.camera == "cam0"] == [0]
    assert "cam0, shot 1 (shots/0001/cam0.png): no marker" in session.notes[0]


def test_a_camera_that_never_sees_the_board_is_named(folder: Path) -> None:
    for shot in range(3):
        overwrite(folder / f"shots/000{shot}/cam1.png", np.full((360, 640), 8 + shot, np.uint8))
    with pytest.raises(CalibrationError, match=r"cam1: no board in any of its 3 images.*dark"):
        load_session(folder)
    for shot in range(3):
        (folder / f"shots/000{shot}/cam1.png").unlink()
    with pytest.raises(CalibrationError, match="cam1: no image in any"):
        load_session(folder)


def test_the_wrong_board_is_named(folder: Path) -> None:
    large = Board(14, 9, 0.015, 0.011)
    picture = board_picture(large, LENS, pose(0, 0))
    overwrite(folder / "shots/0001/cam1.png", picture)
    with pytest.raises(WrongBoardError, match=r"cam1, shot 1 \(shots/0001/cam1.png\): the wrong"):
        load_session(folder)
    edit(folder, lambda document: document["board"].update(dictionary="DICT_6X6_250"))
    with pytest.raises(CalibrationError, match=r"cam0: no board.*described as DICT_6X6_250"):
        load_session(folder)


def test_mixed_resolutions_are_refused(folder: Path) -> None:
    file = folder / "shots/0001/cam0.png"
    small = cv2.resize(cv2.imread(str(file)), (320, 180))
    overwrite(file, small)
    with pytest.raises(
        CalibrationError, match=r"cam0, shots/0001/cam0.png: mixed resolutions: 320x180, but 2 of"
    ):
        load_session(folder)


def test_k_of_another_image_size_is_refused(folder: Path) -> None:
    for shot in range(3):
        file = folder / f"shots/000{shot}/cam1.png"
        overwrite(file, cv2.resize(cv2.imread(str(file)), (1280, 720)))
    with pytest.raises(
        CalibrationError, match=r"cam1, shots/0000/cam1.png: K disagrees .*640x360.*1280x720"
    ):
        load_session(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cx_px": 639.5}, r"cam1, intrinsics: K disagrees .*principal point"),
        ({"fx_px": 1122.0}, r"cam1, intrinsics: K disagrees .*fx/fy"),
        ({"distortion": [0.1] * 7}, r"cam1, intrinsics: 7 distortion"),
        ({"distortion": [0.0] * 8 + [0.1] * 4}, r"intrinsics: coefficients 9 and .* thin prism"),
        (
            {"fx_px": float("nan")},
            r"yaml: cameras\[1\].intrinsics.fx_px is nan, not a finite",
        ),
        ({"fx_px": "wide"}, r"session.yaml: cameras\[1\].intrinsics.fx_px is 'wide', not a number"),
    ],
)
def test_k_must_fit_what_it_claims(folder: Path, change: dict[str, Any], words: str) -> None:
    edit(folder, lambda document: document["cameras"][1]["intrinsics"].update(change))
    with pytest.raises(CalibrationError, match=words):
        load_session(folder)


def test_missing_depth_is_refused_unless_the_session_says_so(folder: Path) -> None:
    (folder / "shots/0001/cam1_depth.png").unlink()
    with pytest.raises(
        CalibrationError, match=r"cam1, shot 1 \(0001/cam1_depth.png\): depth is missing.*depth: fa"
    ):
        load_session(folder)
    edit(folder, lambda document: document.update(depth=False))
    session = load_session(folder)
    assert session.board_depth == () and session.scene == ()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda steps: np.rint(steps * 0.001),
            r"cam0, shot 2 .*wrong unit: its median is 3,",
        ),
        (
            lambda mm: mm * 10.0,
            r"cam0, shot 2 \(shots/0002/cam0.png\): depth is 1\d.* divide by 10",
        ),
        (lambda mm: mm * 1.4, r"cam0, shot 2 .*not registered to colour"),
        (lambda mm: mm * 0.0, r"cam0, shot 2 .*empty"),
    ],
)
def test_depth_in_a_wrong_unit_is_refused(
    folder: Path, spoil: Callable[[Float64], Float64], words: str
) -> None:
    file = folder / "shots/0002/cam0_depth.png"
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    overwrite(file, spoil(stored.astype(np.float64)).astype(np.uint16))
    with pytest.raises(CalibrationError, match=words):
        load_session(folder)


def test_pictures_of_depth_are_no_depth(folder: Path) -> None:
    overwrite(folder / "shots/0000/cam0_depth.png", np.full((180, 320), 99, np.uint8))
    with pytest.raises(CalibrationError, match=r"cam0, shot 0 .* uint8 .*16-bit gray PNG"):
        load_session(folder)


def test_depth_must_cover_the_board_somewhere(folder: Path) -> None:
    for shot in range(3):
        file = folder / f"shots/000{shot}/cam0_depth.png"
        overwrite(file, np.pad(np.full((20, 20), 3000, np.uint16), ((0, 160), (0, 300))))
    with pytest.raises(CalibrationError, match="cam0: depth is missing on the board in all 3"):
        load_session(folder)


def test_scene_depth_of_every_camera_is_needed(folder: Path) -> None:
    (folder / "scene/cam1_depth.png").unlink()
    with pytest.raises(CalibrationError, match=r"cam1, scene .*depth is missing"):
        load_session(folder)


def test_poses_must_be_rigid(folder: Path) -> None:
    mirrored = np.diag([1.0, 1.0, -1.0, 1.0]).tolist()
    edit(folder, lambda note: note.update(base_from_gripper=mirrored), "shots/0001/shot.yaml")
    with pytest.raises(CalibrationError, match=r"shot 1: base_from_gripper: not a rigid"):
        load_session(folder)
    sheared = np.eye(4) + np.eye(4, k=1) * 0.01
    edit(folder, lambda document: document.update(base_from_board=sheared.tolist()))
    with pytest.raises(CalibrationError, match="base_from_board: not a rigid"):
        load_session(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.pop("board"), "session.yaml lacks 'board'"),
        (lambda document: document.update(format=7), "format is another one: this version reads 1"),
        (lambda document: document["cameras"].clear(), "no cameras"),
        (lambda document: document["cameras"][1].update(name="cam0"), "2 cameras have the name"),
        (lambda document: document["cameras"][1].update(serial="SN0"), "have the serial 'SN0'"),
        (lambda document: document["board"].update(scale_bar_mm=[0.2, 200]), "measured_scale"),
        (lambda document: document["workspace"].update(lower_m=[1, 1, 1]), "lower_m below"),
    ],
)
def test_session_yaml_is_checked(
    folder: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    edit(folder, change)
    with pytest.raises(CalibrationError, match=words):
        load_session(folder)


def test_the_scale_bar_sets_the_scale(folder: Path) -> None:
    edit(folder, lambda document: document["board"].update(scale_bar_mm=[202.0, 200.0]))
    assert load_session(folder).board.measured_scale == pytest.approx(1.01)


def test_nothing_to_read_is_said(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CalibrationError, match="no session.yaml in"):
        load_session(tmp_path / "empty")
    (folder / "shots/0001/cam0.png").write_bytes(b"not a picture")
    with pytest.raises(CalibrationError, match=r"cam0, shot 1: .*is no image"):
        load_session(folder)
    shutil.rmtree(folder / "shots")
    with pytest.raises(CalibrationError, match="no shots"):
        load_session(folder)


def test_reading_can_be_cancelled(recorded: Path) -> None:
    with pytest.raises(CancelledError, match="1 of 6"):
        load_session(recorded, lambda stage, done: False)


def gray() -> UInt8:
    return np.zeros((360, 640), np.uint8)


@pytest.mark.parametrize(
    ("shot", "words"),
    [
        (BoardShot(()), "shot 0: no images"),
        (BoardShot((ShotImage("cam7", gray(), None, 0),)), "cam7, shot 0: unknown camera"),
        (
            BoardShot((ShotImage("cam0", gray()[1:], None, 0),)),
            r"cam0, shot 0: colour is uint8 \(359",
        ),
        (BoardShot((ShotImage("cam0", gray(), None, 0),)), "cam0, shot 0: depth is missing"),
        (
            BoardShot((ShotImage("cam0", gray(), np.full((180, 320), 800.0, np.float32), 0),)),
            "cam0, shot 0: depth .*wrong unit.*0.001",
        ),
        (
            BoardShot((ShotImage("cam0", gray(), np.full((180, 320), 800, np.uint16), 0),)),  # type: ignore[arg-type]
            "cam0, shot 0: depth is uint16",
        ),
        (
            BoardShot((ShotImage("cam0", gray(), np.zeros((360, 640), np.float32), 0),)),
            r"cam0, shot 0: depth is \(360, 640\)",
        ),
    ],
)
def test_bad_shots_are_not_written(tmp_path: Path, shot: BoardShot, words: str) -> None:
    writer = SessionWriter(tmp_path / "live", SETTINGS)
    with pytest.raises(CalibrationError, match=words):
        writer.append(shot)
    assert writer.shots == () and not (tmp_path / "live" / "shots").exists()


def test_the_readme_shows_a_session_that_is_read(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "calibration" / "README.md").read_text()
    session, shot = re.findall(r"```yaml\n# (?:session|shot)\.yaml.*?\n(.*?)```", readme, re.S)
    (tmp_path / "session.yaml").write_text(session)
    (tmp_path / "shot.yaml").write_text(shot)
    read = parse_header(tmp_path / "session.yaml")
    check_header(read, "README.md")
    assert read.board == Board(14, 9, 0.04, 0.03, measured_scale=1.001)
    assert parse_shot(tmp_path / "shot.yaml").joints == (("joint1", 0.1),)
