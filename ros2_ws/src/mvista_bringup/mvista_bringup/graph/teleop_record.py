"""Demonstrations: leader and follower, the cameras, and the recorder, here or in a terminal beside.

`hardware:=emulated` has both arms at an emulated CAN wire and Femto Bolts with an emulated SDK;
`hardware:=sim` the simulated cell and a leader in a hand that is not there, whose wiring is always
`host`. No executor: whoever teleoperates is the only writer of set-points.
"""

from __future__ import annotations

from dataclasses import replace

from mvista_bringup.graph.cameras import CAMERA_SYNC_OPTION, emulated_cameras, real_cameras
from mvista_bringup.graph.choices import (
    ARM_FILE,
    RIG_FILE,
    RIG_PUBLISHER,
    SCENES,
    whole,
)
from mvista_bringup.graph.robot import EMULATED, REAL
from mvista_bringup.graph.spec import Entry, NodeSpec, Template, When
from mvista_bringup.graph.teleop import ARMS, HOST, PAIR_OPTIONS, coupling
from mvista_bringup.options import NAMESPACE_OPTION, Kind, RunOption

SIM = "sim"
TERMINAL, NODE = "terminal", "node"
EMULATED_RIG = "emulated_cell"

TELEOP_RECORD_OPTIONS = (
    RunOption(
        "hardware",
        REAL,
        "real; emulated: both arms and the cameras; sim: the simulated cell",
        (REAL, EMULATED, SIM),
    ),
    *PAIR_OPTIONS,
    RunOption(
        "rig",
        "sim_cell",
        f"a file of config/rigs/, without .yaml; emulated: always {EMULATED_RIG}",
        kind=Kind.FILE,
    ),
    CAMERA_SYNC_OPTION,
    RunOption(
        "recorder",
        TERMINAL,
        "terminal: run `mvista record` beside; node: services recorder/start, end, label",
        (TERMINAL, NODE),
    ),
    RunOption("episodes", "build/episodes", "of the node: the folder that they are written to"),
    RunOption("task", SCENES[0], "sim: the scene", SCENES),
    whole("seed", "0", "sim: object poses, distractors, the hand's manner"),
    NAMESPACE_OPTION,
)

_REAL, _EMULATED, _SIM = (When("hardware", value) for value in (REAL, EMULATED, SIM))
_NO_SIM, _NOT_EMULATED = (When("hardware", value, equal=False) for value in (SIM, EMULATED))
_EMULATED_RIG_FILE = ("rig_file", Template(f"{{share}}/config/rigs/{EMULATED_RIG}.yaml"))
_SCENE = (
    ARM_FILE,
    RIG_FILE,
    ("task", Template("{task}")),
    ("seed", Template("{seed}", int)),
)


def _of_each_rig(row: NodeSpec, *when: When) -> tuple[NodeSpec, NodeSpec]:
    """A row that needs the rig, told the one that fits the cameras."""
    return (
        replace(row, parameters=(*row.parameters, RIG_FILE), when=(*when, _NOT_EMULATED)),
        replace(row, parameters=(*row.parameters, _EMULATED_RIG_FILE), when=(*when, _EMULATED)),
    )


_RECORDER = NodeSpec(
    "mvista_recorder",
    "recorder_node",
    "recorder",
    parameter_file="config/recorder.yaml",
    parameters=(
        ARM_FILE,
        ("root", Template("{episodes}")),
        ("arms", Template("{arm}", tuple)),
        (
            "topics",
            Template("{leader}/joint_states {leader}/status teleop/state /diagnostics", tuple),
        ),
    ),
)

TELEOP_RECORD: tuple[Entry, ...] = (
    *ARMS,
    coupling(Template("{wiring}"), (_NO_SIM,)),
    coupling(HOST, (_SIM,)),
    *real_cameras(RIG_FILE, (), _REAL),
    emulated_cameras(_EMULATED_RIG_FILE, _EMULATED),
    NodeSpec(
        "mvista_sim",
        "sim_node",
        "sim",
        parameter_file="config/sim.yaml",
        parameters=(*_SCENE, ("arm", Template("{arm}"))),
        when=(_SIM,),
    ),
    NodeSpec(
        "mvista_sim",
        "simulated_leader_node",
        "reader",
        "{leader}",
        parameters=_SCENE,
        when=(_SIM,),
    ),
    *_of_each_rig(replace(RIG_PUBLISHER, parameters=())),
    *_of_each_rig(_RECORDER, When("recorder", NODE)),
)
