"""The simulated cell's rig: four Femto Bolts at a quarter of 1280x720 on an arc round the table."""

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


def sim_rig(date: str) -> RigCalibration:
    """Cameras cam0..cam3, known exactly."""
    cameras = []
    for k, yaw_deg in enumerate(YAWS_DEG):
        yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(ELEVATION_DEG)
        offset = RADIUS_M * np.array(
            [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
        )
        pose = look_at(np.array(CENTRE_M) + offset, np.array(CENTRE_M))
        cameras.append(CameraCalibration(f"cam{k}", pose, INTRINSICS, f"SIM{k}"))
    return RigCalibration("sim_cell", "piper_base", tuple(cameras), date, "pass")


def main() -> None:
    """Write the rig file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("config/rigs/sim_cell.yaml"))
    parser.add_argument("--date", default="2026-11-22")
    arguments = parser.parse_args()
    save_rig(sim_rig(arguments.date), arguments.out)


if __name__ == "__main__":
    main()
