"""What the drift watch found, as words and numbers for `/diagnostics`."""

from __future__ import annotations

import numpy as np

from mvista_calibration.drift.records import WARNING, DriftReport


def values_of(report: DriftReport) -> tuple[tuple[str, str], ...]:
    """Every estimate with its sigma (mm, deg), by camera and joint; then all cameras together."""
    values = []
    for camera in report.cameras:
        values.append(
            (
                camera.camera,
                f"{camera.state}: {camera.moved_m * 1e3:.2f} +- {camera.moved_sd_m * 1e3:.2f} mm, "
                f"{np.rad2deg(camera.turned_rad):.3f} +- {np.rad2deg(camera.turned_sd_rad):.3f} "
                f"deg, {camera.share:.0%} recognised",
            )
        )
    for joint in report.joints:
        values.append(
            (
                joint.joint,
                f"{joint.state}: {np.rad2deg(joint.offset_rad):.2f} +- "
                f"{np.rad2deg(joint.sd_rad):.2f} deg",
            )
        )
    values.append(("between cameras", f"{report.disagreement_m * 1e3:.1f} mm"))
    gaps = ", ".join(f"{gap * 1e3:.1f}" for gap in report.robot_gap_m)
    values.append(("cameras to robot", f"{gaps or 'not yet'} mm"))
    values.append(("warning", str(any(c.state == WARNING for c in report.cameras)).lower()))
    return tuple(values)
