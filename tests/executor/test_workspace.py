"""Laws of the box: what is inside passes, what leaves is refused, what comes in may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings, settings_from
from mvista_executor.workspace import Workspace

shares = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7)


@run(max_examples=40, deadline=None, derandomize=True)
@given(share=shares)
def test_the_distance_outside_is_the_tips(
    arm: ArmModel, shipped: ExecutorSettings, share: list[float]
) -> None:
    pose = arm.lower + np.array(share) * (arm.upper - arm.lower)
    tip_m = arm.base_from_tip(pose)[:3, 3]
    box = np.array([shipped.workspace_lower_m, shipped.workspace_upper_m])
    beyond_m = np.maximum(np.maximum(box[0] - tip_m, tip_m - box[1]), 0.0).max()
    workspace = Workspace(arm, shipped)
    assert workspace.pose_outside_m(pose) == pytest.approx(beyond_m, abs=1e-9)
    assert workspace.outside_m(pose[None])[0] == pytest.approx(beyond_m, abs=1e-9)


def _turning(arm: ArmModel, first_rad: float, last_rad: float) -> np.ndarray:
    poses = np.tile(arm.home, (200, 1))
    poses[:, 0] = np.linspace(first_rad, last_rad, 200)
    return poses


def test_leaving_is_refused_coming_in_is_not(arm: ArmModel) -> None:
    workspace = Workspace(arm, ExecutorSettings(workspace_upper_m=(0.8, 0.2, 0.9)))
    times_s = np.linspace(0.0, 2.0, 200)
    workspace.check(_turning(arm, 0.0, 0.6), times_s)
    workspace.check(_turning(arm, 1.2, 0.0), times_s)
    for first_rad, last_rad in ((0.0, 1.2), (1.0, 1.2)):
        with pytest.raises(TrajectoryError, match=r"\[50\.13\] .* s in, the tip is at"):
            workspace.check(_turning(arm, first_rad, last_rad), times_s)


def test_the_shipped_box_holds_home_and_the_table(arm: ArmModel, shipped: ExecutorSettings) -> None:
    assert Workspace(arm, shipped).pose_outside_m(arm.home) == 0.0
    for x, y in ((0.2, -0.3), (0.55, 0.3)):
        corner = np.array([x, y, 0.0])
        assert (corner > shipped.workspace_lower_m).all()
        assert (corner < shipped.workspace_upper_m).all()


@pytest.mark.parametrize("corner", [[0.0, 0.0], [0.9, 0.0, 0.0], ["a", 0.0, 0.0]])
def test_a_box_that_is_none_is_refused(corner: list[object]) -> None:
    with pytest.raises(ConfigError):
        settings_from({"workspace_lower_m": corner})
