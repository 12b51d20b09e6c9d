"""Parameters of the recorder's node."""

from __future__ import annotations

from dataclasses import dataclass

from mvista_core.errors import ConfigError
from mvista_ros.parameters import parameter


@dataclass(frozen=True)
class EpisodeRecorderParameters:
    """What is recorded, where to, and what must be in order before it begins."""

    root: str = parameter("", "Folder that episodes are written to, each in one of its own")
    rig_file: str = parameter("", "The rig file: cameras, and where they are")
    arm_file: str = parameter("", "The arm file: joints and limits")
    cameras: tuple[str, ...] = parameter(("",), "Cameras to record; one empty name: all the rig's")
    arms: tuple[str, ...] = parameter(("piper",), "Arms to record, by their namespaces")
    camera_rate_hz: float = parameter(15.0, "Below nine tenths of it a camera is slow", 0.1, 120.0)
    joint_rate_hz: float = parameter(200.0, "The same of joint states", 1.0, 1000.0)
    topics: tuple[str, ...] = parameter(
        ("leader/joint_states", "leader/status", "teleop/state", "/diagnostics"),
        "More topics, recorded where they are there; their types are those of the graph",
    )
    least_free_gib: float = parameter(2.0, "Of the disk, left to others", 0.0, 1e6)
    queue_mib: int = parameter(256, "Waits in memory at most", 1, 65536)

    def __post_init__(self) -> None:
        empty = [name for name in ("root", "rig_file", "arm_file") if not getattr(self, name)]
        if empty:
            raise ConfigError(f"parameters {empty} are empty: name a folder, a rig and an arm file")
