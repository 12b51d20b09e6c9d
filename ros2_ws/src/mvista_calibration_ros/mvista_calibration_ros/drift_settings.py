"""The drift node's parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_calibration.drift.watch import DriftSettings
from mvista_ros.parameters import parameter


@dataclass(frozen=True)
class DriftParameters:
    """What is watched, how often, and from which size on it is said."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and kinematics")
    rig_file: str = parameter("config/rigs/sim_cell.yaml", "The rig file: where the cameras are")
    arm: str = parameter("piper", "Namespace of the arm; empty: watch the cameras only")
    baseline_file: str = parameter(
        "", "Backgrounds (.npz) to compare with; learned and written if missing; empty: learn"
    )
    period_s: float = parameter(2.0, "Between two looks at the same camera", 0.5, 30.0)
    learn_frames: int = parameter(
        25, "Frames per camera that the background is learned from", 5, 600
    )
    window: int = parameter(12, "Frames that an estimate is the median of", 3, 120)
    persistence: int = parameter(
        5, "Estimates in a row beyond the threshold before a warning", 1, 60
    )
    warn_mm: float = parameter(
        5.0, "Threshold of a camera's step (1 cm must be noticed)", 1.0, 100.0
    )
    warn_deg: float = parameter(
        0.5, "Threshold of a camera's turn (1 deg must be noticed)", 0.1, 20.0
    )
    joint_warn_deg: float = parameter(1.0, "Threshold of a joint's zero offset", 0.2, 20.0)

    def settings(self) -> DriftSettings:
        """The same for the watch."""
        return DriftSettings(
            learn_frames=self.learn_frames,
            window=self.window,
            persistence=self.persistence,
            warn_m=self.warn_mm / 1e3,
            warn_rad=float(np.deg2rad(self.warn_deg)),
            joint_warn_rad=float(np.deg2rad(self.joint_warn_deg)),
        )
