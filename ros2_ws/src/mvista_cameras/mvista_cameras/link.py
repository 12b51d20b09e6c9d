"""Which USB link a device hangs on, and whether that is fast enough."""

from __future__ import annotations

import re

from mvista_core.errors import CameraError

MINIMUM_USB = 3.0
_USB = re.compile(r"USB\s*(\d+(?:\.\d+)?)", re.IGNORECASE)


def usb_version(connection: str) -> float | None:
    """3.1 for "USB3.1"; None for a link that is no USB (Ethernet) or is not known."""
    found = _USB.search(connection)
    return float(found.group(1)) if found else None


def check_link(connection: str, serial: str) -> None:
    """Pass a USB 3 link and one that is no USB at all.

    Raises:
        CameraError: USB 2 (480 Mbit/s); 1280x720 colour with depth does not fit.
    """
    # By what the link is, not what the port could be: Bolts come up as USB 2.1 on USB 3 ports, too.
    version = usb_version(connection)
    if version is not None and version < MINIMUM_USB:
        raise CameraError(
            f"camera {serial or '(no serial)'} is on {connection}, needed is USB {MINIMUM_USB:g} "
            "or faster: use the camera's USB 3 cable, a port on a controller of its own and the "
            "12 V supply, then plug it in again"
        )
