"""What pip would install of a lock file for another Python than its own; nothing is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

GLIBC = (39, 5)
TORCH = "torch"
"""Gigabytes, and nothing that could disagree: left out."""


def environment(python: str) -> dict[str, str]:
    """A Linux machine's, for markers, with such a Python: "3.12"."""
    told = {"python_version": python, "python_full_version": f"{python}.3", "extra": ""}
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, **told, "sys_platform": "linux", "platform_machine": "x86_64"}


def pins(path: Path, python: str) -> dict[str, str]:
    """Name -> version of what a lock file holds for that Python, without torch."""
    found: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        if re.match(r"[\w.-]+==", line):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(environment(python)):
                found[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    found.pop(TORCH, None)
    return found


def resolved(pinned: dict[str, str], python: str, folder: Path) -> list[dict[str, Any]]:
    """The metadata of exactly these releases, of wheels for that Python; skips without an index."""
    asked, report = folder / "asked.txt", folder / "report.json"
    asked.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()), "utf-8")
    platforms = [f"manylinux_2_{n}_x86_64" for n in range(GLIBC[0], GLIBC[1] - 1, -1)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"),
            *("--ignore-installed", "--only-binary=:all:", "--python-version", python),
            # pip holds each against the Python that it runs on; callers against the one asked for.
            "--ignore-requires-python",
            *(word for name in platforms for word in ("--platform", name)),
            *("--retries", "1", "--target", str(folder / "site"), "--report", str(report)),
            *("-r", str(asked)),
        ],
        capture_output=True,
        text=True,
        timeout=400,
    )
    if "Failed to establish a new connection" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    found = [item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"]]
    assert {canonicalize_name(one["name"]): one["version"] for one in found} == pinned
    return found
