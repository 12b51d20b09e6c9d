"""The bus by adapter serial, on a fake sysfs laid out as the kernel does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_core.errors import ConfigError
from mvista_piper.adapters import CanAdapter, find_channel, list_adapters
from mvista_piper.bus import resolve_channel
from mvista_piper.settings import PiperSettings


def add_device(sysfs: Path, name: str, port: str, serial: str | None, kind: str = "280") -> None:
    """A network device on interface `port:1.0` of a USB device."""
    usb = sysfs / "devices" / "pci0" / "usb1" / port
    interface = usb / f"{port}:1.0"
    net = interface / "net" / name
    net.mkdir(parents=True)
    if serial is not None:
        (usb / "serial").write_text(f"{serial}\n")
    for key, value in (("type", kind), ("operstate", "up"), ("tx_queue_len", "10")):
        (net / key).write_text(f"{value}\n")
    (net / "device").symlink_to(interface)
    listed = sysfs / "class" / "net"
    listed.mkdir(parents=True, exist_ok=True)
    (listed / name).symlink_to(net)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    add_device(tmp_path, "can0", "1-1", "0031")
    add_device(tmp_path, "can1", "1-2", "0017")
    add_device(tmp_path, "eth0", "1-3", "aa", kind="1")
    return tmp_path


def test_a_channel_is_found_by_its_adapters_serial(sysfs: Path) -> None:
    assert find_channel("0017", sysfs) == "can1"
    assert find_channel("0031", sysfs) == "can0"


def test_swapping_the_usb_ports_does_not_swap_the_arms(tmp_path: Path) -> None:
    add_device(tmp_path, "can0", "1-2", "0017")
    add_device(tmp_path, "can1", "1-1", "0031")
    assert find_channel("0031", tmp_path) == "can1"


def test_every_can_device_and_no_other_is_listed(sysfs: Path) -> None:
    assert list_adapters(sysfs) == (
        CanAdapter("can0", "0031", True, 10),
        CanAdapter("can1", "0017", True, 10),
    )
    assert list_adapters(sysfs / "nowhere") == ()


def test_an_unknown_serial_is_answered_with_those_there_are(sysfs: Path) -> None:
    with pytest.raises(ConfigError, match=r"'9999'.*can0 \(serial '0031'\), can1"):
        find_channel("9999", sysfs)


def test_an_adapter_with_two_channels_needs_the_channel(sysfs: Path) -> None:
    add_device(sysfs, "can2", "1-9", "0031")
    with pytest.raises(ConfigError, match="2 channels"):
        find_channel("0031", sysfs)


def test_a_device_without_serial_is_listed_with_none(tmp_path: Path) -> None:
    add_device(tmp_path, "can0", "1-1", None)
    assert list_adapters(tmp_path)[0].serial == ""


def test_which_channel_is_opened(sysfs: Path) -> None:
    assert resolve_channel(PiperSettings(adapter_serial="0017"), sysfs) == "can1"
    assert resolve_channel(PiperSettings(channel="can0"), sysfs) == "can0"
    assert resolve_channel(PiperSettings(interface="virtual", channel="x"), sysfs) == "x"
    for wrong, said in (
        (PiperSettings(), "set `adapter_serial`.*can1"),
        (PiperSettings(adapter_serial="0017", channel="can0"), "is can1, `channel` says can0"),
        (PiperSettings(interface="virtual"), "needs `channel`"),
    ):
        with pytest.raises(ConfigError, match=said):
            resolve_channel(wrong, sysfs)


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="socketcan, udp_multicast, virtual"):
        PiperSettings(interface="slcan")
    with pytest.raises(ConfigError, match="longest_step_s"):
        PiperSettings(command_timeout_s=0.04)
