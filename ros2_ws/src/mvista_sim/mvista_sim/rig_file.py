"""The simulated cell's rigs: Femto Bolts at a quarter of 1280x720, four on an arc round the table,
the same with a fifth above, and the four at their full size, as `hardware:=emulated` has them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mvista_core.geometry import look_at
from mvista_core.records import CameraCalibration, Intrinsics, RigCalibration
from mvista_core.rig import save_rig

CENTRE_M = (0.33, 0.0, 0.05)
ARC = ((-66.0, 46.0, 0.74), (-22.0, 46.0, 0.74), (22.0, 46.0, 0.74), (66.0, 46.0, 0.74))
"""Azimuth and pitch (degrees) and distance (m) round the centre."""
ABOVE = (0.0, 62.0, 0.85)
# A Femto Bolt's 1280x720 colour intrinsics (fx 747.9, cx 634.7, cy 372.5) at a quarter.
INTRINSICS = Intrinsics(320, 180, 186.98, 186.81, 158.3, 92.75)
EMULATED = Intrinsics(1280, 720, 747.9, 747.2, 634.7, 372.5, (0.0784, -0.1104, 1e-4, -5e-5, 0.0465))
"""What the emulated cameras say of their lens (mvista_cameras/emulator/scene.py)."""


def sim_rig(date: str, fifth: bool = False) -> RigCalibration:
    """Cameras cam0..cam3, with `fifth` cam4 too, known exactly."""
    return _rig("sim_cell_five" if fifth else "sim_cell", date, fifth, INTRINSICS, "SIM")


def emulated_rig(date: str) -> RigCalibration:
    """The four of `sim_rig` with the emulated cameras' lens and serial numbers."""
    return _rig("emulated_cell", date, False, EMULATED, "EMU")


def _rig(name: str, date: str, fifth: bool, lens: Intrinsics, serial: str) -> RigCalibration:
    cameras = []
    for k, (azimuth_deg, pitch_deg, distance_m) in enumerate((*ARC, ABOVE) if fifth else ARC):
        yaw, pitch = np.deg2rad(azimuth_deg), np.deg2rad(pitch_deg)
        offset = distance_m * np.array(
            [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
        )
        pose = look_at(np.array(CENTRE_M) + offset, np.array(CENTRE_M))
        cameras.append(CameraCalibration(f"cam{k}", pose, lens, f"{serial}{k}"))
    return RigCalibration(name, "piper_base", tuple(cameras), date, "pass")


def main() -> None:
    """Write the rig files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("config/rigs"))
    parser.add_argument("--date", default="2026-11-22")
    arguments = parser.parse_args()
    date = arguments.date
    for rig in (sim_rig(date), sim_rig(date, fifth=True), emulated_rig(date)):
        save_rig(rig, arguments.out / f"{rig.name}.yaml")


if __name__ == "__main__":
    main()
