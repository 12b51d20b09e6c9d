"""Write a session shot by shot, and read one: images in, `Session` out, or a reason.

What lies where is in session_layout.py, what is refused in session_checks.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.detect import (
    content_hash,
    detect_board,
    explain_missing,
    find_legacy,
)
from mvista_calibration.records import (
    Board,
    BoardView,
    DepthImage,
    GripperPose,
    Session,
    SessionCamera,
)
from mvista_calibration.session_checks import (
    check_depth_against_board,
    check_depth_m,
    check_pose,
    check_settings,
    check_shot,
    check_sizes,
    metres_from_stored,
)
from mvista_calibration.session_layout import (
    SessionSettings,
    Shot,
    ShotImage,
    ShotNotes,
    parse_settings,
    parse_shot,
    read_yaml,
    settings_document,
    shot_document,
    shot_folder,
    write_yaml,
)
from mvista_core.errors import CalibrationError, CancelledError, NoBoardError
from mvista_core.ports import Progress
from mvista_core.records import Float32, UInt8

__all__ = [
    "SessionSettings",
    "SessionWriter",
    "Shot",
    "ShotImage",
    "load_session",
    "write_session",
]

WORKERS = 2
"""Images read and searched at once; OpenCV works outside the interpreter's lock."""


class SessionWriter:
    """A session folder that takes one shot at a time; a shot is there whole or not at all."""

    def __init__(self, folder: Path | str, settings: SessionSettings) -> None:
        """Begin a session, or go on with the one in `folder` if it has the same settings.

        Raises:
            CalibrationError: the folder holds another session, or the settings make no sense.
        """
        self.folder = Path(folder)
        self.settings = settings
        check_settings(settings, str(self.folder))
        file = self.folder / "session.yaml"
        if file.exists():
            if read_yaml(file) != settings_document(settings):
                raise CalibrationError(
                    f"{self.folder} holds another session (board, cameras or workspace differ); "
                    "choose a new folder, or delete that one"
                )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_yaml(file, settings_document(settings))
        except OSError as error:
            raise CalibrationError(f"cannot write the session to {folder}: {error}") from None

    @property
    def shots(self) -> tuple[int, ...]:
        """Numbers of the whole shots, in order."""
        return _shots(self.folder)

    def append(self, shot: Shot) -> int:
        """Write one shot after the last one and return its number.

        Raises:
            CalibrationError: an unknown camera, a wrong size, depth missing or not in metres, a
                pose that is not rigid, or a disk that does not take it. Nothing is kept then.
        """
        number = max(self.shots, default=-1) + 1
        check_shot(self.settings, shot, number)
        folder = shot_folder(self.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        for image in shot.images:
            _write_color(folder / f"{image.camera}.png", image.color)
            if image.depth_m is not None:
                _write_depth(folder / f"{image.camera}_depth.png", image.depth_m)
        write_yaml(folder / "shot.yaml", shot_document(shot))
        return number

    def write_scene(self, scene: Sequence[DepthImage]) -> None:
        """Write depth of the cell without the board, one image per camera.

        Raises:
            CalibrationError: an unknown camera, a wrong size, or depth not in metres.
        """
        cameras = {camera.name: camera for camera in self.settings.cameras}
        for image in scene:
            if image.camera not in cameras:
                raise CalibrationError(
                    f"{image.camera}, scene: unknown camera; the session has {sorted(cameras)}"
                )
            check_depth_m(image.depth_m, cameras[image.camera], f"{image.camera}, scene")
        folder = self.folder / "scene"
        folder.mkdir(exist_ok=True)
        for image in scene:
            _write_depth(folder / f"{image.camera}_depth.png", image.depth_m)
        frames = {image.camera: int(image.frames) for image in scene}
        write_yaml(folder / "scene.yaml", {"depth_frames": frames})


def write_session(
    folder: Path | str,
    settings: SessionSettings,
    shots: Iterable[Shot],
    scene: Sequence[DepthImage] = (),
) -> SessionWriter:
    """Write a whole session; `shots` may be a generator, only one is held at a time."""
    writer = SessionWriter(folder, settings)
    for shot in shots:
        writer.append(shot)
    if scene:
        writer.write_scene(scene)
    return writer


@dataclass(frozen=True)
class _Look:
    """One colour image looked at; `why` there is no view."""

    camera: str
    shot: int
    file: str
    size: tuple[int, int]
    digest: str
    view: BoardView | None
    why: str = ""


def load_session(folder: Path | str, progress: Progress | None = None) -> Session:
    """Read a session folder and find the board in all its images, two at a time.

    `Session.notes` says what was left out and why (images without a board, duplicates).

    Raises:
        CalibrationError: naming camera and frame: no board, the wrong board, mixed resolutions, K
            that disagrees with the image size, depth missing or in the wrong unit, a pose that is
            not rigid, a file missing or unreadable.
        CancelledError: `progress` returned False.
    """
    folder = Path(folder)
    settings = parse_settings(folder / "session.yaml")
    check_settings(settings, str(folder / "session.yaml"))
    notes = {shot: parse_shot(shot_folder(folder, shot) / "shot.yaml") for shot in _shots(folder)}
    if not notes:
        raise CalibrationError(f"{folder}: no shots (shots/<n>/shot.yaml); record at least one")
    for shot, note in notes.items():
        if note.base_from_gripper is not None:
            check_pose(note.base_from_gripper, f"{folder}: shot {shot}: base_from_gripper")
    looks = _look_at_all(folder, settings, notes, progress)
    for camera in settings.cameras:
        sizes = {look.file: look.size for look in looks if look.camera == camera.name}
        check_sizes(camera, sizes)
    views, left_out = _usable_views(looks)
    _check_every_camera_saw(folder, settings, looks, views)
    board = _resolve_legacy(folder, settings.board, views)
    depth = _board_depth(folder, settings, board, views, notes)
    return Session(
        settings.name,
        board,
        settings.cameras,
        tuple(views),
        depth,
        _scene(folder, settings),
        tuple(
            GripperPose(shot, note.base_from_gripper)
            for shot, note in notes.items()
            if note.base_from_gripper is not None
        ),
        settings.base_from_board,
        settings.workspace,
        settings.warm_up_minutes,
        tuple(left_out),
    )


def _shots(folder: Path) -> tuple[int, ...]:
    found = (folder / "shots").glob("*/shot.yaml")
    return tuple(sorted(int(file.parent.name) for file in found if file.parent.name.isdigit()))


def _color_file(folder: Path, camera: str, shot: int) -> Path | None:
    for ending in ("png", "jpg", "jpeg"):
        file = shot_folder(folder, shot) / f"{camera}.{ending}"
        if file.exists():
            return file
    return None


def _look_at_all(
    folder: Path,
    settings: SessionSettings,
    notes: dict[int, ShotNotes],
    progress: Progress | None,
) -> list[_Look]:
    jobs = [
        (camera, shot, file)
        for shot in notes
        for camera in settings.cameras
        if (file := _color_file(folder, camera.name, shot)) is not None
    ]
    if not jobs:
        raise CalibrationError(f"{folder}: no images shots/<n>/<camera>.png in {len(notes)} shots")
    looks: list[_Look] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = [
            pool.submit(_look, folder, settings.board, camera, shot, file, notes[shot])
            for camera, shot, file in jobs
        ]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                looks.append(future.result())
                if progress is not None and not progress("detect", done / len(jobs)):
                    raise CancelledError(f"reading {folder} was cancelled at {done} of {len(jobs)}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    order = {camera.name: i for i, camera in enumerate(settings.cameras)}
    return sorted(looks, key=lambda look: (look.shot, order[look.camera]))


def _look(
    folder: Path, board: Board, camera: SessionCamera, shot: int, file: Path, note: ShotNotes
) -> _Look:
    image = _read_gray(file, f"{camera.name}, shot {shot}")
    source = file.relative_to(folder).as_posix()
    size = (image.shape[1], image.shape[0])
    digest = content_hash(image)
    lens = camera.intrinsics
    if size != (lens.width_px, lens.height_px):  # told apart from other sizes when all are known
        return _Look(camera.name, shot, source, size, digest, None, "another resolution")
    stamp_ns = note.stamps_ns.get(camera.name, 0)
    try:
        view = detect_board(image, board, camera.name, shot, source, stamp_ns)
    except NoBoardError as reason:
        return _Look(camera.name, shot, source, size, digest, None, str(reason))
    return _Look(camera.name, shot, source, size, digest, view)


def _usable_views(looks: Sequence[_Look]) -> tuple[list[BoardView], list[str]]:
    """Views, and notes on images without a board or with the very pixels of an earlier one."""
    views: list[BoardView] = []
    notes: list[str] = []
    first: dict[tuple[str, str], str] = {}
    for look in looks:
        if look.view is None:
            notes.append(look.why)
            continue
        original = first.setdefault((look.camera, look.digest), look.file)
        if original != look.file:
            notes.append(
                f"{look.camera}, shot {look.shot} ({look.file}): the same pixels as {original}; "
                "left out: a frozen stream, or a copied file"
            )
            continue
        views.append(look.view)
    return views, notes


def _check_every_camera_saw(
    folder: Path, settings: SessionSettings, looks: Sequence[_Look], views: Sequence[BoardView]
) -> None:
    seen = {view.camera for view in views}
    for camera in settings.cameras:
        if camera.name in seen:
            continue
        own = [look for look in looks if look.camera == camera.name]
        if not own:
            raise CalibrationError(
                f"{camera.name}: no image in any of the shots in {folder}; record it, or take the "
                "camera out of session.yaml"
            )
        image = _read_gray(folder / own[0].file, f"{camera.name}, shot {own[0].shot}")
        raise CalibrationError(
            f"{camera.name}: no board in any of its {len(own)} images; in {own[0].file}: "
            f"{explain_missing(image, settings.board)}. Hold the board where this camera and "
            "another one see it, and compare session.yaml's board with the printed one"
        )


def _resolve_legacy(folder: Path, board: Board, views: Sequence[BoardView]) -> Board:
    if board.legacy is not None:
        return board
    best = max(views, key=lambda view: len(view.corner_ids))
    image = _read_gray(folder / best.source, f"{best.camera}, shot {best.shot}")
    return replace(board, legacy=find_legacy([image], board))


def _board_depth(
    folder: Path,
    settings: SessionSettings,
    board: Board,
    views: Sequence[BoardView],
    notes: dict[int, ShotNotes],
) -> tuple[DepthImage, ...]:
    if not settings.depth:
        return ()
    images: list[DepthImage] = []
    for camera in settings.cameras:
        own = [view for view in views if view.camera == camera.name]
        depth = [
            DepthImage(
                camera.name,
                view.shot,
                _read_depth(
                    shot_folder(folder, view.shot) / f"{camera.name}_depth.png",
                    camera,
                    f"shot {view.shot}",
                ),
                notes[view.shot].depth_frames.get(camera.name, 1),
            )
            for view in own
        ]
        check_depth_against_board(camera, board, own, depth)
        images += depth
    return tuple(images)


def _scene(folder: Path, settings: SessionSettings) -> tuple[DepthImage, ...]:
    file = folder / "scene" / "scene.yaml"
    if not settings.depth or not file.exists():
        return ()
    frames = parse_shot(file).depth_frames
    return tuple(
        DepthImage(
            camera.name,
            -1,
            _read_depth(folder / "scene" / f"{camera.name}_depth.png", camera, "scene"),
            frames.get(camera.name, 1),
        )
        for camera in settings.cameras
    )


def _read_gray(file: Path, where: str) -> UInt8:
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise CalibrationError(f"{where}: {file} is no image; record the shot again, or delete it")
    return np.asarray(image, dtype=np.uint8)


def _read_depth(file: Path, camera: SessionCamera, shot: str) -> Float32:
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.exists() else None
    where = f"{camera.name}, {shot} ({file.parent.name}/{file.name})"
    return metres_from_stored(stored, camera, where)


def _write_color(file: Path, color: UInt8) -> None:
    stored = color if color.ndim == 2 else cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
    _write_png(file, np.asarray(stored))


def _write_depth(file: Path, depth_m: Float32) -> None:
    finite = np.where(np.isfinite(depth_m), depth_m, 0.0)
    millimetres = np.rint(finite * 1000.0)
    millimetres[(millimetres < 0) | (millimetres > np.iinfo(np.uint16).max)] = 0.0
    _write_png(file, millimetres.astype(np.uint16))


def _write_png(file: Path, image: NDArray[np.generic]) -> None:
    if not cv2.imwrite(str(file), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise CalibrationError(f"cannot write {file}: is the disk full or the folder read-only?")
