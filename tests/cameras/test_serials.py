"""A camera's serial number comes from the rig that it was calibrated in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mvista_cameras.serials import serial_in_rig
from mvista_core.errors import ConfigError, RigError
from mvista_core.rig import load_rig, save_rig

RIG_FILE = Path(__file__).parents[2] / "config" / "rigs" / "sim_cell.yaml"


def test_the_rig_knows_the_serials() -> None:
    rig = load_rig(RIG_FILE)
    assert [serial_in_rig(RIG_FILE, name) for name in rig.names] == [c.serial for c in rig.cameras]


def test_a_camera_that_was_not_calibrated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no serial number of 'cam7'"):
        serial_in_rig(RIG_FILE, "cam7")
    rig = load_rig(RIG_FILE)
    anonymous = replace(rig, cameras=tuple(replace(c, serial="") for c in rig.cameras))
    save_rig(anonymous, tmp_path / "rig.yaml")
    with pytest.raises(ConfigError, match="no serial number of 'cam0'"):
        serial_in_rig(tmp_path / "rig.yaml", "cam0")


def test_a_missing_rig_is_named() -> None:
    with pytest.raises(RigError, match="nowhere"):
        serial_in_rig("/nowhere/rig.yaml", "cam0")
