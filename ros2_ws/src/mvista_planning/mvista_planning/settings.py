"""Parameters of the planning node."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core.records import STEPS_AS_USUAL
from mvista_ros.observation import ObservationLimits
from mvista_ros.parameters import parameter


@dataclass(frozen=True)
class PlanningParameters(ObservationLimits):
    """What it plans with, how, and what may be in an observation."""

    checkpoint: str = parameter(
        "models/checkpoints/tiny_views", "Folder of the world model's weights"
    )
    rig_file: str = parameter("config/rigs/sim_cell.yaml", "The rig file: cameras and their poses")
    arm_file: str = parameter("config/arms/piper.yaml", "The arm file: joints and limits")
    joint_topic: str = parameter("piper/joint_states", "Measured joints of the arm")
    initialisation: str = parameter("head", "Start of a goal that names none: head, random, null")
    steps: int = parameter(
        -1,
        "Optimisation steps of a goal that names no start; -1: as many as the weights take",
        -1,
        1000,
    )
    playback_hz: float = parameter(2.0, "Imagined frames published per second", 0.1, 30.0)
    voxel_m: float = parameter(0.004, "Voxel edge of the imagined cloud, 0 keeps all", 0.0, 0.1)
    view_mode: int = parameter(
        0, "1: all views in one run; 2: some first, the rest with those frozen; 0: as trained", 0, 2
    )
    precision: str = parameter("auto", "Numbers of the networks: auto, bf16 or fp32")
    device: str = parameter("auto", "Where networks compute: auto (a card if any), cpu, cuda:N")
    offload: str = parameter(
        "none", "What waits in memory beside a card: none, or blocks (of the backbone)"
    )
    compiled: bool = parameter(False, "Blocks by torch.compile, kept for the next start")
    tiled_decoding: bool = parameter(False, "Pictures larger than a tile in tiles: less memory")
    threads: int = parameter(0, "Processor threads of the networks, 0: all cores but one", 0, 256)
    niceness: int = parameter(5, "Nice value of this process: an arm goes first", 0, 19)


def steps_asked(parameter: int) -> int:
    """What a `steps` parameter asks a planner for."""
    return STEPS_AS_USUAL if parameter < 0 else parameter
