"""Which device is which camera of the rig: calibration wrote the serial numbers down."""

from __future__ import annotations

from pathlib import Path

from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig


def serial_in_rig(rig_file: Path | str, camera: str) -> str:
    """The serial number of one camera of a rig.

    Raises:
        ConfigError: the rig has no such camera, or knows no serial of it. RigError: no rig file.
    """
    rig = load_rig(rig_file)
    serials = {calibrated.name: calibrated.serial for calibrated in rig.cameras}
    if not serials.get(camera):
        raise ConfigError(
            f"rig '{rig.name}' ({rig_file}) has no serial number of '{camera}'; it knows "
            f"{serials}: calibrate this camera, or set `serial`"
        )
    return serials[camera]
