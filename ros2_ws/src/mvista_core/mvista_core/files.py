"""Files that are there whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mvista_core.errors import MvistaError


def replace_file(path: Path | str, data: bytes | str, kind: type[MvistaError]) -> None:
    """Write beside `path`, then take its place in one step: a kill leaves the old file or the new.

    Raises:
        kind: the folder is missing or read-only, or the disk is full; the old file is untouched.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")
    content = data.encode() if isinstance(data, str) else data
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            # Without it a power cut may leave the new name on an empty file.
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise kind(
            f"cannot write {path}: {error.strerror}; is the folder there, may it be written to, "
            "and has the disk room?"
        ) from None


def make_folder(folder: Path, kind: type[MvistaError]) -> None:
    """Make it and those above; one that is there already will do.

    Raises:
        kind: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise kind(f"cannot make {folder}: {error.strerror}") from None
