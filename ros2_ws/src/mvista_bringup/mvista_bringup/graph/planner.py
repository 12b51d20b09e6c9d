"""The planner by itself, on a machine with a card: the robot's launch has `planner:=elsewhere`.

What crosses between the two are topics and actions of one ROS domain: camera images while an
observation is taken, goals and their results, the rollout (compressed) where somebody looks at it.
"""

from __future__ import annotations

from mvista_bringup.graph.choices import (
    ARM_FILE,
    ARM_FILE_OPTION,
    ARM_OPTION,
    CHECKPOINT,
    CHECKPOINT_OPTION,
    RIG_FILE,
    RIG_OPTION,
)
from mvista_bringup.graph.spec import Entry, NodeSpec, Template, When
from mvista_bringup.options import NAMESPACE_OPTION, RunOption

HERE, ELSEWHERE = "here", "elsewhere"
PLANNER_PLACE_OPTION = RunOption(
    "planner",
    HERE,
    "elsewhere: on another machine, where planner.launch.py runs",
    (HERE, ELSEWHERE),
)

PLANNER_OPTIONS = (
    ARM_OPTION,
    ARM_FILE_OPTION,
    RIG_OPTION,
    CHECKPOINT_OPTION,
    RunOption("device", "auto", "where networks compute: auto (a card if any), cpu, cuda, cuda:0"),
    RunOption("precision", "auto", "their numbers", ("auto", "bf16", "fp32")),
    RunOption("offload", "none", "blocks: the backbone's wait beside the card", ("none", "blocks")),
    NAMESPACE_OPTION,
)


def planning_node(
    told: tuple[tuple[str, Template], ...] = (), when: tuple[When, ...] = ()
) -> NodeSpec:
    """The world model and action planner, for the arm that acts."""
    return NodeSpec(
        "mvista_planning",
        "planning_node",
        "planning",
        parameter_file="config/planning.yaml",
        parameters=(
            ARM_FILE,
            RIG_FILE,
            ("joint_topic", Template("{arm}/joint_states")),
            CHECKPOINT,
            *told,
        ),
        when=when,
    )


PLANNER: tuple[Entry, ...] = (
    planning_node(
        tuple((name, Template(f"{{{name}}}")) for name in ("device", "precision", "offload"))
    ),
)
