"""The launch files with their tables, and every combination of their arguments."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvista_bringup.graph.calibrate import CALIBRATE, CALIBRATE_OPTIONS
from mvista_bringup.graph.monitor import MONITOR, MONITOR_OPTIONS
from mvista_bringup.graph.planner import PLANNER, PLANNER_OPTIONS
from mvista_bringup.graph.replay import REPLAY, REPLAY_OPTIONS
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import EMULATED_DEMO, SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import Entry
from mvista_bringup.graph.teleop import TELEOP
from mvista_bringup.graph.teleop_record import TELEOP_RECORD, TELEOP_RECORD_OPTIONS
from mvista_bringup.options import RunOption, option_values
from mvista_bringup.paths import share_root
from mvista_core.rig import load_rig

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Launch:
    """A launch file, its table, and further choices of those arguments that take any text."""

    file: str
    graph: tuple[Entry, ...]
    options: tuple[RunOption, ...]
    texts: tuple[dict[str, str], ...]

    def values(self, chosen: Mapping[str, str]) -> dict[str, str]:
        return option_values(self.options, chosen, str(share_root()))

    def combinations(self) -> Iterator[dict[str, str]]:
        """Every combination of the arguments that have choices, the texts in turn."""
        switches = [option for option in self.options if option.choices]
        texts = itertools.cycle(self.texts)
        for values in itertools.product(*(option.choices for option in switches)):
            yield {**{o.name: v for o, v in zip(switches, values, strict=True)}, **next(texts)}


SIM = Launch("sim_demo.launch.py", SIM_DEMO, SIM_DEMO_OPTIONS, ({}, {"seed": "7"}))
ROBOT = Launch(
    "real_robot.launch.py",
    REAL_ROBOT,
    REAL_ROBOT_OPTIONS,
    (
        {"can_serial": "0017"},
        {"second_arm": "right", "second_can_channel": "can1", "namespace": "cell_a"},
        {"instruction": "open the drawer", "seed": "4"},
        {"arm": "left", "rig": "left_cell", "second_arm": "right", "namespace": "lab/cell_b"},
    ),
)
MONITORED = Launch("monitor.launch.py", MONITOR, MONITOR_OPTIONS, ({}, {"namespace": "cell_a"}))
CALIBRATION = Launch(
    "calibrate.launch.py",
    CALIBRATE,
    CALIBRATE_OPTIONS,
    ({}, {"arm": "left", "session": "sessions/monday", "namespace": "cell_a"}),
)
RECORDING = Launch(
    "teleop_record.launch.py",
    TELEOP_RECORD,
    TELEOP_RECORD_OPTIONS,
    (
        {"can_serial": "0017", "leader_can_serial": "0018"},
        {"leader": "hand", "hand": "hand.csv", "namespace": "cell_a"},
    ),
)
EPISODE = Path(tempfile.mkdtemp(prefix="mvista-launch-")) / "episode"
"""Enough of one for a look before the start."""
EPISODE.mkdir()
(EPISODE / "episode.mcap").touch()
atexit.register(shutil.rmtree, EPISODE.parent, ignore_errors=True)
REPLAYING = Launch(
    "replay.launch.py",
    REPLAY,
    REPLAY_OPTIONS,
    ({"episode": str(EPISODE)}, {"episode": str(EPISODE), "speed": "2", "namespace": "cell_a"}),
)
PLANNING = Launch(
    "planner.launch.py",
    PLANNER,
    PLANNER_OPTIONS,
    ({}, {"device": "cuda:0", "namespace": "cell_a"}),
)
LAUNCHES = (SIM, ROBOT, MONITORED, PLANNING, CALIBRATION, RECORDING, REPLAYING)
GRAPHS = (
    *SIM_DEMO,
    *EMULATED_DEMO,
    *REAL_ROBOT,
    *MONITOR,
    *PLANNER,
    *CALIBRATE,
    *TELEOP,
    *TELEOP_RECORD,
    *REPLAY,
)
SHIPPED_RIG = {"share": str(share_root()), "rig": "sim_cell"}
RIG = load_rig(share_root() / "config" / "rigs" / "sim_cell.yaml")
CAMERAS = RIG.names


def launch_id(value: Any) -> str:
    return value.file if isinstance(value, Launch) else ",".join(value.values()) or "defaults"
