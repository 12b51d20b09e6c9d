"""A run on the in-process cell, as the report gets it: real renders, a slightly blurred rollout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvista_cli.demo.record import ImaginedCloud, JointSeries, Reality, RunRecord, StageTime
from mvista_cli.demo.timeline import reality_of, window_like
from mvista_core.arm import load_arm
from mvista_core.imaging import ModelWindow
from mvista_core.records import ActionTrajectory, CameraFrame, Doubt, Provenance, Rollout
from mvista_core.rig import load_rig
from mvista_eval.facts import Fact
from mvista_sim.cell import SimCell
from mvista_world.fusion import FusionConfig, fuse

ROOT = Path(__file__).parents[2]
WINDOW = ModelWindow(96, 64, 2)
TIMES_S = np.linspace(0.0, 6.4, 9)
VIEWS = ("cam1", "cam0", "cam2")


def full_record() -> RunRecord:
    """The expert touches the red cube; its views, a little darkened, stand for imagination."""
    arm = load_arm(ROOT / "config/arms/piper.yaml")
    rig = load_rig(ROOT / "config/rigs/sim_cell.yaml")
    cell = SimCell(arm, rig)
    instruction = cell.reset("touch_cube", 3)
    before = tuple(cell.latest(name) for name in cell.cameras())
    plan = cell.expert()
    rows = cell.run_actions(plan, TIMES_S)
    final = tuple(cell.latest(name) for name in cell.cameras())
    frames = [[_of(row, name) for row in rows] for name in VIEWS]
    rollout = _rollout(frames, instruction, rig)
    reality = reality_of(rollout, frames, frames[0][0].stamp_ns)
    times_s = np.arange(-100, 1380) / 200.0
    columns = [np.interp(times_s, plan.times_s, column) for column in plan.positions.T]
    sent = JointSeries(plan.joint_names, times_s, np.stack(columns, axis=1))
    made = Provenance("plan42", "ab" * 32, 3, "head", 15)
    prior = ActionTrajectory(plan.joint_names, plan.positions + 0.03, plan.times_s, made)
    refined = ActionTrajectory(plan.joint_names, plan.positions, plan.times_s, made)
    clouds = fuse(rollout, FusionConfig(voxel_m=0.005))
    verdict = cell.evaluate()
    cell.close()
    return RunRecord(
        "touch_cube",
        instruction,
        3,
        stages=tuple(StageTime(n, s) for n, s in (("imagine", 4.2), ("infer", 9.0))),
        success=verdict.success,
        success_detail=verdict.detail,
        weights_sha256="ab" * 32,
        before=before,
        final=final,
        imagined=2,
        rollout=rollout,
        reality=reality,
        clouds=tuple(
            ImaginedCloud(float(TIMES_S[i]), clouds[i].points_m, clouds[i].color) for i in (0, 4, 8)
        ),
        prior=prior,
        refined=refined,
        sent=sent,
        measured=JointSeries(sent.joint_names, sent.times_s + 0.02, sent.positions),
        losses=np.geomspace(1.0, 0.4, 15),
        head_disagreement_rad=0.021,
        doubts=(Doubt("goal_gap_m", 0.013, 0.0447), Doubt("outside_m", 0.0, float("nan"))),
        versions=(Fact("python", "3.11"),),
        machine=(Fact("processor", "one & <two>"),),
    )


def without_images(reality: Reality, view: int, index: int) -> Reality:
    """The same with one image that was never taken."""
    late_s = reality.late_s.copy()
    late_s[view, index] = np.nan
    return Reality(reality.color, reality.depth_m, late_s)


def _of(row: object, name: str) -> CameraFrame:
    return next(frame for frame in row if frame.camera == name)  # type: ignore[attr-defined]


def _rollout(frames: list[list[CameraFrame]], instruction: str, rig: object) -> Rollout:
    windows = [[WINDOW.frame(frame) for frame in row] for row in frames]
    color = np.stack([np.stack([f.color for f in row]) for row in windows])
    depth = np.stack([np.stack([f.depth_m for f in row]) for row in windows])
    cameras = [rig.camera(name) for name in VIEWS]  # type: ignore[attr-defined]
    intrinsics = tuple(WINDOW.intrinsics(camera.intrinsics) for camera in cameras)
    assert window_like(intrinsics[0], cameras[0].intrinsics) == WINDOW
    poses = np.stack([camera.base_from_camera for camera in cameras])
    dark = (color * 0.93).astype(np.uint8)
    return Rollout("r", instruction, VIEWS, intrinsics, poses, dark, depth + 0.004, TIMES_S, 4, 0)
