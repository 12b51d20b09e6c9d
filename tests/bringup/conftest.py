"""What the supervisor's tests start: real processes of the node table, and odd ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import NodeSpec
from mvista_bringup.options import option_values
from mvista_bringup.paths import share_root

HERE = Path(__file__).parent


@pytest.fixture
def values() -> dict[str, str]:
    """The options' defaults."""
    return option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))


@pytest.fixture
def rig_publisher() -> NodeSpec:
    """The lightest node of the table."""
    return next(spec for spec in SIM_DEMO if spec.name == "rig_publisher")


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> NodeSpec:
    """A process that ignores SIGINT and SIGTERM and has a child."""
    found = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    return NodeSpec("odd_nodes", "stubborn_node", "stubborn", required=False)
