"""The board node's parameters."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_calibration_sim.board_cell import GRIPPER, CellSession
from mvista_ros.parameters import parameter


@dataclass(frozen=True)
class BoardParameters:
    """See config/board_sim.yaml."""

    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and kinematics")
    arm: str = parameter("piper", "Namespace of the arm's topics")
    seed: int = parameter(0, "Places, lenses, depth sensors", 0, 2**32 - 1)
    places: int = parameter(24, "Where the board is carried, one after another", 1, 100)
    board_at: str = parameter(GRIPPER, "Who holds it: gripper, or table (nobody)")
    colour_width_px: int = parameter(3840, "Of the colour images: 3840, 1920, 1280, 640")
    depth_width_px: int = parameter(640, "Of the depth images")
    frame_rate_hz: float = parameter(2.0, "Images per second and camera, at most", 0.1, 30.0)
    move_s: float = parameter(1.5, "From one place to the next, s", 0.1, 60.0)
    hold_s: int = parameter(0, "Stay so many seconds, then move on; 0: when told", 0, 600)
    truth_file: str = parameter("", "Where the truth is written (YAML); empty: nowhere")

    @property
    def session(self) -> CellSession:
        """The same for the cell; `CalibrationError` when it cannot be."""
        return CellSession(
            self.seed,
            shots=self.places,
            board_at=self.board_at,
            colour_width_px=self.colour_width_px,
            depth_width_px=self.depth_width_px,
        )
