"""The simulated cell's rig: four Femto Bolts at a quarter of 1280x720 on an arc round the table.

`--emulated`: the same cameras at their full size, as `hardware:=emulated` has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mvista_core.geometry import look_at
from mvista_core.records import CameraCalibration, Intrinsics, RigCalibration
from mvista_core.rig import save_rig

CENTRE_M = (0.33, 0.0, 0.05)
RADIUS_M = 0.74
ELEVATION_DEG = 46.0
YAWS_DEG = (-66.0, -22.0, 22.0, 66.0)
# A Femto Bolt's 1280x720 colour intrinsics (fx 747.9, cx 634.7, cy 372.5) at a quarter.
INTRINSICS = Intrinsics(320, 180, 186.98, 186.81, 158.3, 92.75)
EMULATED = Intrinsics(1280, 720, 747.9, 747.2, 634.7, 372.5, (0.0784, -0.1104, 1e-4, -5e-5, 0.0465))
"""What the emulated cameras say of their lens (mvista_cameras/emulator/scene.py)."""

_SIMULATED = "sim_cell", INTRINSICS, "SIM"


def sim_rig(date: str, emulated: bool = False) -> RigCalibration:
    """Cameras cam0..cam3, known exactly."""
    name, lens, serial = ("emulated_cell", EMULATED, "EMU") if emulated else _SIMULATED
    cameras = []
    for k, yaw_deg in enumerate(YAWS_DEG):
        yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(ELEVATION_DEG)
        offset = RADIUS_M * np.array(
            [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
        )
        pose = look_at(np.array(CENTRE_M) + offset, np.array(CENTRE_M))
        cameras.append(CameraCalibration(f"cam{k}", pose, lens, f"{serial}{k}"))
    return RigCalibration(name, "piper_base", tuple(cameras), date, "pass")


def main() -> None:
    """Write the rig file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("config/rigs/sim_cell.yaml"))
    parser.add_argument("--date", default="2026-11-22")
    parser.add_argument("--emulated", action="store_true")
    arguments = parser.parse_args()
    save_rig(sim_rig(arguments.date, arguments.emulated), arguments.out)


if __name__ == "__main__":
    main()
