"""Opening the arm's bus: python-can by interface, channel by adapter serial."""

from __future__ import annotations

from pathlib import Path

import can
from can.typechecking import CanFilter

from mvista_core.errors import BusLostError, ConfigError
from mvista_piper.adapters import SYSFS, find_channel, list_adapters
from mvista_piper.emulator.loopback import LoopbackBus
from mvista_piper.settings import BusSettings

BITRATE = 1_000_000
_ID_BITS = 11


def resolve_channel(settings: BusSettings, sysfs: Path = SYSFS) -> str:
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


def filters_without(skipped: frozenset[int]) -> list[CanFilter] | None:
    """python-can's filters that let all pass but these 11-bit ids; None: all. The kernel applies
    them: what nobody reads costs no process anything."""
    if not skipped:
        return None
    # Let through, for the link counts them as somebody else's.
    every_29_bit_id = CanFilter(can_id=0, can_mask=0, extended=True)
    return [every_29_bit_id, *_blocks_without(skipped, 0, _ID_BITS)]


def _blocks_without(skipped: frozenset[int], first: int, bits: int) -> list[CanFilter]:
    """The largest aligned blocks of the 2 ** `bits` ids from `first` on that hold none of these."""
    if not any(first <= can_id < first + (1 << bits) for can_id in skipped):
        # A filter is an id and a mask: what it lets pass is an aligned block of a power of two.
        mask = ((1 << _ID_BITS) - 1) & ~((1 << bits) - 1)
        return [CanFilter(can_id=first, can_mask=mask, extended=False)]
    if not bits:
        return []
    half = 1 << (bits - 1)
    return [
        *_blocks_without(skipped, first, bits - 1),
        *_blocks_without(skipped, first + half, bits - 1),
    ]


def open_bus(
    settings: BusSettings, skipped: frozenset[int] = frozenset(), sysfs: Path = SYSFS
) -> can.BusABC:
    """The bus of one arm: classic CAN, own frames not received, nor those with an id of `skipped`.

    Raises:
        ConfigError: the channel cannot be told. BusLostError: it cannot be opened.
    """
    channel = resolve_channel(settings, sysfs)
    try:
        if settings.interface == "udp_multicast":
            # python-can's own needs a network, gives own frames back and cannot refuse any.
            return LoopbackBus(channel, settings.udp_port, skipped=skipped)
        # An own frame that came back would be a second writer's to the link.
        return can.Bus(
            interface=settings.interface,
            channel=channel,
            receive_own_messages=False,
            can_filters=filters_without(skipped),
        )
    except (can.CanError, OSError) as error:
        raise BusLostError(
            f"cannot open {settings.interface} channel '{channel}': {error}; bring it up with "
            f"`ip link set {channel} up type can bitrate {BITRATE} restart-ms 100`"
        ) from None
