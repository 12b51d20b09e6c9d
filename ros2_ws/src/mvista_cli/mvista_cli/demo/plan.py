"""One sample observation in, a trajectory out, without ROS and without a robot.

The observation is the simulated cell's, at the start of the scene (task, seed).
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvista_bringup import paths
from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError, GateError
from mvista_core.records import (
    AS_TRAINED,
    ActionTrajectory,
    ImagineOptions,
    InferredPlan,
    Observation,
    RigCalibration,
)
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_eval.generation.viewpoints import camera_at, parse_viewpoint
from mvista_eval.stage_times import PlanStage, StageTimes
from mvista_sim import tasks
from mvista_sim.cell import SimCell
from mvista_world import gate
from mvista_world.choices import MethodChoices
from mvista_world.config import ModelConfig
from mvista_world.planner import WorldModelPlanner, load_planner


@dataclass(frozen=True)
class PlanRequest:
    """Which scene (task and words: None for the scene's own), which views, from which start.

    Without views, the checkpoint's; `steps` of Eq. 11, None: as many as the start is used to.
    `viewpoints` are further views, each as `parse_viewpoint` reads it.
    """

    task: str | None
    instruction: str | None
    seed: int
    source: str
    targets: tuple[str, ...]
    initialisation: str
    steps: int | None = None
    choices: MethodChoices | None = None
    options: ImagineOptions = AS_TRAINED
    viewpoints: tuple[str, ...] = ()


def planned(wanted: PlanRequest, checkpoint: Path) -> dict[str, Any]:
    """The plan as a document, made in the shipped cell.

    Raises:
        ConfigError: negative steps, or no such view. InstructionError: words nobody knows.
        WeightsError: the checkpoint is not whole.
    """
    if wanted.steps is not None and wanted.steps < 0:
        raise ConfigError(f"--steps {wanted.steps} is negative; 0 decodes the start itself")
    rig = load_rig(paths.config_file("rigs", "sim_cell.yaml"))
    arm = load_arm(paths.config_file("arms", "piper.yaml"))
    clock = SystemClock()
    planner = load_planner(checkpoint, rig, arm, clock, choices=wanted.choices)
    wanted = _with_views(wanted, rig, planner.config)
    observation = observe(arm, rig, wanted.task, wanted.seed, wanted.instruction)
    times = StageTimes(clock, sys.stderr.write)
    plan, imagined = _plan(planner, observation, wanted, times)
    document = as_document(plan, observation, wanted, times.stages(), arm)
    method = planner.config
    return {
        **document,
        "imagined": imagined,
        "view_mode": wanted.options.view_mode or method.sampler.mode,
        "literal_eq11": method.optimisation.literal,
        "networks": str(planner.compute),
    }


def _with_views(wanted: PlanRequest, rig: RigCalibration, config: ModelConfig) -> PlanRequest:
    """With the checkpoint's own views where none are named, and a camera for each viewpoint.

    Raises:
        ConfigError: see `parse_viewpoint`. RigError: no such source.
    """
    source, *targets = config.cameras
    source = wanted.source or source
    places = enumerate(map(parse_viewpoint, wanted.viewpoints))
    asked = tuple(camera_at(rig, f"asked{k}", place, source) for k, place in places)
    options = replace(wanted.options, cameras=(*wanted.options.cameras, *asked))
    own = () if options.cameras else tuple(targets)
    return replace(wanted, source=source, targets=wanted.targets or own, options=options)


def observe(
    arm: ArmModel, rig: RigCalibration, task: str | None, seed: int, instruction: str | None
) -> Observation:
    """All cameras and joints of the cell at the start of a scene.

    Raises:
        InstructionError, ConfigError: see `SimCell.reset`.
    """
    if task is None:
        task = tasks.task_of(instruction) if instruction else "touch_cube"
    cell = SimCell(arm, rig)
    words = cell.reset(task, seed, instruction)
    frames = tuple(cell.latest(name) for name in cell.cameras())
    joints = cell.state()
    cell.close()
    return Observation(frames, joints, rig.content_hash, words)


def _plan(
    planner: WorldModelPlanner,
    observation: Observation,
    wanted: PlanRequest,
    times: StageTimes,
) -> tuple[InferredPlan, int]:
    """The plan, and how many rollouts its future was chosen from."""
    start = wanted.initialisation
    usual = planner.config.optimisation.steps_from(start)
    steps = usual if wanted.steps is None else wanted.steps
    rollout = planner.imagine(
        observation, wanted.source, wanted.targets, wanted.seed, times, wanted.options
    )
    plan = planner.infer_actions(rollout.rollout_id, start, steps, times)
    doubts = planner.judge(rollout.rollout_id, plan, times)
    return replace(plan, doubts=doubts), rollout.imagined


def as_document(
    plan: InferredPlan,
    observation: Observation,
    wanted: PlanRequest,
    stages: tuple[PlanStage, ...],
    arm: ArmModel,
) -> dict[str, Any]:
    """The plan as JSON: joint angles in radians, the gripper in metres, times in seconds."""
    made = plan.refined.provenance
    tip_m = arm.base_from_tip(plan.refined.positions[-1])[:3, 3]
    return {
        "plan_id": made.plan_id,
        "instruction": observation.instruction,
        "seed": made.seed,
        "weights_sha256": made.weights_sha256,
        "rig_hash": observation.rig_hash,
        "initialisation": made.initialisation,
        "steps": made.steps,
        "source_camera": wanted.source,
        "target_cameras": [*wanted.targets, *(c.name for c in wanted.options.cameras)],
        "posed_cameras": {c.name: c.base_from_camera.tolist() for c in wanted.options.cameras},
        "best_of": wanted.options.best_of,
        "stages": [asdict(stage) for stage in stages],
        "losses": plan.losses.tolist(),
        "head_disagreement_rad": plan.head_disagreement_rad,
        "doubts": [doubt.document() for doubt in plan.doubts],
        "refused": _refused(plan),
        "final_tip_mm": np.round(tip_m * 1000.0, 1).tolist(),
        "joint_names": list(plan.refined.joint_names),
        "initial": observation.joints.ordered(plan.refined.joint_names).tolist(),
        "prior": _points(plan.prior),
        "refined": _points(plan.refined),
    }


def _refused(plan: InferredPlan) -> str:
    """Why the gate of a task would not execute it; "" where it would."""
    try:
        gate.check(plan.doubts)
    except GateError as error:
        return f"[{error.code}.{error.reason}] {error}"
    return ""


def _doubt_line(doubt: dict[str, Any]) -> str:
    value, limit = (
        "nothing" if doubt[k] is None else f"{doubt[k]:.4f}" for k in ("value", "limit")
    )
    return f"  {doubt['name']:22s} {value}, limit {limit}"


def _points(actions: ActionTrajectory) -> dict[str, object]:
    return {"times_s": actions.times_s.tolist(), "positions": actions.positions.tolist()}


def as_text(document: dict[str, Any]) -> str:
    """What a person wants to know of a plan."""
    losses, stages = document["losses"], document["stages"]
    curve = f"{losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps" if losses else "no steps"
    return "\n".join(
        [
            f"plan {document['plan_id']}: {document['instruction']} (seed {document['seed']}, "
            f"the likeliest of {document['imagined']} imagined)",
            f"  networks in {document['networks']}",
            *(
                f"  {stage['name']:12s} {stage['seconds']:7.2f} s, CPU {stage['cpu_s']:.2f} s"
                for stage in stages
            ),
            f"  loss {curve}",
            f"  head disagreement {document['head_disagreement_rad']:.4f} rad",
            *(_doubt_line(doubt) for doubt in document["doubts"]),
            f"  gate: {document['refused'] or 'would execute it'}",
            f"  final tip at {document['final_tip_mm']} mm in the base frame",
        ]
    )
