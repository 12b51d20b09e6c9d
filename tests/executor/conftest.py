"""The shipped arm and settings: what the executor's laws are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_core.arm import ArmModel, load_arm
from mvista_executor.settings import ExecutorSettings, load_settings

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    return load_arm(CONFIG / "arms" / "piper.yaml")


@pytest.fixture(scope="session")
def settings() -> ExecutorSettings:
    return load_settings(CONFIG / "executor.yaml")
