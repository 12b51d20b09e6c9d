"""What a future is doubted by: nothing where it is right, the injected error where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_core.imaging import ModelWindow
from mvista_core.records import ActionTrajectory, CameraFrame, Provenance, Rollout
from mvista_world.fusion import FusionConfig
from mvista_world.plausibility import (
    doubts_of,
    goal_gap_m,
    outside_m,
    source_first_rms,
    targets_first_abs_rel,
)
from tests.world.test_reprojection import LENS, filmed, lens_at, painted, table_depth
from tests.world.tiny import ARM

WINDOW = ModelWindow(LENS.width_px, LENS.height_px, 1)
LENSES = [lens_at(-22.0), lens_at(22.0), lens_at(60.0)]


def motion(*rows: np.ndarray) -> ActionTrajectory:
    times = np.arange(1.0, len(rows) + 1.0, dtype=np.float64)
    return ActionTrajectory(ARM.joint_names, np.stack(rows), times, Provenance("p", "", 0))


def true_rollout() -> Rollout:
    """Three views of a painted table, twice."""
    depth_m = np.stack([table_depth(lens) for lens in LENSES])[:, None].repeat(2, axis=1)
    depth_m[depth_m > 3.0] = 0.0
    color = np.stack([painted(lens, depth_m[view, 0]) for view, lens in enumerate(LENSES)])[
        :, None
    ].repeat(2, axis=1)
    return replace(filmed(LENSES, depth_m), color=color.clip(0, 255).astype(np.uint8))


def observed(rollout: Rollout) -> CameraFrame:
    return CameraFrame(rollout.color[0, 0], rollout.depth_m[0, 0], LENS, 0, "cam0")


def test_nothing_speaks_against_the_truth() -> None:
    rollout, plan = true_rollout(), motion(ARM.home, ARM.home)
    found = doubts_of(rollout, observed(rollout), plan, plan, ARM, WINDOW)
    assert found.goal_gap_m == 0.0 and found.outside_m == 0.0 and found.source_first_rms == 0.0
    assert found.cross_view_m < 1e-5 and found.targets_first_abs_rel < 1e-5


def test_the_goal_gap_is_the_way_between_the_ends_whatever_lies_before() -> None:
    turned = ARM.home.copy()
    turned[0] += 0.2
    away = goal_gap_m(motion(ARM.home, turned), motion(turned, ARM.home), ARM)
    tips = ARM.tip_positions(np.stack([ARM.home, turned]))
    assert away == pytest.approx(np.linalg.norm(tips[0] - tips[1])) and away > 0.02
    assert goal_gap_m(motion(turned, ARM.home), motion(ARM.home), ARM) == 0.0


def test_a_hand_outside_is_as_far_as_its_farthest_tip() -> None:
    tip = ARM.tip_positions(ARM.home[None])[0]
    box = FusionConfig(tuple(tip - 0.5), tuple(tip + 0.01))  # type: ignore[arg-type]
    assert outside_m(motion(ARM.home), ARM, box) == 0.0
    low = tip + np.array([-0.5, 0.03, -0.5])
    aside = FusionConfig(tuple(low), tuple(tip + 0.5))  # type: ignore[arg-type]
    assert outside_m(motion(ARM.home), ARM, aside) == pytest.approx(0.03)


def test_a_future_of_another_picture_or_another_camera_is_seen_as_such() -> None:
    rollout = true_rollout()
    frame = observed(rollout)
    brighter = rollout.color.copy()
    brighter[0, 0] = np.clip(brighter[0, 0].astype(int) + 20, 0, 255)
    off = source_first_rms(replace(rollout, color=brighter.astype(np.uint8)), frame, WINDOW)
    assert off == pytest.approx(20 / 255, rel=0.1)
    depth_m = rollout.depth_m.copy()
    depth_m[1:, 0] *= 1.1
    scaled = targets_first_abs_rel(replace(rollout, depth_m=depth_m), frame)
    assert scaled == pytest.approx(0.1, rel=1e-3)
    # A view without a surface must not pass for one that says nothing.
    depth_m[1] = 0.0
    assert targets_first_abs_rel(replace(rollout, depth_m=depth_m), frame) == 1.0
    # The picture of the second camera under the pose of one that stands lower.
    poses = rollout.base_from_camera.copy()
    poses[1] = lens_at(22.0, 30.0).base_from_camera
    assert targets_first_abs_rel(replace(rollout, base_from_camera=poses), frame) > 0.05
    alone = replace(
        rollout,
        cameras=rollout.cameras[:1],
        intrinsics=rollout.intrinsics[:1],
        base_from_camera=rollout.base_from_camera[:1],
        color=rollout.color[:1],
        depth_m=rollout.depth_m[:1],
    )
    assert np.isnan(targets_first_abs_rel(alone, frame))
