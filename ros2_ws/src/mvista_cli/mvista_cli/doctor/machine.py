"""The machine that a check looks at: roots and commands, which tests replace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 10.0


def run_command(words: Sequence[str]) -> str | None:
    """Standard output of a read-only command; None when it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def disk_bytes(path: Path) -> tuple[int, int]:
    """(all, free) bytes of the file system that holds a path, or the nearest folder above it."""
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass(frozen=True)
class Machine:
    """Where a check looks. The defaults are this machine."""

    sysfs: Path = Path("/sys")
    procfs: Path = Path("/proc")
    shared_memory: Path = Path("/dev/shm")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    run: Callable[[Sequence[str]], str | None] = run_command
    disk_bytes: Callable[[Path], tuple[int, int]] = disk_bytes


def read_text(path: Path) -> str:
    """A small file of `/sys` or `/proc`, stripped; "" when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def read_number(path: Path) -> int | None:
    """The whole number that a file of `/sys` or `/proc` holds; None when it holds none."""
    words = read_text(path).split()
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None
