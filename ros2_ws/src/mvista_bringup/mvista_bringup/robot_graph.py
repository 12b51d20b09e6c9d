"""The real robot's graph, and what watches it. `hardware:=emulated` rehearses it without hardware:
the arm is emulated at its CAN wire, and the simulated cell, whose arm follows it, has the cameras.
"""

from __future__ import annotations

from dataclasses import replace

from mvista_bringup.nodes import (
    EMULATED_CAN_GROUP,
    SCENES,
    CellUrdf,
    NodeSpec,
    ProcessSpec,
    RvizConfig,
    Spec,
    Template,
    When,
)
from mvista_bringup.options import FALSE, LARGEST, NAMESPACE_OPTION, PORTS, TRUE, Kind, RunOption

REAL, EMULATED = "real", "emulated"
HUB, FREE = "hub", "free"
CAMERAS = ("cam0", "cam1", "cam2", "cam3")
"""The first is the primary of the sync hub; `rig` holds their serial numbers."""
START_GAP_S = 2.0

_ARM = RunOption(
    "arm", "piper", "namespace of the arm that acts; <arm>_base is the rig's frame", kind=Kind.NAME
)
_ARM_FILE_OPTION = RunOption(
    "arm_file", "piper", "a file of config/arms/, without .yaml", kind=Kind.FILE
)
_RIG = RunOption("rig", "sim_cell", "a file of config/rigs/, without .yaml", kind=Kind.FILE)


def _whole(name: str, default: str, text: str, bounds: tuple[int, int] = (0, LARGEST)) -> RunOption:
    return RunOption(name, default, text, kind=Kind.WHOLE, bounds=bounds)


REAL_ROBOT_OPTIONS = (
    RunOption("hardware", REAL, "real, or emulated: rehearse without any", (REAL, EMULATED)),
    _ARM,
    _ARM_FILE_OPTION,
    _RIG,
    RunOption("checkpoint", "tiny", "a folder of models/checkpoints/", kind=Kind.FILE),
    RunOption("instruction", "", "carried out once all is up; empty: wait for `mvista run`"),
    RunOption("confirm", TRUE, "whether its plan waits for the service `confirm`", (TRUE, FALSE)),
    RunOption("can_serial", "", "USB serial of the arm's CAN adapter (survives re-plugging)"),
    RunOption("can_channel", "", "or its channel, e.g. can0"),
    RunOption("camera_sync", HUB, "hub: cam0 is the primary of a sync hub; free", (HUB, FREE)),
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
    _whole("seed", "0", "emulated: object poses and distractors"),
    _whole("can_port", "43113", "emulated: UDP port of the arm's bus, this machine only", PORTS),
    _whole("second_can_port", "43114", "emulated: the same for the second arm", PORTS),
    NAMESPACE_OPTION,
)

MONITOR_OPTIONS = (
    _ARM,
    _ARM_FILE_OPTION,
    _RIG,
    RunOption("model", FALSE, "also describe the arm: for the demo, which does not", (TRUE, FALSE)),
    RunOption("robot_monitor", FALSE, "also start rqt_robot_monitor", (TRUE, FALSE)),
    NAMESPACE_OPTION,
)

_ARM_FILE = ("arm_file", Template("{share}/config/arms/{arm_file}.yaml"))
_RIG_FILE = ("rig_file", Template("{share}/config/rigs/{rig}.yaml"))
_AUTOSTART = ("autostart", Template("{autostart}", bool))
_WHEN_REAL, _WHEN_EMULATED = When("hardware", REAL), When("hardware", EMULATED)


def _arm(option: str, urdf: CellUrdf, place: str = "", when: tuple[When, ...] = ()) -> list[Spec]:
    """Driver, executor and TF of the arm in namespace `{option}`; `place` leads its CAN options."""
    namespace = f"{{{option}}}"

    def driver(
        when_hardware: When, *parameters: tuple[str, str | bool | float | Template]
    ) -> NodeSpec:
        return NodeSpec(
            "mvista_piper",
            "piper_node",
            "driver",
            namespace,
            "config/piper.yaml",
            (_ARM_FILE, _AUTOSTART, *parameters),
            when=(*when, when_hardware),
        )

    port = f"{{{place}can_port}}"
    return [
        driver(
            _WHEN_REAL,
            ("adapter_serial", Template(f"{{{place}can_serial}}")),
            ("channel", Template(f"{{{place}can_channel}}")),
        ),
        ProcessSpec(
            "mvista_piper",
            "piper_emulator",
            "emulator_main",
            f"{place}emulator",
            (
                *("--channel", EMULATED_CAN_GROUP, "--port", Template(port)),
                *("--home", Template("{share}/config/arms/{arm_file}.yaml"), "--enabled"),
            ),
            when=(*when, _WHEN_EMULATED),
        ),
        driver(
            _WHEN_EMULATED,
            ("interface", "udp_multicast"),
            # The emulated arm is a process among many that start at once: it is silent for longer.
            ("stale_after_s", 0.3),
            ("channel", EMULATED_CAN_GROUP),
            ("udp_port", Template(port, int)),
            ("enable_at_start", True),
        ),
        NodeSpec(
            "mvista_executor",
            "executor_node",
            "executor",
            namespace,
            "config/executor.yaml",
            (_ARM_FILE,),
            when=when,
        ),
        _state_publisher(namespace, urdf, when=when),
    ]


def _state_publisher(
    namespace: str, urdf: CellUrdf, prefix: str = "", when: tuple[When, ...] = ()
) -> NodeSpec:
    """`joint_states` and the URDF of one arm -> /tf and `robot_description`."""
    return NodeSpec(
        "robot_state_publisher",
        "robot_state_publisher",
        "robot_state_publisher",
        namespace,
        parameters=(("robot_description", urdf), ("frame_prefix", prefix)),
        when=when,
        apt=True,
    )


def _cameras(sync: str) -> list[Spec]:
    """One process per camera, opened `START_GAP_S` apart, the primary last."""
    rows: list[Spec] = []
    for index, name in enumerate(CAMERAS):
        role = "standalone" if sync == FREE else "secondary" if index else "primary"
        turn = index if sync == FREE else (index - 1) % len(CAMERAS)
        rows.append(
            NodeSpec(
                "mvista_cameras",
                "camera_node",
                "camera",
                name,
                "config/cameras.yaml",
                (
                    _RIG_FILE,
                    _AUTOSTART,
                    ("index", index),
                    ("sync_role", role),
                    ("start_delay_s", turn * START_GAP_S),
                ),
                when=(_WHEN_REAL, When("camera_sync", sync)),
            )
        )
    return rows


_ARM_ARGUMENTS = (("arm", Template("{arm}")), _ARM_FILE)
_FIRST_URDF = CellUrdf((*_ARM_ARGUMENTS, _RIG_FILE))
_SECOND_URDF = CellUrdf(
    (
        ("arm", Template("{second_arm}")),
        _ARM_FILE,
        ("parent", Template("{arm}_base")),
        ("xyz", Template("{second_xyz}")),
        ("rpy", Template("{second_rpy}")),
    )
)


def _watching(when: tuple[When, ...] = ()) -> list[Spec]:
    """The plan as a path and as a ghost, the workspace, what is wrong; and RViz to see it all."""
    return [
        NodeSpec(
            "mvista_bringup",
            "cell_display_node",
            "cell_display",
            parameters=(
                _ARM_FILE,
                ("arm", Template("{arm}")),
                ("executor_file", Template("{share}/config/executor.yaml")),
            ),
            required=False,
            when=when,
        ),
        _state_publisher("{arm}/planned", CellUrdf(_ARM_ARGUMENTS), "planned/", when),
        NodeSpec(
            "rviz2",
            "rviz2",
            "rviz",
            # Depth is registered to colour: its cloud needs the colour camera's intrinsics.
            remappings=tuple(
                (f"{name}/depth/camera_info", f"{name}/color/camera_info") for name in CAMERAS
            ),
            arguments=(
                "-d",
                RvizConfig(
                    Template("{share}/config/rviz/mvista4d.rviz"), Template("{arm}"), _RIG_FILE[1]
                ),
            ),
            required=False,
            when=when,
            apt=True,
        ),
    ]


_EMULATED_CELL = NodeSpec(
    "mvista_sim",
    "sim_node",
    "sim",
    parameter_file="config/sim.yaml",
    parameters=(
        _ARM_FILE,
        _RIG_FILE,
        ("arm", Template("{arm}")),
        ("task", Template("{task}")),
        ("seed", Template("{seed}", int)),
        ("follow_arm", True),
    ),
    when=(_WHEN_EMULATED,),
)

REAL_ROBOT: tuple[Spec, ...] = (
    *_arm("arm", _FIRST_URDF),
    *_arm("second_arm", _SECOND_URDF, "second_", (When("second_arm", "", equal=False),)),
    *_cameras(HUB),
    *_cameras(FREE),
    _EMULATED_CELL,
    NodeSpec("mvista_bringup", "rig_publisher_node", "rig_publisher", parameters=(_RIG_FILE,)),
    NodeSpec(
        "mvista_planning",
        "planning_node",
        "planning",
        parameter_file="config/planning.yaml",
        parameters=(
            _ARM_FILE,
            _RIG_FILE,
            ("joint_topic", Template("{arm}/joint_states")),
            ("checkpoint", Template("{share}/models/checkpoints/{checkpoint}")),
        ),
    ),
    NodeSpec(
        "mvista_planning",
        "task_node",
        "task",
        parameter_file="config/task.yaml",
        parameters=(("arm", Template("{arm}")),),
    ),
    ProcessSpec(
        "mvista_bringup",
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
    *_watching((When("rviz", TRUE),)),
)

MONITOR: tuple[Spec, ...] = (
    *_watching(),
    NodeSpec(
        "mvista_calibration_ros",
        "drift_node",
        "drift",
        parameter_file="config/drift.yaml",
        parameters=(_ARM_FILE, _RIG_FILE, ("arm", Template("{arm}"))),
        required=False,
    ),
    _state_publisher("{arm}", _FIRST_URDF, when=(When("model", TRUE),)),
    NodeSpec(
        "rqt_robot_monitor",
        "rqt_robot_monitor",
        "robot_monitor",
        required=False,
        when=(When("robot_monitor", TRUE),),
        apt=True,
    ),
)

CALIBRATE_OPTIONS = (
    RunOption("arm", "piper", "namespace of the arm that holds the board", kind=Kind.NAME),
    _ARM_FILE_OPTION,
    RunOption("session", "", "recorded session, a folder, that goals without one mean"),
    RunOption("sessions_folder", "build/calibration/sessions", "where sessions are recorded"),
    _whole("depth_frames", "30", "depth images averaged per shot", (1, 300)),
    RunOption("sim", FALSE, "also a simulated cell with a carried board", (TRUE, FALSE)),
    _whole("seed", "0", "of that cell: places, lenses, depth sensors"),
    RunOption("width", "3840", "of its colour images", ("3840", "1920", "1280", "640")),
    _whole("hold_s", "0", "its board moves on by itself then; 0: sim/next_place", (0, 600)),
    RunOption("truth_file", "", "where its truth is written; empty: nowhere"),
    RunOption(
        "rig_publisher",
        FALSE,
        "also start one, where no graph beside has it; with sim it is always there",
        (TRUE, FALSE),
    ),
    NAMESPACE_OPTION,
)

_CALIBRATED = NodeSpec("mvista_bringup", "rig_publisher_node", "rig_publisher")
"""Shows nothing until a rig has passed."""

CALIBRATE: tuple[Spec, ...] = (
    replace(_CALIBRATED, when=(When("sim", TRUE),)),
    replace(_CALIBRATED, when=(When("sim", FALSE), When("rig_publisher", TRUE))),
    NodeSpec(
        "mvista_calibration_sim",
        "board_node",
        "sim",
        parameter_file="config/board_sim.yaml",
        parameters=(
            _ARM_FILE,
            ("arm", Template("{arm}")),
            ("seed", Template("{seed}", int)),
            ("colour_width_px", Template("{width}", int)),
            ("hold_s", Template("{hold_s}", int)),
            ("truth_file", Template("{truth_file}")),
        ),
        when=(When("sim", TRUE),),
    ),
    NodeSpec(
        "mvista_calibration_ros",
        "calibration_node",
        "calibration",
        parameter_file="config/calibration.yaml",
        parameters=(
            _ARM_FILE,
            ("arm", Template("{arm}")),
            ("base_frame", Template("{arm}_base")),
            ("session", Template("{session}")),
            ("sessions_folder", Template("{sessions_folder}")),
            ("depth_frames", Template("{depth_frames}", int)),
            ("rigs_folder", Template("{share}/config/rigs")),
        ),
    ),
)
"""Beside a graph that has the cameras and the arm: the robot's or a replay; or its own cell."""
