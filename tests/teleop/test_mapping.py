"""Leader to follower: signs, scales, offsets, strokes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import ConfigError
from mvista_teleop.mapping import GripperMapping, Mapping
from tests.teleop.operator import ARM, JOINTS, REVERSED, plain_mapping

SIGNS, SCALES, OFFSETS = [1, -1, 1, -1, 1, -1], [1.0, 0.5, 2.0, 1.0, 1.0, 1.5], [0.1] * 6
ODD = Mapping(ARM, SIGNS, SCALES, OFFSETS, GripperMapping(0.7))
POSES = st.lists(st.floats(-4.0, 4.0), min_size=JOINTS, max_size=JOINTS).map(np.array)


def test_the_plain_mapping_is_direct() -> None:
    np.testing.assert_array_equal(plain_mapping().follower_from_leader(ARM.home), ARM.home)


def test_each_joint_has_its_sign_scale_and_offset() -> None:
    mapped = ODD.follower_from_leader(np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1]))
    np.testing.assert_allclose(mapped, [0.3, 0.0, 0.5, -0.1, 0.3, -0.2, 0.07])


@given(POSES, POSES)
def test_speeds_are_the_slope_of_the_poses(leader: np.ndarray, speeds: np.ndarray) -> None:
    """By finite difference; the gripper's dead band has a corner, which is left out."""
    step = 1e-6
    there, here = (ODD.follower_from_leader(leader + d * speeds) for d in (step, 0.0))
    expected, found = (there - here) / step, ODD.follower_speeds(leader, speeds)
    np.testing.assert_allclose(found[:6], expected[:6], atol=1e-6)
    if abs(leader[6]) > 1e-4:
        assert found[6] == pytest.approx(expected[6], abs=1e-6)


@given(POSES)
def test_saturated_poses_are_the_nearest_within_the_limits_and_named(pose: np.ndarray) -> None:
    inside, names = plain_mapping().saturated(pose)
    assert (inside >= ARM.lower).all() and (inside <= ARM.upper).all()
    beyond = (pose < ARM.lower) | (pose > ARM.upper)
    assert names == tuple(np.array(ARM.joint_names)[beyond])
    np.testing.assert_array_equal(inside[~beyond], pose[~beyond])


def test_a_reversed_gripper_is_open_where_the_leader_is_shut() -> None:
    assert REVERSED.opening_m(0.0) == pytest.approx(0.07)
    assert REVERSED.opening_m(0.07) == pytest.approx(0.0)


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.02))
def test_a_dead_band_shuts_and_has_no_step(leader_m: float, band_m: float) -> None:
    mapping = GripperMapping(0.7, 0.0, band_m)
    assert (mapping.opening_m(leader_m) == 0.0) == (leader_m <= band_m)
    assert abs(mapping.opening_m(leader_m + 1e-7) - mapping.opening_m(leader_m)) < 1e-6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"signs": [1.0] * 5}, "5 values"),
        ({"signs": [0.5] * 6}, "allowed: 1 and -1"),
        ({"scales": [0.0] * 6}, "scale of 0"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(changed: dict[str, list[float]], said: str) -> None:
    values = {"signs": [1.0] * 6, "scales": [1.0] * 6, "offsets_rad": [0.0] * 6, **changed}
    with pytest.raises(ConfigError, match=said):
        Mapping(ARM, values["signs"], values["scales"], values["offsets_rad"], GripperMapping())
