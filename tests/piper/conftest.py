"""The arm file, buses that close, and a port of one's own."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator

import can
import pytest

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm

_channels = itertools.count()


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    return load_arm(config_file("arms", "piper.yaml"))


@pytest.fixture
def channel() -> str:
    """A virtual channel of this test's own."""
    return f"piper-test-{next(_channels)}"


@pytest.fixture
def port() -> int:
    """A UDP port that nobody else uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def virtual_bus(channel: str) -> Iterator[Callable[[], can.BusABC]]:
    """Call it for one more node on the channel."""
    buses: list[can.BusABC] = []

    def join() -> can.BusABC:
        buses.append(can.Bus(interface="virtual", channel=channel))
        return buses[-1]

    yield join
    for bus in buses:
        bus.shutdown()
