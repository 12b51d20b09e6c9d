"""The arm that holds the board."""

from __future__ import annotations

import pytest

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    return load_arm(config_file("arms", "piper.yaml"))
