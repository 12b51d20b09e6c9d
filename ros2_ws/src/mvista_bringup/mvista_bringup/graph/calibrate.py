"""Calibration beside a graph that has the cameras and the arm: the robot's, a replay, its own."""

from __future__ import annotations

from dataclasses import replace

from mvista_bringup.graph.choices import (
    ARM_FILE,
    ARM_FILE_OPTION,
    whole,
)
from mvista_bringup.graph.spec import NodeSpec, Spec, Template, When
from mvista_bringup.options import FALSE, NAMESPACE_OPTION, TRUE, Kind, RunOption

CALIBRATE_OPTIONS = (
    RunOption("arm", "piper", "namespace of the arm that holds the board", kind=Kind.NAME),
    ARM_FILE_OPTION,
    RunOption("session", "", "recorded session, a folder, that goals without one mean"),
    RunOption("sessions_folder", "build/calibration/sessions", "where sessions are recorded"),
    whole("depth_frames", "30", "depth images averaged per shot", (1, 300)),
    RunOption("sim", FALSE, "also a simulated cell with a carried board", (TRUE, FALSE)),
    whole("seed", "0", "of that cell: places, lenses, depth sensors"),
    RunOption("width", "3840", "of its colour images", ("3840", "1920", "1280", "640")),
    whole("hold_s", "0", "its board moves on by itself then; 0: sim/next_place", (0, 600)),
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
            ARM_FILE,
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
            ARM_FILE,
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
