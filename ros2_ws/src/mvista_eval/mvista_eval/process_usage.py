"""What processes take of the machine: processor time, memory and threads, from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_MB_PER_KB = 1024 / 1e6
# Fields of /proc/<pid>/stat (proc_pid_stat(5)) counted from the one after the command's name.
_SESSION, _USER, _SYSTEM, _THREADS = 3, 11, 12, 17


@dataclass(frozen=True)
class Usage:
    """What one or several processes have used so far, and hold now."""

    cpu_s: float = 0.0
    memory_mb: float = 0.0
    threads: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_s + other.cpu_s,
            self.memory_mb + other.memory_mb,
            self.threads + other.threads,
        )


def usage_of(pid: int, proc: Path = PROC) -> Usage:
    """Of one process, all its threads; nothing of one that has ended."""
    try:
        fields = _fields(proc / str(pid))
        status = (proc / str(pid) / "status").read_text(encoding="utf-8")
    except (OSError, IndexError):
        return Usage()
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    resident_kb = next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0
    )
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), resident_kb * _MB_PER_KB, int(fields[_THREADS]))


def usage_of_session(leader: int, proc: Path = PROC) -> Usage:
    """Of a process that leads a session, and of all that it started within it."""
    return sum((usage_of(pid, proc) for pid in _session(leader, proc)), Usage())


def _session(leader: int, proc: Path) -> Iterator[int]:
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            session = int(_fields(folder)[_SESSION])
        except (OSError, IndexError):
            continue  # it has ended
        if session == leader:
            yield int(folder.name)


def _fields(folder: Path) -> list[str]:
    return (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
