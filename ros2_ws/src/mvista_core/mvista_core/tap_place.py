"""The place of a camera's tap: a folder of this user's own, a lock, a socket."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

from mvista_core.errors import TapError


def make_private(folder: Path) -> None:
    """Make the tap's folder and the two above it that are ours, for this user only.

    Raises:
        TapError: it cannot be made, or others own it or may look into it.
    """
    for each in (folder.parent, folder):
        try:
            each.mkdir(mode=0o700, exist_ok=True)
            found = each.lstat()
        except OSError as error:
            raise TapError(
                f"no place for a tap at {each}: {error.strerror}; set XDG_RUNTIME_DIR"
            ) from None
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if not private or found.st_uid != os.getuid():
            raise TapError(
                f"{each} has mode {stat.filemode(found.st_mode)} and owner {found.st_uid}; needed "
                f"is a folder of mode drwx------ and owner {os.getuid()}: remove it, or chmod 700"
            )


def claim(path: Path) -> int:
    """A lock on this camera's place, which the kernel lets go of when the process ends."""
    lock = path.with_suffix(".lock")
    try:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TapError(f"cannot make {lock}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(held, 32).decode(errors="replace") or "unknown"
        os.close(held)
        raise TapError(
            f"{path} is served by another process ({owner}): a camera of this name runs already "
            "on this domain; end it, or give this one another namespace or ROS_DOMAIN_ID"
        ) from None
    os.ftruncate(held, 0)
    os.write(held, str(os.getpid()).encode())
    return held


def listen_at(path: Path) -> socket.socket:
    """A socket at `path`; one that was left there by a process that is no more is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_symlink() or path.exists():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise TapError(f"{path} is there and no socket: remove it")
            path.unlink()
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen()
    except OSError as error:
        listener.close()
        raise TapError(f"cannot serve {path}: {error.strerror}") from None
    except TapError:
        listener.close()
        raise
    return listener
