"""What was found in a picture, kept beside the session: no picture is searched twice.

`detections/<key>.json`, the key made of the file's bytes, the board and the detector: another
picture, board or version has another key, so nothing that is kept can be out of date. The folder
may be deleted at any time. What cannot be read there is searched for again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvista_calibration.board.detect import Located, content_hash, gray_image, locate_board
from mvista_calibration.records import Board
from mvista_core.errors import CalibrationError, NoBoardError
from mvista_core.files import replace_file
from mvista_core.records import UInt8

DETECTOR = 2
"""Of this code: raised when the same picture gives other corners."""


@dataclass(frozen=True)
class SearchedPicture:
    """A picture's (width, height), the hash of its pixels, and the board in it or why not."""

    size: tuple[int, int]
    digest: str
    board: Located | None
    why: str = ""


@dataclass(frozen=True)
class Detections:
    """The detections kept of one board's pictures, in `folder`."""

    folder: Path
    board: Board

    def key(self, picture: bytes) -> str:
        """Of a picture file's bytes."""
        board = self.board
        facts = (
            DETECTOR, cv2.__version__, board.squares_x, board.squares_y, board.square_m,
            board.marker_m, board.dictionary, board.legacy, board.measured_scale,
        )  # fmt: skip
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=20)
        digest.update(picture)
        return digest.hexdigest()

    def find(self, picture: bytes) -> SearchedPicture | None:
        """What was found in this very file before; None where nothing (usable) is kept."""
        try:
            text = (self.folder / f"{self.key(picture)}.json").read_bytes()
            return _parsed(json.loads(text))
        # RecursionError: JSON nested too deep; OverflowError: an infinite size.
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def keep(self, picture: bytes, found: SearchedPicture) -> None:
        """Keep it; a folder that cannot be written costs another search later, nothing else."""
        with suppress(OSError, CalibrationError):
            self.folder.mkdir(exist_ok=True)
            file = self.folder / f"{self.key(picture)}.json"
            replace_file(file, json.dumps(_document(found)), CalibrationError)


def search(image: UInt8, board: Board, where: str) -> SearchedPicture:
    """Look for the board in a gray or RGB picture.

    Raises:
        WrongBoardError: it shows another one.
    """
    gray = gray_image(image)
    size, digest = (gray.shape[1], gray.shape[0]), content_hash(gray)
    try:
        return SearchedPicture(size, digest, locate_board(gray, board, where))
    except NoBoardError as reason:
        return SearchedPicture(size, digest, None, str(reason).removeprefix(f"{where}: "))


def _document(found: SearchedPicture) -> dict[str, Any]:
    document: dict[str, Any] = {"size": found.size, "digest": found.digest, "why": found.why}
    if found.board is not None:
        document["ids"] = found.board.ids.tolist()
        document["corners_px"] = found.board.corners_px.tolist()
        document["blur_px"] = found.board.blur_px
        document["legacy"] = found.board.legacy
    return document


def _parsed(document: Any) -> SearchedPicture:
    """ValueError, KeyError or TypeError where it is not what `_document` writes."""
    width, height = (int(side) for side in document["size"])
    digest, why = str(document["digest"]), str(document["why"])
    if "ids" not in document:
        return SearchedPicture((width, height), digest, None, why)
    ids = np.array(document["ids"], dtype=np.int64)
    corners_px = np.array(document["corners_px"], dtype=np.float64)
    blur_px, legacy = float(document["blur_px"]), document["legacy"]
    sound = (
        ids.ndim == 1
        and corners_px.shape == (len(ids), 2)
        and len(np.unique(ids)) == len(ids)
        and np.isfinite(corners_px).all()
        and np.isfinite(blur_px)
        and legacy in (None, True, False)
    )
    if not sound:
        raise ValueError("not a detection")
    return SearchedPicture((width, height), digest, Located(ids, corners_px, blur_px, legacy))
