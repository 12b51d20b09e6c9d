"""The programs of this package; each imports what it runs only when it is called."""

from __future__ import annotations

from mvista_core.process import executable

calibration_node = executable("mvista_calibration_ros.calibration_node")
drift_node = executable("mvista_calibration_ros.drift_node")
