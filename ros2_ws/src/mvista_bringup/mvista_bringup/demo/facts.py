"""What a run was made with: versions and the machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from mvista_bringup.demo.record import Fact

PACKAGES = ("mvista_bringup", "torch", "diffusers", "mujoco", "numpy", "ros-rclpy")


def versions() -> tuple[Fact, ...]:
    """Python and the packages that a result depends on; absent ones are left out."""
    found = [Fact("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append(Fact(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def machine() -> tuple[Fact, ...]:
    """System, processor and cores; never a host or user name."""
    return (
        Fact("system", f"{platform.system()} {platform.machine()}"),
        Fact("processor", _processor()),
        Fact("cores", str(len(os.sched_getaffinity(0)))),
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
