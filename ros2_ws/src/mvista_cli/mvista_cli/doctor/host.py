"""The computer: clocks, memory, graphics processor, shared memory, network buffers, disk."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mvista_bringup.finding import Finding, Severity, good
from mvista_cli.doctor.machine import Machine, read_number, read_text
from mvista_core.errors import TapError
from mvista_core.tap_wire import tap_path

GIB = 1 << 30
MIB = 1 << 20
DDS_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
RMW_VARIABLE = "RMW_IMPLEMENTATION"
RMW = "rmw_fastrtps_cpp"
LEAST_MEMORY_GIB = {"sim": 4, "robot": 8, "record": 4}
LEAST_DISK_GIB = {"sim": 2, "robot": 50, "record": 100}
"""To record: two hundred demonstrations of 20 s of four cameras."""
GPU_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)


def check_clocks(machine: Machine) -> list[Finding]:
    """The clock source (a slow one costs microseconds per call) and the wall clock's server."""
    path = machine.sysfs / "devices/system/clocksource/clocksource0/current_clocksource"
    source = read_text(path)
    if not source:
        checks = [Finding("clock source", Severity.SKIP, f"{path} cannot be read")]
    elif source in ("hpet", "acpi_pm", "jiffies"):
        fix = f"echo tsc | sudo tee {path}"
        checks = [Finding("clock source", Severity.WARN, f"{source} is slow to read", fix)]
    else:
        checks = [good("clock source", source)]
    answer = (
        machine.run(("timedatectl", "show", "-p", "NTPSynchronized", "--value")) or ""
    ).strip()
    if answer == "yes":
        checks.append(good("wall clock", "synchronised"))
    elif answer == "no":
        said = "not synchronised: recordings of two machines will not fit together"
        checks.append(Finding("wall clock", Severity.WARN, said, "sudo timedatectl set-ntp true"))
    else:
        checks.append(Finding("wall clock", Severity.SKIP, "timedatectl does not answer"))
    return checks


def check_memory(machine: Machine, purpose: str) -> Finding:
    """Free memory of the computer."""
    lines = read_text(machine.procfs / "meminfo").splitlines()
    words = [line.split() for line in lines if line.startswith("MemAvailable:")]
    if not words:
        return Finding("memory", Severity.SKIP, f"{machine.procfs / 'meminfo'} cannot be read")
    free_gib = int(words[0][1]) * 1024 / GIB
    if free_gib < LEAST_MEMORY_GIB[purpose]:
        said = f"{free_gib:.1f} GiB free, {LEAST_MEMORY_GIB[purpose]} are needed"
        return Finding(
            "memory", Severity.FAIL, said, "end other programs; `ps aux --sort=-rss | head`"
        )
    return good("memory", f"{free_gib:.1f} GiB free")


def check_gpu(machine: Machine, purpose: str) -> Finding:
    """The NVIDIA card, its free memory and driver. The tiny checkpoint plans without one."""
    lines = (machine.run(GPU_QUERY) or "").strip().splitlines()
    rows = [[word.strip() for word in line.split(",")] for line in lines]
    cards = [row for row in rows if len(row) == 4]
    if cards:
        listed = [f"{n}, {free} of {total} MiB free, driver {d}" for n, total, free, d in cards]
        return good("gpu", "; ".join(listed))
    present = machine.procfs / "driver" / "nvidia" / "version"
    if present.is_file():
        said = "there is a driver, but nvidia-smi does not answer"
        return Finding("gpu", Severity.FAIL, said, "sudo apt-get install nvidia-utils-550; reboot")
    if purpose == "sim":
        return good("gpu", "none; the tiny checkpoint runs on the processor")
    fix = "install the NVIDIA driver, or keep to the tiny checkpoint"
    return Finding("gpu", Severity.WARN, "none: only the tiny checkpoint can plan here", fix)


def check_dds(machine: Machine, profile: Path) -> list[Finding]:
    """Middleware, profile, shared memory and socket buffers, against what the profile asks for."""
    checks = [_middleware(machine)]
    try:
        root = ElementTree.parse(profile).getroot()
    except (OSError, ElementTree.ParseError) as error:
        message = f"{profile}: {error}"
        return [
            *checks,
            Finding("dds profile", Severity.FAIL, message, f"git checkout -- {profile}"),
        ]
    checks.append(_profile_variable(machine, profile))
    segment = _largest(root, "segment_size")
    buffer = max(_largest(root, "receiveBufferSize"), _largest(root, "sendBufferSize"))
    return [*checks, _shared_memory(machine, segment), *_socket_buffers(machine, buffer)]


def check_disk(machine: Machine, folder: Path, purpose: str) -> Finding:
    """Room for recordings and reports."""
    _, free = machine.disk_bytes(folder)
    if free < LEAST_DISK_GIB[purpose] * GIB:
        said = f"{free / GIB:.1f} GiB free at {folder}, {LEAST_DISK_GIB[purpose]} are needed"
        return Finding(
            "disk", Severity.FAIL, said, "free some, or set MVISTA_OUTPUT to another disk"
        )
    return good("disk", f"{free / GIB:.1f} GiB free at {folder}")


def check_taps(machine: Machine) -> Finding:
    """Whether cameras can hand their images undecoded to the recorder of the same user."""
    try:
        folder = tap_path("camera", machine.environment).parent
    except TapError as error:
        return Finding("taps", Severity.FAIL, str(error), "export XDG_RUNTIME_DIR=/run/user/$UID")
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK):
        said = f"{there} cannot be written: images would go by topics, which costs a core"
        return Finding("taps", Severity.FAIL, said, "export XDG_RUNTIME_DIR=/run/user/$UID")
    return good("taps", f"at {folder}")


def _middleware(machine: Machine) -> Finding:
    chosen = machine.environment.get(RMW_VARIABLE, "")
    if chosen not in ("", RMW):
        said = f"{RMW_VARIABLE} is {chosen}: the DDS profile is for {RMW}"
        return Finding("dds middleware", Severity.WARN, said, f"export {RMW_VARIABLE}={RMW}")
    return good("dds middleware", chosen or f"{RMW} (the default)")


def _profile_variable(machine: Machine, profile: Path) -> Finding:
    set_to = machine.environment.get(DDS_VARIABLE, "")
    if not set_to:
        said = f"{profile}; launch files set it, other shells do not have it"
        return Finding("dds profile", Severity.WARN, said, f"export {DDS_VARIABLE}={profile}")
    if not Path(set_to).is_file():
        said = f"{DDS_VARIABLE} names {set_to}, which is not there"
        return Finding("dds profile", Severity.FAIL, said, f"export {DDS_VARIABLE}={profile}")
    return good("dds profile", set_to)


def _shared_memory(machine: Machine, segment: int) -> Finding:
    # A segment per process: cameras, driver, executor, planning, task, rig, RViz.
    needed = 10 * segment
    total, free = machine.disk_bytes(machine.shared_memory)
    if free < needed:
        said = f"{machine.shared_memory} has {free / MIB:.0f} MiB free, {needed / MIB:.0f} are used"
        fix = f"sudo mount -o remount,size=2G {machine.shared_memory} (docker: shm_size: 2gb)"
        return Finding("shared memory", Severity.FAIL, said, fix)
    return good("shared memory", f"{free / MIB:.0f} of {total / MIB:.0f} MiB free")


def _socket_buffers(machine: Machine, needed: int) -> list[Finding]:
    checks = []
    for key in ("rmem_max", "wmem_max"):
        found = read_number(machine.procfs / "sys" / "net" / "core" / key)
        if found is None:
            checks.append(Finding(f"net.core.{key}", Severity.SKIP, "cannot be read"))
        elif found < needed:
            said = f"{found} bytes; the profile asks for {needed}, the kernel cuts it in silence"
            fix = f"sudo sysctl -w net.core.{key}={needed}"
            checks.append(Finding(f"net.core.{key}", Severity.WARN, said, fix))
        else:
            checks.append(good(f"net.core.{key}", f"{found} bytes"))
    return checks


def _largest(root: ElementTree.Element, tag: str) -> int:
    texts = [e.text or "" for e in root.iter() if e.tag.rpartition("}")[2] == tag]
    return max((int(text) for text in texts if text.strip().isdigit()), default=0)
