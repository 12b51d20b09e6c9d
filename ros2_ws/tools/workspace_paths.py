"""Lets the virtual environment's Python find the built workspace with nothing sourced.

`setup_workspace.py` copies this file into site-packages as `_mvista_workspace.py` with
`WORKSPACE` filled in, next to a `.pth` file that imports it at interpreter start. It must run
before the ROS wheels' own bootstrapper (their `.pth` sorts after ours), because that one
re-executes the interpreter once so that a changed LD_LIBRARY_PATH takes effect.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

WORKSPACE = "@WORKSPACE@"
"""Root of the source tree."""

SHELL_HELPER = "_local_setup_util_"

BOOTSTRAP_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def _prepend(variable: str, folders: list[str]) -> bool:
    """Put `folders` in front of a path variable; whether that changed it."""
    present = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    missing = [folder for folder in folders if folder not in present]
    if missing:
        os.environ[variable] = os.pathsep.join(missing + present)
    return bool(missing)


def _activate(root: Path) -> None:
    install = root / "ros2_ws" / "install"
    _prepend("AMENT_PREFIX_PATH", [str(install), sys.prefix])
    if _prepend("LD_LIBRARY_PATH", [str(install / "lib")]):
        # An inherited guard would keep the bootstrapper from applying the new library path.
        os.environ.pop(BOOTSTRAP_GUARD, None)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sources = [path.parent for path in sorted(root.glob("ros2_ws/src/*/setup.py"))]
    sources += [path.parent for path in sorted(root.glob("models/*/setup.py"))]
    sources += [path.parent for path in sorted(root.glob("calibration/**/setup.py"))]
    for folder in (*sources, install / "lib" / version / "site-packages"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _asked_by_a_shell() -> bool:
    """Whether colcon's helper runs, which tells a shell that sources the workspace what it lacks.

    It compares with its own environment: with the paths already in it, it would find that nothing
    is to be set.
    """
    return any(Path(word).name.startswith(SHELL_HELPER) for word in sys.orig_argv[:3])


if Path(WORKSPACE).is_dir() and not _asked_by_a_shell():
    _activate(Path(WORKSPACE))
