"""The file an episode goes to: every byte is counted and hashed, every error kept and told.

`mcap` may not open it itself: in 1.6 a writer that was given a raw file loses what its own buffer
holds, and one whose disk is full says that it finished.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from mvista_core.errors import DiskSpaceError, RecordingError

ROOM_BESIDE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LIBC = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE of fallocate(2)."""


class OwnedFile:
    """A new file, locked while it is open, with room on the disk for its own end.

    `reserve_bytes` beyond what is written belong to the file already (but not to its length), so no
    other writer can take them. When the disk gives no more, `full` is set and writing goes on into
    what is reserved: that much is left to come to an end.
    """

    def __init__(self, path: Path, reserve_bytes: int) -> None:
        """Raises RecordingError: it cannot be made. DiskSpaceError: no room for the reserve."""
        self.path = path
        self.full: DiskSpaceError | None = None
        self.written_bytes = 0
        self.synced_bytes = 0
        self._hash = hashlib.sha256()
        self._reserve_bytes = reserve_bytes
        self._reserved_to = 0
        self._beside = path.with_name(f".{path.name}.room")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordingError(f"cannot make {path}: {error.strerror}") from None
        # Who would repair what is still being written finds it locked.
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open = True
        self._reserve(0)
        self._keep_room_beside()
        self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self.full is not None:
            self.close()
            raise self.full

    def _reserve(self, wanted_bytes: int) -> None:
        """Have the reserve reach as far behind `wanted_bytes`, if it is half used up."""
        # Half: one call serves many writes, and half of it is there at any moment.
        if wanted_bytes + self._reserve_bytes // 2 < self._reserved_to or self.full is not None:
            return
        if not self._reserve_bytes:
            return
        length = wanted_bytes + self._reserve_bytes - self._reserved_to
        failed = _fallocate(self._fd, self._reserved_to, length)
        if failed in _FULL:
            self.full = self._full_at(failed)
        elif failed:
            # A file system that cannot reserve: it will be found full when it is.
            self._reserve_bytes = 0
        else:
            self._reserved_to += length

    def _keep_room_beside(self) -> None:
        """For the small files that an episode ends with."""
        if not self._reserve_bytes or self.full is not None:
            return
        try:
            # A file of its own: what the episode has reserved, no other file can use.
            fd = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, ROOM_BESIDE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            self.full = self._full_at(error.errno or errno.ENOSPC)

    def _full_at(self, number: int) -> DiskSpaceError:
        return DiskSpaceError(
            f"{self.path.parent}: {os.strerror(number)} at byte {self.written_bytes}; free some "
            "room, or record to another disk"
        )

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """All of it, or an error.

        Raises:
            DiskSpaceError: not even the reserve was enough. RecordingError: the disk failed.
        """
        self._reserve(self.written_bytes + len(data))
        rest = memoryview(data)
        while rest:
            try:
                count = os.write(self._fd, rest)
            except OSError as error:
                if error.errno in _FULL:
                    self.full = self.full or self._full_at(error.errno)
                    raise self.full from None
                raise RecordingError(f"cannot write {self.path}: {error.strerror}") from None
            # On the way: nobody reads gigabytes again when the episode ends.
            self._hash.update(rest[:count])
            self.written_bytes += count
            rest = rest[count:]
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.written_bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def sync(self) -> None:
        """Have the disk hold all that was written.

        Raises:
            RecordingError: the disk could not; what it holds is unknown from here on.
        """
        written = self.written_bytes
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise RecordingError(f"cannot sync {self.path}: {error.strerror}") from None
        self.synced_bytes = written

    def cut(self, size_bytes: int) -> None:
        """Forget what lies behind `size_bytes`; the hash no longer holds."""
        with suppress(OSError):
            os.ftruncate(self._fd, size_bytes)
            os.fdatasync(self._fd)

    def sha256(self) -> str:
        """Of what was written."""
        return self._hash.hexdigest()

    def give_room_beside(self) -> None:
        """Now the small files are written."""
        with suppress(OSError):
            self._beside.unlink()

    def close(self) -> None:
        """Give back what is reserved, and let go of the file."""
        self.give_room_beside()
        if self._open:
            self._open = False
            with suppress(OSError):
                # To the length that it has: what is reserved behind it becomes free.
                os.ftruncate(self._fd, os.fstat(self._fd).st_size)
            os.close(self._fd)


def _fallocate(fd: int, offset: int, length: int) -> int:
    """Reserve without making the file longer, which `os.posix_fallocate` would; 0 or an errno."""
    found = _LIBC.fallocate(fd, _KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))
    return 0 if found == 0 else ctypes.get_errno()
