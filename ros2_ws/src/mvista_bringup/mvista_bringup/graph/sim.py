"""The simulated demo's graph, and the same with the arm behind driver and CAN."""

from __future__ import annotations

from dataclasses import replace

from mvista_bringup.graph.arm import ArmSite, emulated_driver, executor
from mvista_bringup.graph.choices import (
    CHECKPOINT,
    CHECKPOINT_OPTION,
    PIPER_FILE,
    RIG_FILE,
    RIG_OPTION,
    RIG_PUBLISHER,
    SCENES,
    whole,
)
from mvista_bringup.graph.spec import NodeSpec, Spec, Template, When
from mvista_bringup.options import FALSE, NAMESPACE_OPTION, PORTS, TRUE, RunOption

SIM_DEMO_OPTIONS = (
    RunOption("task", SCENES[0], "scene to lay out", SCENES),
    whole("seed", "0", "object poses and distractors"),
    RIG_OPTION,
    CHECKPOINT_OPTION,
    RunOption("drift", FALSE, "also watch for moved cameras (monitor does)", (TRUE, FALSE)),
    NAMESPACE_OPTION,
)

EMULATED_DEMO_OPTIONS = (
    *SIM_DEMO_OPTIONS,
    whole("can_port", "43113", "UDP port of the emulated CAN bus, on this machine only", PORTS),
)

_ARM = ArmSite("piper", PIPER_FILE)

_SIM = NodeSpec(
    "mvista_sim",
    "sim_node",
    "sim",
    parameter_file="config/sim.yaml",
    parameters=(
        _ARM.arm_file,
        RIG_FILE,
        ("task", Template("{task}")),
        ("seed", Template("{seed}", int)),
    ),
)
_AROUND_THE_SIM = (
    RIG_PUBLISHER,
    executor(_ARM),
    NodeSpec(
        "mvista_planning",
        "planning_node",
        "planning",
        parameter_file="config/planning.yaml",
        parameters=(_ARM.arm_file, RIG_FILE, CHECKPOINT),
    ),
    NodeSpec("mvista_planning", "task_node", "task", parameter_file="config/task.yaml"),
    NodeSpec(
        "mvista_calibration_ros",
        "drift_node",
        "drift",
        parameter_file="config/drift.yaml",
        parameters=(_ARM.arm_file, RIG_FILE),
        required=False,
        when=(When("drift", TRUE),),
    ),
)

SIM_DEMO: tuple[NodeSpec, ...] = (_SIM, *_AROUND_THE_SIM)
EMULATED_DEMO: tuple[Spec, ...] = (
    *emulated_driver(_ARM),
    replace(_SIM, parameters=(*_SIM.parameters, ("follow_arm", True))),
    *_AROUND_THE_SIM,
)
"""The emulated joints drive the simulated arm."""

SIMULATED, EMULATED = "simulated", "emulated"
DEMOS: dict[str, tuple[tuple[Spec, ...], tuple[RunOption, ...]]] = {
    SIMULATED: (SIM_DEMO, SIM_DEMO_OPTIONS),
    EMULATED: (EMULATED_DEMO, EMULATED_DEMO_OPTIONS),
}
"""The demo by its arm: the simulator's own, or one behind the driver and an emulated bus."""
