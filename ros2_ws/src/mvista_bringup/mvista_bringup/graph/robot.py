"""The real robot's graph. `hardware:=emulated` rehearses it without hardware: the arm is emulated
at its CAN wire, and the simulated cell, whose arm follows it, has the cameras.
"""

from __future__ import annotations

from mvista_bringup.graph.arm import (
    ArmSite,
    emulated_driver,
    executor,
    real_driver,
    state_publisher,
)
from mvista_bringup.graph.cameras import CAMERA_SYNC_OPTION, real_cameras
from mvista_bringup.graph.choices import (
    ARM_FILE,
    ARM_FILE_OPTION,
    ARM_OPTION,
    CHECKPOINT_OPTION,
    CHOSEN_ARM_FILE,
    RIG_FILE,
    RIG_OPTION,
    RIG_PUBLISHER,
    SCENES,
    whole,
)
from mvista_bringup.graph.monitor import CELL_URDF, watching
from mvista_bringup.graph.planner import HERE, PLANNER_PLACE_OPTION, planning_node
from mvista_bringup.graph.spec import (
    CellUrdf,
    Entry,
    NodeSpec,
    ProcessSpec,
    Spec,
    Template,
    When,
)
from mvista_bringup.options import FALSE, NAMESPACE_OPTION, PORTS, TRUE, Kind, RunOption

REAL, EMULATED = "real", "emulated"

REAL_ROBOT_OPTIONS = (
    RunOption("hardware", REAL, "real, or emulated: rehearse without any", (REAL, EMULATED)),
    ARM_OPTION,
    ARM_FILE_OPTION,
    RIG_OPTION,
    CHECKPOINT_OPTION,
    PLANNER_PLACE_OPTION,
    RunOption("instruction", "", "carried out once all is up; empty: wait for `mvista run`"),
    RunOption("confirm", TRUE, "whether its plan waits for the service `confirm`", (TRUE, FALSE)),
    RunOption("can_serial", "", "USB serial of the arm's CAN adapter (survives re-plugging)"),
    RunOption("can_channel", "", "or its channel, e.g. can0"),
    CAMERA_SYNC_OPTION,
    RunOption(
        "second_arm",
        "",
        "namespace of another arm with a driver of its own; empty: none",
        kind=Kind.NAME,
    ),
    RunOption("second_can_serial", "", "USB serial of the second arm's CAN adapter"),
    RunOption("second_can_channel", "", "or its channel"),
    RunOption("second_xyz", "0 -0.6 0", "second base in the first one's frame, m", kind=Kind.THREE),
    RunOption("second_rpy", "0 0 0", "and its roll, pitch, yaw, rad", kind=Kind.THREE),
    RunOption(
        "autostart",
        TRUE,
        "arms and cameras come up by themselves; false: `ros2 lifecycle set`, or a manager",
        (TRUE, FALSE),
    ),
    RunOption("rviz", FALSE, "also start RViz with config/rviz/mvista4d.rviz", (TRUE, FALSE)),
    RunOption("task", SCENES[0], "emulated: the scene", SCENES),
    whole("seed", "0", "emulated: object poses and distractors"),
    whole("can_port", "43113", "emulated: UDP port of the arm's bus, this machine only", PORTS),
    whole("second_can_port", "43114", "emulated: the same for the second arm", PORTS),
    NAMESPACE_OPTION,
)

_AUTOSTART = ("autostart", Template("{autostart}", bool))
_WHEN_REAL, _WHEN_EMULATED = When("hardware", REAL), When("hardware", EMULATED)

_FIRST = ArmSite("{arm}", CHOSEN_ARM_FILE, told=(_AUTOSTART,))
_SECOND = ArmSite(
    "{second_arm}",
    CHOSEN_ARM_FILE,
    "second_",
    (_AUTOSTART,),
    (When("second_arm", "", equal=False),),
)
_SECOND_URDF = CellUrdf(
    (
        ("arm", Template("{second_arm}")),
        ARM_FILE,
        ("parent", Template("{arm}_base")),
        ("xyz", Template("{second_xyz}")),
        ("rpy", Template("{second_rpy}")),
    )
)


def _rows(site: ArmSite, urdf: CellUrdf) -> tuple[Spec, ...]:
    """Driver, executor and TF of one arm."""
    return (
        real_driver(site, (_WHEN_REAL,)),
        *emulated_driver(site, (_WHEN_EMULATED,)),
        executor(site),
        state_publisher(site.namespace, urdf, when=site.when),
    )


_EMULATED_CELL = NodeSpec(
    "mvista_sim",
    "sim_node",
    "sim",
    parameter_file="config/sim.yaml",
    parameters=(
        ARM_FILE,
        RIG_FILE,
        ("arm", Template("{arm}")),
        ("task", Template("{task}")),
        ("seed", Template("{seed}", int)),
        ("follow_arm", True),
    ),
    when=(_WHEN_EMULATED,),
)

REAL_ROBOT: tuple[Entry, ...] = (
    *_rows(_FIRST, CELL_URDF),
    *_rows(_SECOND, _SECOND_URDF),
    *real_cameras(RIG_FILE, (_AUTOSTART,), _WHEN_REAL),
    _EMULATED_CELL,
    RIG_PUBLISHER,
    planning_node(when=(When("planner", HERE),)),
    NodeSpec(
        "mvista_planning",
        "task_node",
        "task",
        parameter_file="config/task.yaml",
        parameters=(("arm", Template("{arm}")),),
    ),
    ProcessSpec(
        "mvista_cli",
        "mvista",
        "cli",
        "request",
        (
            *("run", Template("{instruction}"), "--confirm", Template("{confirm}")),
            *("--wait", "180", "--namespace", Template("{namespace}")),
        ),
        required=False,
        when=(When("instruction", "", equal=False),),
    ),
    *watching((When("rviz", TRUE),)),
)
