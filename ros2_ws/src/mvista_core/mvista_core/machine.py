"""What this machine can, in the words that belong beside every time that is measured on it."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Flags of /proc/cpuinfo for products in bf16; the last is Arm's."""


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The processor's own name for itself."""
    return _first(cpuinfo, "model name") or platform.processor() or "unknown"


def native_bf16(cpuinfo: Path = CPUINFO) -> str:
    """The processor's instructions for bf16 products, "+"-joined; empty where it has none."""
    flags = (_first(cpuinfo, "flags") or _first(cpuinfo, "Features")).split()
    return "+".join(flag for flag in BF16_FLAGS if flag in flags)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def available_memory(meminfo: Path = MEMINFO) -> int:
    """Bytes that programs may still take without swapping; 0 where the kernel does not say."""
    kibibytes = _first(meminfo, "MemAvailable").removesuffix(" kB")
    return int(kibibytes) * 1024 if kibibytes.isdigit() else 0


def peak_memory() -> int:
    """Bytes that this process held at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe() -> str:
    """One line: processor, cores, and whether it multiplies bf16 (a factor of 13 in a plan)."""
    return f"{processor_name()}, {available_cores()} cores, {native_bf16() or 'no native bf16'}"


def _first(cpuinfo: Path, key: str) -> str:
    """The first value of a key; empty where the file or the key is missing."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == key), "")
