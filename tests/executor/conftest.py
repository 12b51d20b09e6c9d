"""The shipped arm and settings: what the executor's laws are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mvista_core.arm import ArmModel, load_arm
from mvista_core.executor_settings import ExecutorSettings, load_settings

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    return load_arm(CONFIG / "arms" / "piper.yaml")


@pytest.fixture(scope="session")
def shipped() -> ExecutorSettings:
    return load_settings(CONFIG / "executor.yaml")


@pytest.fixture(scope="session")
def settings(shipped: ExecutorSettings) -> ExecutorSettings:
    """The shipped ones in a box that holds all of the arm's reach: laws over random joints."""
    return replace(shipped, workspace_lower_m=(-2.0, -2.0, -2.0), workspace_upper_m=(2.0, 2.0, 2.0))
