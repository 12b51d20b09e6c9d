"""Hardware sync: what each camera of a rig is told, and whether it did as told.

Femto Bolts know primary and secondary, through a sync hub. Their lasers disturb each other, so
each camera's depth exposure is moved by a laser time slot. The setting is known to be ignored
without an error: it is read back.
"""

from __future__ import annotations

from mvista_cameras.records import SyncConfig
from mvista_core.errors import CameraError, ConfigError

STANDALONE, PRIMARY, SECONDARY = "standalone", "primary", "secondary"
ROLES = (STANDALONE, PRIMARY, SECONDARY)

LASER_SLOT_US = 160
"""Time between two cameras' depth exposures (the figure of the Azure Kinect, same sensor)."""


def check_read_back(wanted: SyncConfig, read: SyncConfig, serial: str) -> None:
    """Compare what was set with what the device says.

    Raises:
        CameraError: they differ; names each field with both values.
    """
    names = ("role", "depth_delay_us", "color_delay_us", "trigger_out")
    wrong = [
        f"{name} is {getattr(read, name)!r}, set was {getattr(wanted, name)!r}"
        for name in names
        if getattr(read, name) != getattr(wanted, name)
    ]
    if wrong:
        raise CameraError(
            f"camera {serial} did not take its sync settings: {'; '.join(wrong)}. "
            "Check its firmware, the sync hub and cable, or set sync_role to standalone"
        )


def sync_for(role: str, index: int) -> SyncConfig:
    """The setting of camera `index` of a rig: its role and its laser's time slot.

    Raises:
        ConfigError: no such role.
    """
    if role not in ROLES:
        raise ConfigError(f"sync_role is '{role}'; allowed: {', '.join(ROLES)}")
    # Cameras that run freely have no common instant from which a slot would count.
    delay_us = 0 if role == STANDALONE else index * LASER_SLOT_US
    return SyncConfig(role, depth_delay_us=delay_us, trigger_out=role == PRIMARY)
