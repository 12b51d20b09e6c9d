"""Options and parameters that several graphs have."""

from __future__ import annotations

from mvista_bringup.graph.spec import NodeSpec, Template
from mvista_bringup.options import LARGEST, Kind, RunOption
from mvista_bringup.paths import DEFAULT_CHECKPOINT

SCENES = ("touch_cube", "open_drawer", "put_orange")


def whole(name: str, default: str, text: str, bounds: tuple[int, int] = (0, LARGEST)) -> RunOption:
    """An option that is a whole number."""
    return RunOption(name, default, text, kind=Kind.WHOLE, bounds=bounds)


ARM_OPTION = RunOption(
    "arm", "piper", "namespace of the arm that acts; <arm>_base is the rig's frame", kind=Kind.NAME
)
ARM_FILE_OPTION = RunOption(
    "arm_file", "piper", "a file of config/arms/, without .yaml", kind=Kind.FILE
)
RIG_OPTION = RunOption("rig", "sim_cell", "a file of config/rigs/, without .yaml", kind=Kind.FILE)
CHECKPOINT_OPTION = RunOption(
    "checkpoint", DEFAULT_CHECKPOINT, "a folder of models/checkpoints/", kind=Kind.FILE
)

PIPER_FILE = "{share}/config/arms/piper.yaml"
CHOSEN_ARM_FILE = "{share}/config/arms/{arm_file}.yaml"
"""Where a graph has the option `arm_file`."""
ARM_FILE = ("arm_file", Template(CHOSEN_ARM_FILE))
RIG_FILE = ("rig_file", Template("{share}/config/rigs/{rig}.yaml"))
CHECKPOINT = ("checkpoint", Template("{share}/models/checkpoints/{checkpoint}"))

RIG_PUBLISHER = NodeSpec(
    "mvista_bringup", "rig_publisher_node", "rig_publisher", parameters=(RIG_FILE,)
)
