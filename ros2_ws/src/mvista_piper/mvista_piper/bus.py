"""Opening the arm's bus: python-can by interface, channel by adapter serial."""

from __future__ import annotations

from pathlib import Path

import can

from mvista_core.errors import BusLostError, ConfigError
from mvista_piper.adapters import SYSFS, find_channel, list_adapters
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.settings import PiperSettings

BITRATE = 1_000_000


def resolve_channel(settings: PiperSettings, sysfs: Path = SYSFS) -> str:
    """The channel to open: as named, or looked up by the adapter's serial.

    Raises:
        ConfigError: neither is set, or the serial is on no adapter, or on another channel.
    """
    if settings.interface != "socketcan":
        if not settings.channel:
            raise ConfigError(f"interface '{settings.interface}' needs `channel`")
        return settings.channel
    if not settings.adapter_serial:
        if settings.channel:
            return settings.channel
        there = [f"{a.channel} (serial '{a.serial}')" for a in list_adapters(sysfs)]
        raise ConfigError(
            "set `adapter_serial` (it survives re-plugging) or `channel`, e.g. can0; adapters "
            f"here: {', '.join(there) or 'none'}"
        )
    found = find_channel(settings.adapter_serial, sysfs)
    if settings.channel not in ("", found):
        raise ConfigError(
            f"adapter '{settings.adapter_serial}' is {found}, `channel` says {settings.channel}: "
            "leave one of them empty"
        )
    return found


def open_bus(settings: PiperSettings, sysfs: Path = SYSFS) -> can.BusABC:
    """The bus of one arm: classic CAN, own frames not received.

    Raises:
        ConfigError: the channel cannot be told. BusLostError: it cannot be opened.
    """
    channel = resolve_channel(settings, sysfs)
    try:
        if settings.interface == "udp_multicast":
            return LoopbackBus(channel, settings.udp_port)
        return can.Bus(interface=settings.interface, channel=channel, receive_own_messages=False)
    except (can.CanError, OSError) as error:
        raise BusLostError(
            f"cannot open {settings.interface} channel '{channel}': {error}; bring it up with "
            f"`ip link set {channel} up type can bitrate {BITRATE} restart-ms 100`"
        ) from None
