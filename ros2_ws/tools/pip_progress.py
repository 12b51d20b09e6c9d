"""Runs pip quietly: how far it is and how long it may still take, its own words only if it fails.

Standard library only, like `setup_workspace.py`, which uses it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

TERMINAL_PERIOD_S, PLAIN_PERIOD_S = 0.5, 15.0
KEPT_LINES, SHOWN_WARNINGS = 40, 10
INSTALL_SHARE = 0.25
"""Of pip's time, what unpacking takes after the last download."""
WEIGHTS_MB = {
    "torch": 190, "open3d-cpu": 80, "open3d": 430, "opencv-contrib-python-headless": 60,
    "scipy": 37, "transformers": 11, "mujoco": 7, "numpy": 17, "pandas": 12, "matplotlib": 9,
    "plotly": 16, "scikit-learn": 13, "diffusers": 4, "mypy": 12, "ruff": 11, "sympy": 6,
    "llvmlite": 56, "numba": 4,
}  # fmt: skip
"""Rough sizes of the large ones; the rest count as `SMALL_MB`. Only the estimate hangs on it."""
SMALL_MB = 1.0

_NAMED = re.compile(
    r"^\s*(?:Collecting|Processing|Requirement already satisfied:)\s+(?P<what>[^\s;(]+)"
)
_SIZED = re.compile(
    r"^\s*(?:Downloading|Using cached) \S+ \((?P<size>[\d.]+) (?P<unit>bytes|kB|MB|GB)\)"
)
_BROKEN = re.compile(r"^WARNING: Retrying .* after connection broken by (?P<why>.*?)(: /\S*)?$")
_UNIT_MB = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
_NOISE = re.compile(
    # A Python whose distutils and sysconfig disagree about folders: once per package and folder.
    r"(Value for scheme|does not match\. Please report|Additional context)"
    r"|^\s*(distutils|sysconfig|user|home|root|prefix)\s*[:=]"
    r"|Running pip as the 'root' user|new release of pip|To update, run"
)


class PipProgress:
    """What pip has said so far, as one line about how far it is."""

    def __init__(self, names: list[str], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._weights = {_normal(name): WEIGHTS_MB.get(_normal(name), SMALL_MB) for name in names}
        self._clock_s = clock_s
        self._start_s = clock_s()
        self._seen: set[str] = set()
        self._mb = 0.0
        self._installing = False
        self._network = ""
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.last: deque[str] = deque(maxlen=KEPT_LINES)

    def hear(self, line: str) -> None:
        """One line of pip's output, either stream."""
        line = line.rstrip()
        if not line or _NOISE.search(line):
            return
        self.last.append(line)
        if named := _NAMED.match(line):
            self._seen.add(_project(named["what"]))
        elif sized := _SIZED.match(line):
            self._mb += float(sized["size"]) * _UNIT_MB[sized["unit"]]
        elif line.startswith("Installing collected packages"):
            self._installing = True
        elif broken := _BROKEN.search(line):
            self._network = broken["why"].strip("'\"")
        elif line.startswith("WARNING:") and line not in self.warnings:
            self.warnings.append(line)
        elif line.lower().startswith("error:"):
            self.errors.append(line)

    def fraction(self, installed: int) -> float:
        """From 0 to 1, in estimated time; `installed` packages are unpacked already."""
        total = sum(self._weights.values())
        fetched = sum(self._weights[name] for name in self._seen & set(self._weights))
        share = fetched / total if total else 1.0
        if not self._installing:
            return (1.0 - INSTALL_SHARE) * share
        return 1.0 - INSTALL_SHARE * (1.0 - min(installed / max(len(self._weights), 1), 1.0))

    def line(self, installed: int = 0) -> str:
        """E.g. "downloading, 41 of 160 packages, 512 MB, 63 s, about 90 s left"."""
        elapsed_s, fraction = self._clock_s() - self._start_s, self.fraction(installed)
        done = installed if self._installing else len(self._seen & set(self._weights))
        words = [
            "unpacking" if self._installing else "downloading",
            f"{min(done, len(self._weights))} of {len(self._weights)} packages",
            f"{self._mb:.0f} MB",
            f"{elapsed_s:.0f} s",
        ]
        if fraction > 0.02:
            words.append(f"about {elapsed_s * (1.0 - fraction) / fraction:.0f} s left")
        return ", ".join(words)

    def reason(self) -> str:
        """Why pip failed, in one line."""
        told = self.errors or list(self.last) or ["it said nothing"]
        said = re.sub(r"^error:\s*", "", told[-1], flags=re.IGNORECASE)
        # Of an index that it could not reach pip ends with "no matching distribution".
        return f"{said}; the network failed: {self._network}" if self._network else said


def run_pip(
    command: list[str], names: list[str], site_packages: Path, out: TextIO = sys.stdout
) -> str:
    """Run a `pip install` of `names`; returns "" or, where it failed, the reason.

    What pip said goes to standard error when it failed.
    """
    progress = PipProgress(names)
    before = _installed(site_packages)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    ended = threading.Event()
    teller = threading.Thread(
        target=_tell,
        args=(progress, lambda: _installed(site_packages) - before, out, ended),
        daemon=True,
    )
    teller.start()
    for line in process.stdout:
        progress.hear(line)
    failed = process.wait() != 0
    ended.set()
    teller.join()
    for warning in progress.warnings[:SHOWN_WARNINGS]:
        print(warning, file=sys.stderr)
    if failed:
        print("\n".join(progress.last), file=sys.stderr)
        return progress.reason()
    return ""


def requirement_names(text: str) -> list[str]:
    """Names of the packages that a requirements file asks for on this Python, roughly.

    Markers are not evaluated (that is pip's): a line for another system or Python counts as well.
    """
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [re.split(r"[\s=<>!~;\[@]", line, maxsplit=1)[0] for line in lines if line[:1].isalnum()]


def _tell(
    progress: PipProgress, installed: Callable[[], int], out: TextIO, ended: threading.Event
) -> None:
    terminal = out.isatty()
    period_s = TERMINAL_PERIOD_S if terminal else PLAIN_PERIOD_S
    while not ended.wait(period_s):
        line = f"setup: dependencies: {progress.line(installed())}"
        out.write(f"\r\033[K{line}" if terminal else line + "\n")
        out.flush()
    if terminal:
        out.write("\r\033[K")
        out.flush()


def _installed(site_packages: Path) -> int:
    return sum(1 for _ in site_packages.glob("*.dist-info"))


def _project(what: str) -> str:
    """A requirement's or a wheel's project name, normalised."""
    name = what.rsplit("/", 1)[-1]
    if name.endswith((".whl", ".tar.gz")):
        return _normal(name.split("-")[0])
    return _normal(re.split(r"[=<>!~;\[@]", name, maxsplit=1)[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
