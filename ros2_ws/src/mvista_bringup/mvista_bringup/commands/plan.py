"""`mvista plan`: one sample observation in, a trajectory out, without ROS and without a robot.

The observation is the simulated cell's, at the start of the scene (task, seed).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvista_bringup import paths
from mvista_core.arm import ArmModel, load_arm
from mvista_core.errors import ConfigError
from mvista_core.ports import Clock
from mvista_core.records import ActionTrajectory, InferredPlan, Observation, RigCalibration
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock, ns_to_seconds
from mvista_sim import tasks
from mvista_sim.cell import SimCell
from mvista_world.planner import WorldModelPlanner, load_planner


@dataclass(frozen=True)
class Stage:
    """One stage of the planner and how long it took."""

    name: str
    seconds: float


class StageTimes:
    """A `Progress` that notes when each stage begins and says so on standard error."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun: list[tuple[str, int]] = []

    def __call__(self, stage: str, fraction: float) -> bool:
        if not self._begun or self._begun[-1][0] != stage:
            self._begun.append((stage, self._clock.monotonic_ns()))
            sys.stderr.write(f"{stage} ...\n")
        return True

    def stages(self) -> tuple[Stage, ...]:
        """What was seen so far; the last stage ends now."""
        ends = [at_ns for _, at_ns in self._begun[1:]] + [self._clock.monotonic_ns()]
        return tuple(
            Stage(name, ns_to_seconds(end_ns - at_ns))
            for (name, at_ns), end_ns in zip(self._begun, ends, strict=True)
        )


def run(args: argparse.Namespace) -> int:
    if args.steps is not None and args.steps < 0:
        raise ConfigError(f"--steps {args.steps} is negative; 0 decodes the start itself")
    rig = load_rig(paths.config_file("rigs", "sim_cell.yaml"))
    arm = load_arm(paths.config_file("arms", "piper.yaml"))
    clock = SystemClock()
    planner = load_planner(args.checkpoint, rig, arm, clock)
    source, *targets = planner.config.cameras
    args.source = source if args.source is None else args.source
    args.targets = ",".join(targets) if args.targets is None else args.targets
    observation = observe(arm, rig, args.task, args.seed, args.instruction)
    times = StageTimes(clock)
    plan = _plan(planner, observation, args, times)
    document = as_document(plan, observation, args, times.stages(), arm)
    document["networks"] = str(planner.compute)
    sys.stdout.write(as_text(document) + "\n")
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


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
    args: argparse.Namespace,
    times: StageTimes,
) -> InferredPlan:
    targets = [name for name in args.targets.split(",") if name]
    usual = planner.config.optimisation.steps_from(args.init)
    steps = usual if args.steps is None else args.steps
    rollout = planner.imagine(observation, args.source, targets, args.seed, times)
    return planner.infer_actions(rollout.rollout_id, args.init, steps, times)


def as_document(
    plan: InferredPlan,
    observation: Observation,
    args: argparse.Namespace,
    stages: tuple[Stage, ...],
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
        "source_camera": args.source,
        "target_cameras": [name for name in args.targets.split(",") if name],
        "stages": [asdict(stage) for stage in stages],
        "losses": plan.losses.tolist(),
        "head_disagreement_rad": plan.head_disagreement_rad,
        "final_tip_mm": np.round(tip_m * 1000.0, 1).tolist(),
        "joint_names": list(plan.refined.joint_names),
        "initial": observation.joints.ordered(plan.refined.joint_names).tolist(),
        "prior": _points(plan.prior),
        "refined": _points(plan.refined),
    }


def _points(actions: ActionTrajectory) -> dict[str, object]:
    return {"times_s": actions.times_s.tolist(), "positions": actions.positions.tolist()}


def as_text(document: dict[str, Any]) -> str:
    """What a person wants to know of a plan."""
    losses, stages = document["losses"], document["stages"]
    curve = f"{losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps" if losses else "no steps"
    return "\n".join(
        [
            f"plan {document['plan_id']}: {document['instruction']} (seed {document['seed']})",
            f"  networks in {document['networks']}",
            *(f"  {stage['name']:12s} {stage['seconds']:7.2f} s" for stage in stages),
            f"  loss {curve}",
            f"  head disagreement {document['head_disagreement_rad']:.4f} rad",
            f"  final tip at {document['final_tip_mm']} mm in the base frame",
        ]
    )
