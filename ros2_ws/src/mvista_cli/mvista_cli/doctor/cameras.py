"""Orbbec cameras on USB: how many, on which link, and whether they are the rig's."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_bringup.finding import Finding, Severity, good
from mvista_cli.doctor.machine import Machine, read_number, read_text
from mvista_core.records import RigCalibration

ORBBEC = "2bc5"
"""USB vendor number."""
SUPER_SPEED_MBIT_S = 5000
USBFS_MB = 128


@dataclass(frozen=True)
class UsbCamera:
    """One Orbbec device: product text, serial, link speed in Mbit/s, its port."""

    product: str
    serial: str
    speed_mbit_s: int
    port: str


def list_cameras(machine: Machine) -> tuple[UsbCamera, ...]:
    """Every Orbbec device, ordered by port. A camera's own hub (no serial) is left out."""
    folder = machine.sysfs / "bus" / "usb" / "devices"
    devices = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(
        UsbCamera(
            read_text(device / "product"),
            read_text(device / "serial"),
            read_number(device / "speed") or 0,
            device.name,
        )
        for device in devices
        if read_text(device / "idVendor").lower() == ORBBEC and (device / "serial").is_file()
    )


def check_cameras(machine: Machine, rig: RigCalibration | None) -> list[Finding]:
    """A line per camera, one for those the rig names and nobody sees, one for usbfs memory."""
    cameras = list_cameras(machine)
    names = {c.serial: c.name for c in rig.cameras if c.serial} if rig is not None else {}
    checks = [_check(camera, names) for camera in cameras]
    missing = sorted(set(names) - {camera.serial for camera in cameras})
    if missing:
        listed = ", ".join(f"{names[serial]} ({serial})" for serial in missing)
        checks.append(
            Finding(
                "cameras",
                Severity.FAIL,
                f"the rig's {listed} not on USB",
                "connect 12 V supply and USB 3 cable, or choose another rig: --rig NAME",
            )
        )
    elif not cameras:
        fix = "connect 12 V supply and USB 3 cable; `lsusb -d 2bc5:` lists what is seen"
        checks.append(Finding("cameras", Severity.FAIL, "no Orbbec camera on USB", fix))
    return [*checks, _usbfs(machine)]


def _check(camera: UsbCamera, names: dict[str, str]) -> Finding:
    name = f"camera {names.get(camera.serial, camera.serial)}"
    said = f"{camera.product} {camera.serial} at {camera.port}, {camera.speed_mbit_s} Mbit/s"
    if camera.speed_mbit_s < SUPER_SPEED_MBIT_S:
        fix = "another USB 3 port or cable, plugged in firmly; one camera per host controller"
        return Finding(name, Severity.FAIL, f"{said}; {SUPER_SPEED_MBIT_S} are needed", fix)
    if names and camera.serial not in names:
        fix = "calibrate it (`mvista calibrate`) or unplug it"
        return Finding(name, Severity.WARN, f"{said}; not in the rig file", fix)
    return good(name, said)


def _usbfs(machine: Machine) -> Finding:
    path = machine.sysfs / "module" / "usbcore" / "parameters" / "usbfs_memory_mb"
    found = read_number(path)
    if found is None:
        return Finding("usbfs memory", Severity.SKIP, f"{path} cannot be read")
    # 0 is no limit.
    if 0 < found < USBFS_MB:
        fix = f"echo {USBFS_MB} | sudo tee {path}"
        return Finding("usbfs memory", Severity.FAIL, f"{found} MB, {USBFS_MB} are needed", fix)
    return good("usbfs memory", f"{found} MB" if found else "no limit")
