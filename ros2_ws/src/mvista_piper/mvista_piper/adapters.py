"""Which CAN channel an adapter is, by its USB serial number instead of the order of `can0`, `can1`.

Re-plugging two adapters swaps their channel names, and with them leader and follower. The serial
stays. Only `/sys` is read, so the whole look-up runs on a fake tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mvista_core.errors import ConfigError

SYSFS = Path("/sys")
ARPHRD_CAN = "280"
"""`type` of a CAN network device, include/uapi/linux/if_arp.h."""


@dataclass(frozen=True)
class CanAdapter:
    """One CAN network device: its channel name, the serial of the USB device it hangs on ("" when
    it has none), whether it is up, and the length of its transmit queue in frames."""

    channel: str
    serial: str
    up: bool
    tx_queue_frames: int


def list_adapters(sysfs: Path = SYSFS) -> tuple[CanAdapter, ...]:
    """Every CAN device of this machine, ordered by channel name."""
    folder = sysfs / "class" / "net"
    devices = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(_adapter(device) for device in devices if _text(device / "type") == ARPHRD_CAN)


def find_channel(serial: str, sysfs: Path = SYSFS) -> str:
    """The channel of the adapter with this serial.

    Raises:
        ConfigError: no such adapter, or two channels of one adapter (name the channel then).
    """
    adapters = list_adapters(sysfs)
    found = [adapter.channel for adapter in adapters if adapter.serial == serial]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{a.channel} (serial '{a.serial}')" for a in adapters) or "none"
    if found:
        raise ConfigError(
            f"{len(found)} channels belong to CAN adapter '{serial}': {found}; set `channel`"
        )
    raise ConfigError(
        f"no CAN adapter with serial '{serial}'; there are: {there}. Plug it in, or read "
        "the serial with `udevadm info -a /sys/class/net/can0 | grep serial`"
    )


def _adapter(device: Path) -> CanAdapter:
    queue = _text(device / "tx_queue_len")
    return CanAdapter(
        channel=device.name,
        serial=_serial(device),
        # A CAN device that is up reads "up" or, with some drivers, "unknown"; a down one "down".
        up=_text(device / "operstate") in {"up", "unknown"},
        tx_queue_frames=int(queue) if queue.isdigit() else 0,
    )


def _serial(device: Path) -> str:
    """`device` links to the USB interface; its serial is in a folder above it."""
    link = device / "device"
    if not link.exists():
        return ""
    for folder in (link.resolve(), *link.resolve().parents):
        if (folder / "serial").is_file():
            return _text(folder / "serial")
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
