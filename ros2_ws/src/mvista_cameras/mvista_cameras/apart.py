"""How far apart colour and depth of one capture may be stamped, and what is said where they are."""

from __future__ import annotations

from mvista_cameras.profiles import ProfileChoice
from mvista_core.errors import CameraError


def check_tolerance(tolerance_s: float, choice: ProfileChoice) -> None:
    """Refuse a tolerance that is too large at the device's own rate.

    From half a period on the depth of the next capture could lie as near as its own. The settings
    know the rate that was asked for; a device may run at a multiple of it.

    Raises:
        CameraError: half a period or more.
    """
    rate_hz = choice.color.rate_hz
    if tolerance_s < 0.5 / rate_hz:
        return
    raise CameraError(
        f"pairing_tolerance_s is {tolerance_s:g} s; allowed: less than half a period of the "
        f"device, {0.5 / rate_hz:.4f} s at {rate_hz} Hz ({choice.keep_every} times rate_hz, which "
        "it does not offer); change it in config/cameras.yaml"
    )


def apart_words(apart_ns: int | None, tolerance_s: float, rate_hz: int) -> str:
    """Why images come and do not pair; `apart_ns`: of the nearest two, None where none meet."""
    if apart_ns is None:
        return (
            "colour and depth are stamped so far apart that none meets another: switch the "
            "camera's 12 V supply off and on"
        )
    return (
        f"colour and depth are {apart_ns / 1e6:.1f} ms apart at best, pairing_tolerance_s "
        f"allows {tolerance_s * 1e3:g} ms (a period is {1e3 / rate_hz:.1f} ms): set sync_role and "
        "index as the rig is wired, or allow what this camera leaves between them"
    )
