"""What watches a robot or a demo: RViz with plan, ghost and workspace; the drift watch."""

from __future__ import annotations

from mvista_bringup.graph.arm import state_publisher
from mvista_bringup.graph.choices import (
    ARM_FILE,
    ARM_FILE_OPTION,
    ARM_OPTION,
    RIG_FILE,
    RIG_OPTION,
)
from mvista_bringup.graph.spec import (
    CellUrdf,
    Entry,
    NodeSpec,
    RigRows,
    RvizConfig,
    Template,
    When,
)
from mvista_bringup.options import FALSE, NAMESPACE_OPTION, TRUE, RunOption

MONITOR_OPTIONS = (
    ARM_OPTION,
    ARM_FILE_OPTION,
    RIG_OPTION,
    RunOption("model", FALSE, "also describe the arm: for the demo, which does not", (TRUE, FALSE)),
    RunOption("robot_monitor", FALSE, "also start rqt_robot_monitor", (TRUE, FALSE)),
    NAMESPACE_OPTION,
)

_ARM_ARGUMENTS = (("arm", Template("{arm}")), ARM_FILE)
CELL_URDF = CellUrdf((*_ARM_ARGUMENTS, RIG_FILE))
"""The arm that acts, with the rig's cameras on its base."""


def watching(when: tuple[When, ...] = ()) -> tuple[Entry, ...]:
    """The plan as a path and as a ghost, the workspace, what is wrong; and RViz to see it all."""
    return (
        NodeSpec(
            "mvista_bringup",
            "cell_display_node",
            "cell_display",
            parameters=(
                ARM_FILE,
                ("arm", Template("{arm}")),
                ("executor_file", Template("{share}/config/executor.yaml")),
            ),
            required=False,
            when=when,
        ),
        state_publisher("{arm}/planned", CellUrdf(_ARM_ARGUMENTS), "planned/", when),
        RigRows(RIG_FILE[1], _rviz, when),
    )


def _rviz(cameras: tuple[str, ...]) -> tuple[NodeSpec, ...]:
    return (
        NodeSpec(
            "rviz2",
            "rviz2",
            "rviz",
            # Depth is registered to colour: its cloud needs the colour camera's intrinsics.
            remappings=tuple(
                (f"{name}/depth/camera_info", f"{name}/color/camera_info") for name in cameras
            ),
            arguments=(
                "-d",
                RvizConfig(
                    Template("{share}/config/rviz/mvista4d.rviz"), Template("{arm}"), RIG_FILE[1]
                ),
            ),
            required=False,
            apt=True,
        ),
    )


MONITOR: tuple[Entry, ...] = (
    *watching(),
    NodeSpec(
        "mvista_calibration_ros",
        "drift_node",
        "drift",
        parameter_file="config/drift.yaml",
        parameters=(ARM_FILE, RIG_FILE, ("arm", Template("{arm}"))),
        required=False,
    ),
    state_publisher("{arm}", CELL_URDF, when=(When("model", TRUE),)),
    NodeSpec(
        "rqt_robot_monitor",
        "rqt_robot_monitor",
        "robot_monitor",
        required=False,
        when=(When("robot_monitor", TRUE),),
        apt=True,
    ),
)
