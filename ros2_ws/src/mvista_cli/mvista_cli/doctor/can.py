"""CAN buses: there, up, at the arm's bit rate, recovering by themselves, with room in the queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mvista_bringup.finding import Finding, Severity, good
from mvista_cli.doctor.machine import Machine
from mvista_piper.adapters import CanAdapter, list_adapters

BITRATE = 1_000_000
SHORTEST_QUEUE = 100
RESTART_MS = 100
IP = ("ip", "-json", "-details", "link", "show", "type", "can")


@dataclass(frozen=True)
class CanLink:
    """What `ip` says of one CAN device; 0 and "" where it says nothing."""

    channel: str
    state: str
    bitrate: int
    restart_ms: int


def parse_links(text: str) -> tuple[CanLink, ...]:
    """The output of `ip -json -details link show type can`; () when it is none."""
    try:
        documents = json.loads(text or "[]")
        return tuple(_link(document) for document in documents if document)
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def check_buses(machine: Machine) -> list[Finding]:
    """One line per CAN device: its state, bit rate, restart time and transmit queue."""
    adapters = list_adapters(machine.sysfs)
    if not adapters:
        return [
            Finding(
                "can",
                Severity.FAIL,
                "no CAN adapter",
                "plug in the USB-CAN adapter (one per arm), then `sudo modprobe gs_usb`",
            )
        ]
    links = {link.channel: link for link in parse_links(machine.run(IP) or "")}
    return [_check(adapter, links.get(adapter.channel)) for adapter in adapters]


def channels_up(machine: Machine) -> Sequence[CanAdapter]:
    """The CAN devices that are up."""
    return [adapter for adapter in list_adapters(machine.sysfs) if adapter.up]


def _check(adapter: CanAdapter, link: CanLink | None) -> Finding:
    channel, name = adapter.channel, f"can {adapter.channel}"
    about = f"serial '{adapter.serial}'"
    bring_up = (
        f"sudo sh -c 'ip link set {channel} down; ip link set {channel} up type can bitrate "
        f"{BITRATE} restart-ms {RESTART_MS}; ip link set {channel} txqueuelen 1000'"
    )
    if not adapter.up:
        return Finding(name, Severity.FAIL, f"{about}, down", bring_up)
    if link is not None and link.bitrate not in (0, BITRATE):
        found = f"{about}, {link.bitrate} bit/s; the arm speaks {BITRATE}"
        return Finding(name, Severity.FAIL, found, bring_up)
    if link is not None and link.state in ("BUS-OFF", "ERROR-PASSIVE", "STOPPED"):
        found = f"{about}, {link.state}: check cable, termination and the arm's power"
        return Finding(name, Severity.FAIL, found, bring_up)
    if adapter.tx_queue_frames < SHORTEST_QUEUE:
        found = f"{about}, transmit queue of {adapter.tx_queue_frames} frames"
        fix = f"sudo ip link set {channel} txqueuelen 1000"
        return Finding(name, Severity.WARN, f"{found}, {SHORTEST_QUEUE} or more are asked for", fix)
    if link is None or not link.bitrate:
        found = f"{about}, up; its bit rate cannot be read"
        return Finding(name, Severity.WARN, found, "sudo apt-get install iproute2")
    if not link.restart_ms:
        found = f"{about}, does not restart after bus-off"
        return Finding(name, Severity.WARN, found, bring_up)
    return good(
        name,
        f"{about}, {link.state or 'up'}, {link.bitrate} bit/s, queue {adapter.tx_queue_frames}, "
        f"restart after {link.restart_ms} ms",
    )


def _link(document: dict[str, Any]) -> CanLink:
    data = document.get("linkinfo", {}).get("info_data", {})
    return CanLink(
        str(document["ifname"]),
        str(data.get("state", "")),
        int(data.get("bittiming", {}).get("bitrate", 0)),
        int(data.get("restart_ms", 0)),
    )
