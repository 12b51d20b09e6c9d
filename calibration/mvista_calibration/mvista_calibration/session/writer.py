"""Write a session shot by shot: whenever the writer is killed, a shot is there whole or not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mvista_calibration.board.detect import Located, content_hash, gray_image
from mvista_calibration.board.detections import Detections, SearchedPicture
from mvista_calibration.records import BoardView, DepthImage
from mvista_calibration.session.checks import check_depth_m, check_header, check_shot
from mvista_calibration.session.images import write_color, write_depth
from mvista_calibration.session.layout import (
    DEPTH_UNIT_MM,
    BoardShot,
    SessionHeader,
    header_document,
    is_number,
    read_yaml,
    shot_document,
    shot_folder,
    shot_folders,
    write_yaml,
)
from mvista_core.errors import CalibrationError


class SessionWriter:
    """A session folder that takes one shot at a time; a shot is there whole or not at all."""

    def __init__(self, folder: Path | str, header: SessionHeader) -> None:
        """Begin a session, or go on with the one in `folder` if it has the same header.

        Raises:
            CalibrationError: the folder holds another session, or the header makes no sense.
        """
        self.folder = Path(folder)
        self.header = header
        check_header(header, str(self.folder))
        file = self.folder / "session.yaml"
        if file.exists():
            if read_yaml(file).value != header_document(header):
                raise CalibrationError(
                    f"{self.folder} holds another session (board, cameras or workspace differ); "
                    "choose a new folder, or delete that one"
                )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CalibrationError(
                f"cannot write the session to {folder}: {error.strerror}"
            ) from None
        write_yaml(file, header_document(header))

    @property
    def shots(self) -> tuple[int, ...]:
        """Numbers of the whole shots, in order."""
        return tuple(shot_folders(self.folder))

    def append(self, shot: BoardShot, views: Sequence[BoardView] = ()) -> int:
        """Write one shot after the last one and return its number.

        `views` are what was found in these very images already: they are kept, and the images
        not searched again.

        Raises:
            CalibrationError: an unknown camera, a wrong size, depth missing or not in metres, a
                pose that is not rigid, stamps far apart, or a disk that does not take it. Nothing
                is kept then.
        """
        # Folders without shot.yaml count as well: what lies in one joins no new shot.
        taken = [int(p.name) for p in (self.folder / "shots").glob("[0-9]*") if is_number(p.name)]
        number = max(taken, default=-1) + 1
        check_shot(self.header, shot, number)
        beside = _emptied(self.folder / "shots" / ".next")
        detections = Detections(self.folder / "detections", self.header.board)
        seen = {view.camera: view for view in views}
        for image in shot.images:
            picture = write_color(beside / f"{image.camera}.png", image.color)
            if image.depth_m is not None:
                write_depth(beside / f"{image.camera}_depth.png", image.depth_m)
            if image.camera in seen:
                view, gray = seen[image.camera], gray_image(image.color)
                located = Located(view.corner_ids, view.corners_px, view.blur_px, view.legacy)
                size = (gray.shape[1], gray.shape[0])
                detections.keep(picture, SearchedPicture(size, content_hash(gray), located))
        write_yaml(beside / "shot.yaml", shot_document(shot))
        _take_place(beside, shot_folder(self.folder, number))
        return number

    def write_scene(self, scene: Sequence[DepthImage]) -> None:
        """Write depth of the cell without the board, one image per camera; an earlier one goes.

        Raises:
            CalibrationError: an unknown camera, a wrong size, or depth not in metres.
        """
        cameras = {camera.name: camera for camera in self.header.cameras}
        for image in scene:
            if image.camera not in cameras:
                raise CalibrationError(
                    f"{image.camera}, scene: unknown camera; the session has {sorted(cameras)}"
                )
            check_depth_m(image.depth_m, cameras[image.camera], f"{image.camera}, scene")
        beside = _emptied(self.folder / ".scene")
        for image in scene:
            write_depth(beside / f"{image.camera}_depth.png", image.depth_m)
        frames = {image.camera: int(image.frames) for image in scene}
        document = {"depth_frames": frames, "depth_unit_mm": DEPTH_UNIT_MM}
        write_yaml(beside / "scene.yaml", document)
        folder = self.folder / "scene"
        if folder.exists():
            # Killed between these two the session has no scene; it never has half of one.
            _take_place(folder, _emptied(self.folder / ".scene_before", make=False))
        _take_place(beside, folder)
        shutil.rmtree(self.folder / ".scene_before", ignore_errors=True)


def write_session(
    folder: Path | str,
    header: SessionHeader,
    shots: Iterable[BoardShot],
    scene: Sequence[DepthImage] = (),
) -> SessionWriter:
    """Write a whole session; `shots` may be a generator, only one is held at a time."""
    writer = SessionWriter(folder, header)
    for shot in shots:
        writer.append(shot)
    if scene:
        writer.write_scene(scene)
    return writer


def _emptied(folder: Path, make: bool = True) -> Path:
    """A folder of the writer's own, without what a killed one left in it."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        if make:
            folder.mkdir(parents=True)
    except OSError as error:
        raise CalibrationError(f"cannot write to {folder}: {error.strerror}") from None
    return folder


def _take_place(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError as error:
        raise CalibrationError(f"cannot write {folder}: {error.strerror}") from None
