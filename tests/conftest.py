"""Settings every test shares: reproducible examples, and a ROS domain of this run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from mvista_core import realtime

# Domains 1 to 100 lie below the ports that Linux hands out by itself.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

settings.register_profile("mvista", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("mvista")


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """A node built in this process may have claimed real time; the next must not inherit it."""
    yield
    realtime.release()
