"""The arm file, and buses that close."""

from __future__ import annotations

import itertools
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
def virtual_bus(channel: str) -> Iterator[Callable[[], can.BusABC]]:
    """Call it for one more node on the channel."""
    buses: list[can.BusABC] = []

    def join() -> can.BusABC:
        buses.append(can.Bus(interface="virtual", channel=channel))
        return buses[-1]

    yield join
    for bus in buses:
        bus.shutdown()
