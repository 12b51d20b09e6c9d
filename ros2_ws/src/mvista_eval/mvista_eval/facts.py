"""What a run was made with: versions and the machine."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata

from mvista_core.machine import available_cores, native_bf16, processor_name

PACKAGES = ("mvista_bringup", "torch", "diffusers", "mujoco", "numpy", "ros-rclpy")


@dataclass(frozen=True)
class Fact:
    """One line of a table: a version, a property of the machine."""

    name: str
    value: str


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
        Fact("processor", processor_name()),
        Fact("cores", str(available_cores())),
        Fact("bf16", native_bf16() or "not multiplied by this processor: networks in fp32"),
    )
