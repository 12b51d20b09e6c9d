"""One cell for all tests of the simulator: compiling a model costs more than a reset."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mvista_bringup.paths import config_file
from mvista_core.arm import ArmModel, load_arm
from mvista_core.records import RigCalibration
from mvista_core.rig import load_rig
from mvista_sim.cell import SimCell


@pytest.fixture(scope="session")
def arm() -> ArmModel:
    return load_arm(config_file("arms", "piper.yaml"))


@pytest.fixture(scope="session")
def rig() -> RigCalibration:
    return load_rig(config_file("rigs", "sim_cell.yaml"))


@pytest.fixture(scope="session")
def shared_cell(arm: ArmModel, rig: RigCalibration) -> Iterator[SimCell]:
    cell = SimCell(arm, rig)
    yield cell
    cell.close()


@pytest.fixture
def cell(shared_cell: SimCell) -> SimCell:
    """The cell at the start of touch_cube 0."""
    shared_cell.reset("touch_cube", 0)
    return shared_cell
