"""The sim node's parameters, declared once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mvista_ros.parameters import parameter
from mvista_sim.cameras import TofNoise


@dataclass(frozen=True)
class SimParameters:
    """See config/sim.yaml."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")
    rig_file: str = parameter("config/rigs/sim_cell.yaml", "The rig file: where the cameras are")
    arm: str = parameter("piper", "Namespace of the arm's topics")
    follow_arm: bool = parameter(
        False, "True: serve no arm, and move as <arm>/joint_states says another one does"
    )
    task: str = parameter("touch_cube", "What is laid out: touch_cube, open_drawer, put_orange")
    seed: int = parameter(0, "Object poses and distractors", 0, 2**32 - 1)
    joint_rate_hz: float = parameter(200.0, "Joint states per second", 50.0, 500.0)
    frame_rate_hz: float = parameter(15.0, "Images per second and camera", 1.0, 30.0)
    depth_noise_floor_m: float = parameter(0.0, "Depth noise, standard deviation at 0 m", 0.0, 0.1)
    depth_noise_slope_per_m: float = parameter(0.0, "Added times depth squared", 0.0, 0.1)
    depth_edge_m: float = parameter(
        0.0, "Depth is lost beside steps above this, 0: never", 0.0, 9.0
    )

    @property
    def noise(self) -> TofNoise:
        """The cameras' depth noise."""
        return TofNoise(
            self.depth_noise_floor_m, self.depth_noise_slope_per_m, self.depth_edge_m or math.inf
        )
