"""A wall clock that a test can step, in a real process: a shim that is compiled when it is needed.

with SteppedClock(tmp_path) as wall:          # skips the test where there is no compiler
    process = subprocess.Popen(command, env=wall.environment(os.environ))
    wall.step(-17.0)                          # the wall clock of that process goes back by 17 s
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("step_clock.c")
COMPILERS = ("cc", "gcc", "clang")


class SteppedClock:
    """The wall clock of the processes started with `environment()`; other clocks stay true."""

    def __init__(self, folder: Path) -> None:
        self._library = _compiled(folder)
        self._path = folder / "step_clock.offset"
        self._path.write_bytes(bytes(8))
        with self._path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def __enter__(self) -> SteppedClock:
        return self

    def __exit__(self, *_: object) -> None:
        self._shared.close()

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with the shim preloaded; children of the process inherit it."""
        preload = " ".join(filter(None, (str(self._library), base.get("LD_PRELOAD"))))
        return {**base, "LD_PRELOAD": preload, "STEP_CLOCK_FILE": str(self._path)}

    @property
    def offset_s(self) -> float:
        """By how much those processes' wall clock is ahead of the machine's."""
        return int(struct.unpack("=q", self._shared[:])[0]) / 1e9

    def step(self, seconds: float) -> None:
        """Set the wall clock forward (or back) at once, beside what was stepped before."""
        self._shared[:] = struct.pack("=q", round((self.offset_s + seconds) * 1e9))


def _compiled(folder: Path) -> Path:
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip(f"no C compiler ({', '.join(COMPILERS)}): the wall clock cannot be stepped")
    library = folder / "step_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.fail(f"{SOURCE.name} does not compile: {built.stderr}")
    return library
