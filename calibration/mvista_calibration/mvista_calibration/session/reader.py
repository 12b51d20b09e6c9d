"""Read a session: images in, `Session` out, or a reason.

What lies where is in layout.py, what is refused in checks.py, how one is written in writer.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from mvista_calibration.board.detect import explain_missing, where_of
from mvista_calibration.board.detections import Detections, search
from mvista_calibration.board.pattern import cv_dictionary
from mvista_calibration.records import (
    Board,
    BoardView,
    DepthImage,
    GripperPose,
    Session,
    SessionCamera,
)
from mvista_calibration.session.checks import (
    check_depth_against_board,
    check_header,
    check_pose,
    check_sizes,
    check_stamps,
)
from mvista_calibration.session.images import (
    decode_gray,
    find_picture,
    read_bytes,
    read_depth,
    read_gray,
)
from mvista_calibration.session.layout import (
    SessionHeader,
    ShotNotes,
    parse_header,
    parse_shot,
    shot_folders,
)
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.ports import Progress

MOST_WORKERS = 4


def workers() -> int:
    """Images read and searched at once: OpenCV works outside the interpreter's lock."""
    return max(1, min(len(os.sched_getaffinity(0)), MOST_WORKERS))


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


@dataclass(frozen=True)
class _Folder:
    """A session folder whose YAML files were read: what there is to look at."""

    path: Path
    header: SessionHeader
    shots: dict[int, Path]
    notes: dict[int, ShotNotes]


def load_session(folder: Path | str, progress: Progress | None = None) -> Session:
    """Read a session folder and find the board in all its images, one per core at a time.

    What was found is kept in the folder, and read there next time (detections.py).
    `Session.notes` says what was left out and why (images without a board, duplicates).

    Raises:
        CalibrationError: naming camera and frame: no board, the wrong board, mixed resolutions, K
            that disagrees with the image size, depth missing or in the wrong unit, a pose that is
            not rigid, pictures of one shot far apart in time, a file missing or unreadable.
        CancelledError: `progress` returned False.
    """
    opened = _opened(Path(folder))
    header = opened.header
    looks = _look_at_all(opened, progress)
    for camera in header.cameras:
        sizes = {look.file: look.size for look in looks if look.camera == camera.name}
        check_sizes(camera, sizes)
    views, left_out = _usable_views(looks)
    _check_every_camera_saw(opened, looks, views)
    board = _with_pattern(header.board, views)
    return Session(
        header.name,
        board,
        header.cameras,
        tuple(views),
        _board_depth(opened, board, views),
        _scene(opened),
        tuple(
            GripperPose(shot, note.base_from_gripper)
            for shot, note in opened.notes.items()
            if note.base_from_gripper is not None
        ),
        header.base_from_board,
        header.workspace,
        header.warm_up_minutes,
        tuple(left_out),
    )


def _opened(folder: Path) -> _Folder:
    """All that can be refused without looking at a picture."""
    header = parse_header(folder / "session.yaml")
    check_header(header, str(folder / "session.yaml"))
    cv_dictionary(header.board)
    shots = shot_folders(folder)
    if not shots:
        raise CalibrationError(f"{folder}: no shots (shots/<n>/shot.yaml); record at least one")
    notes = {shot: parse_shot(path / "shot.yaml") for shot, path in shots.items()}
    names = {camera.name for camera in header.cameras}
    for shot, note in notes.items():
        stamps_ns = {name: stamp for name, stamp in note.stamps_ns.items() if name in names}
        check_stamps(stamps_ns, f"{folder}: shot {shot}")
        if note.base_from_gripper is not None:
            check_pose(note.base_from_gripper, f"{folder}: shot {shot}: base_from_gripper")
    return _Folder(folder, header, shots, notes)


def _look_at_all(opened: _Folder, progress: Progress | None) -> list[_Look]:
    cameras = opened.header.cameras
    jobs = [
        (camera, shot, file)
        for shot, path in opened.shots.items()
        for camera in cameras
        if (file := find_picture(path, camera.name)) is not None
    ]
    if not jobs:
        raise CalibrationError(
            f"{opened.path}: no images shots/<n>/<camera>.png in {len(opened.shots)} shots"
        )
    looks: list[_Look] = []
    with ThreadPoolExecutor(workers()) as pool:
        waiting = [pool.submit(_look, opened, camera, shot, file) for camera, shot, file in jobs]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                looks.append(future.result())
                if progress is not None and not progress("detect", done / len(jobs)):
                    raise CancelledError(
                        f"reading {opened.path} was cancelled at {done} of {len(jobs)}"
                    )
        # Ctrl-C too: the block's own end would first search every picture that still waits.
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    # Threads end in any order: what is answered must not depend on it.
    order = {camera.name: i for i, camera in enumerate(cameras)}
    return sorted(looks, key=lambda look: (look.shot, order[look.camera]))


def _look(opened: _Folder, camera: SessionCamera, shot: int, file: Path) -> _Look:
    source = file.relative_to(opened.path).as_posix()
    where, name = where_of(camera.name, shot, source), f"{camera.name}, shot {shot}"
    picture = read_bytes(file, name)
    detections = Detections(opened.path / "detections", opened.header.board)
    found = detections.find(picture)
    if found is None:
        image = decode_gray(picture, file, name)
        size, lens = (image.shape[1], image.shape[0]), camera.intrinsics
        if size != (lens.width_px, lens.height_px):  # told apart from others when all are known
            return _Look(camera.name, shot, source, size, "", None, "another resolution")
        found = search(image, opened.header.board, where)
        detections.keep(picture, found)
    if found.board is None:
        why = f"{where}: {found.why}"
        return _Look(camera.name, shot, source, found.size, found.digest, None, why)
    stamp_ns, board = opened.notes[shot].stamps_ns.get(camera.name, 0), found.board
    view = BoardView(
        camera.name, shot, board.ids, board.corners_px, board.blur_px, stamp_ns, source,
        board.legacy,
    )  # fmt: skip
    return _Look(camera.name, shot, source, found.size, found.digest, view)


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
    opened: _Folder, looks: Sequence[_Look], views: Sequence[BoardView]
) -> None:
    seen = {view.camera for view in views}
    for camera in opened.header.cameras:
        if camera.name in seen:
            continue
        own = [look for look in looks if look.camera == camera.name]
        if not own:
            raise CalibrationError(
                f"{camera.name}: no image in any of the shots in {opened.path}; record it, or take "
                "the camera out of session.yaml"
            )
        image = read_gray(opened.path / own[0].file, f"{camera.name}, shot {own[0].shot}")
        raise CalibrationError(
            f"{camera.name}: no board in any of its {len(own)} images; in {own[0].file}: "
            f"{explain_missing(image, opened.header.board)}. Hold the board where this camera "
            "and another one see it, and compare session.yaml's board with the printed one"
        )


def _with_pattern(board: Board, views: Sequence[BoardView]) -> Board:
    """The board with the pattern that it was found with, every view voting with its corners."""
    if board.legacy is not None:
        return board
    votes = [(len(view.corner_ids), bool(view.legacy)) for view in views]
    legacy = sum(count if old else -count for count, old in votes) > 0
    return replace(board, legacy=legacy)


def _board_depth(
    opened: _Folder, board: Board, views: Sequence[BoardView]
) -> tuple[DepthImage, ...]:
    if not opened.header.depth:
        return ()

    def read(camera: SessionCamera, view: BoardView) -> DepthImage:
        note = opened.notes[view.shot]
        where = f"shot {view.shot}"
        depth_m = read_depth(opened.shots[view.shot], camera, where, note.depth_unit_m)
        frames = note.depth_frames.get(camera.name, 1)
        return DepthImage(camera.name, view.shot, depth_m, frames)

    images: list[DepthImage] = []
    with ThreadPoolExecutor(workers()) as pool:
        for camera in opened.header.cameras:
            own = [view for view in views if view.camera == camera.name]
            depth = list(pool.map(read, [camera] * len(own), own))
            check_depth_against_board(camera, board, own, depth)
            images += depth
    return tuple(images)


def _scene(opened: _Folder) -> tuple[DepthImage, ...]:
    folder = opened.path / "scene"
    if not opened.header.depth or not (folder / "scene.yaml").exists():
        return ()
    note = parse_shot(folder / "scene.yaml")
    return tuple(
        DepthImage(
            camera.name,
            -1,
            read_depth(folder, camera, "scene", note.depth_unit_m),
            note.depth_frames.get(camera.name, 1),
        )
        for camera in opened.header.cameras
    )
