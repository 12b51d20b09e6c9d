"""By what a future can be doubted, a number each: the measuring half of a gate.

Every number is an error: 0 is right and more is worse, so that a gate needs one limit for each.
None asks for the truth: they compare what was imagined with what was observed, its views with each
other, and what it says about the goal with what the words alone say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.imaging import ModelWindow
from mvista_core.records import ActionTrajectory, CameraFrame, Rollout
from mvista_world.fusion import FusionConfig
from mvista_world.metrics import abs_rel
from mvista_world.reprojection import PosedLens, cross_view_error, lenses_of, reproject


@dataclass(frozen=True)
class Doubts:
    """What speaks against a future and the plan that was read from it; NaN where nothing can.

    `goal_gap_m`: see `goal_gap_m`. `cross_view_m`: median disagreement of the views about surfaces.
    `outside_m`: how far the planned tip leaves the workspace. `source_first_rms`: colour of the
    source's first frame against the observed one, as a share of the range. `targets_first_abs_rel`:
    depth of the other views' first frames against the observed one, seen from there.
    """

    goal_gap_m: float
    cross_view_m: float
    outside_m: float
    source_first_rms: float
    targets_first_abs_rel: float


def doubts_of(
    rollout: Rollout,
    observed: CameraFrame,
    shown: ActionTrajectory,
    told: ActionTrajectory,
    arm: ArmModel,
    window: ModelWindow,
) -> Doubts:
    """All numbers of one future.

    `observed` is the source camera's whole image; `shown` the plan that was read from the rollout,
    `told` the one that the words and the observed image alone give (the rollout hidden, t = 1).
    """
    return Doubts(
        goal_gap_m(shown, told, arm),
        cross_view_error(rollout).median_m,
        outside_m(shown, arm, FusionConfig()),
        source_first_rms(rollout, observed, window),
        targets_first_abs_rel(rollout, observed),
    )


def goal_gap_m(shown: ActionTrajectory, told: ActionTrajectory, arm: ArmModel) -> float:
    """Between the tips that two plans end with: what the future says of the goal, and the words."""
    ends = arm.tip_positions(np.stack([shown.positions[-1], told.positions[-1]]))
    return float(np.linalg.norm(ends[0] - ends[1]))


def outside_m(plan: ActionTrajectory, arm: ArmModel, workspace: FusionConfig) -> float:
    """How far the tip of a plan leaves the workspace box at most; 0 where it stays inside."""
    tips = arm.tip_positions(plan.positions)
    beyond = np.maximum(np.array(workspace.lower_m) - tips, tips - np.array(workspace.upper_m))
    return float(np.linalg.norm(np.maximum(beyond, 0.0), axis=1).max())


def source_first_rms(rollout: Rollout, observed: CameraFrame, window: ModelWindow) -> float:
    """Root mean square colour error in [0, 1] of the source's first frame, which was given, or
    shown where a vantage was given.

    A rollout that began elsewhere, or at another time, shows another picture.
    """
    ours = rollout.view_color(0)[0].astype(np.float64)
    error = ours - window.frame(observed).color
    return float(np.sqrt(np.mean(error**2)) / 255.0)


def targets_first_abs_rel(rollout: Rollout, observed: CameraFrame) -> float:
    """AbsRel of the imagined views' first frames against the observed one drawn from there, over
    what it covers: a camera that the model does not know shows what another one would see.

    1 (as wrong as no surface at all) where a view has no depth. NaN where nothing is imagined
    beside the source.
    """
    # As NaN it would pass the gate: NaN is beyond no limit.
    if not (rollout.depth_m[1:, 0] > 0).any(axis=(1, 2)).all():
        return 1.0
    source = PosedLens(observed.intrinsics, rollout.base_from_camera[0])
    errors = []
    for view, lens in enumerate(lenses_of(rollout)[1:], start=1):
        seen = reproject(observed.color, observed.depth_m, source, lens)
        errors.append(abs_rel(rollout.depth_m[view, 0], seen.depth_m))
    found = np.array(errors)[~np.isnan(errors)]
    return float(found.mean()) if len(found) else float("nan")
