"""SE(3) axioms, and the round trips of quaternions and of the pinhole camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from mvista_core import geometry as g

COORDINATES = st.floats(-3.0, 3.0, allow_nan=False, width=32)
VECTORS = arrays(np.float64, 3, elements=COORDINATES)
POSES = st.builds(lambda axis, move: g.pose_from(g.exp_so3(axis), move), VECTORS, VECTORS)
K = np.array([[187.0, 0.0, 158.5], [0.0, 187.0, 93.0], [0.0, 0.0, 1.0]])


@given(POSES, POSES, POSES)
def test_poses_form_a_group(a: g.Array, b: g.Array, c: g.Array) -> None:
    assert g.is_pose(a @ b)
    np.testing.assert_allclose((a @ b) @ c, a @ (b @ c), atol=1e-9)
    np.testing.assert_allclose(a @ g.invert(a), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(g.invert(a) @ a, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(g.invert(a @ b), g.invert(b) @ g.invert(a), atol=1e-9)


@given(POSES, POSES, arrays(np.float64, (5, 3), elements=COORDINATES))
def test_transforming_points_is_an_action_of_the_group(
    a: g.Array, b: g.Array, points: g.Array
) -> None:
    there = g.transform_points(a, g.transform_points(b, points))
    np.testing.assert_allclose(there, g.transform_points(a @ b, points), atol=1e-9)
    np.testing.assert_allclose(
        g.transform_points(g.invert(a), g.transform_points(a, points)), points, atol=1e-9
    )


@given(VECTORS)
def test_exponential_agrees_with_scipy(vector: g.Array) -> None:
    expected = Rotation.from_rotvec(vector).as_matrix()
    np.testing.assert_allclose(g.exp_so3(vector), expected, atol=1e-9)


@pytest.mark.parametrize("angle_rad", [0.0, 1e-12, 1e-7, 0.5, np.pi / 2, np.pi - 1e-7, np.pi])
def test_rotation_angle_keeps_its_precision_at_both_ends(angle_rad: float) -> None:
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    assert g.rotation_angle_rad(g.exp_so3(axis * angle_rad)) == pytest.approx(angle_rad, abs=1e-9)


@given(VECTORS)
def test_quaternion_round_trip(vector: g.Array) -> None:
    rotation = g.exp_so3(vector)
    quaternion = g.quaternion_xyzw(rotation)
    assert np.linalg.norm(quaternion) == pytest.approx(1.0)
    assert quaternion[3] >= 0
    np.testing.assert_allclose(g.rotation_from_quaternion(quaternion), rotation, atol=1e-9)
    np.testing.assert_allclose(g.rotation_from_quaternion(-2.5 * quaternion), rotation, atol=1e-9)


@given(VECTORS)
def test_quaternions_agree_with_scipy(vector: g.Array) -> None:
    rotation = Rotation.from_rotvec(vector)
    expected = rotation.as_quat(canonical=True)
    found = g.quaternion_xyzw(rotation.as_matrix())
    # Both signs mean the same turn; at half a turn either may come out.
    assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 1e-9


def test_a_quaternion_of_no_length_is_no_rotation() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(g.rotation_from_quaternion(np.zeros(4))).all()


@given(VECTORS)
def test_rpy_round_trip_agrees_with_scipy(angles_rad: g.Array) -> None:
    rotation = g.rotation_from_rpy(angles_rad)
    expected = Rotation.from_euler("xyz", angles_rad).as_matrix()
    np.testing.assert_allclose(rotation, expected, atol=1e-9)
    np.testing.assert_allclose(g.rotation_from_rpy(g.rpy_rad(rotation)), rotation, atol=1e-9)


@given(arrays(np.float64, (6, 8), elements=st.floats(0.1, 5.0)))
def test_projection_inverts_back_projection(depth_m: g.Array) -> None:
    points = g.back_project(depth_m, K)
    u, v = np.meshgrid(np.arange(8), np.arange(6))
    np.testing.assert_allclose(g.project(points, K), np.stack([u, v], -1), atol=1e-9)
    np.testing.assert_array_equal(points[..., 2], depth_m)


def test_invalid_depth_becomes_the_origin_and_points_behind_have_no_pixel() -> None:
    assert not g.back_project(np.zeros((2, 3)), K).any()
    assert np.isnan(g.project(np.array([[0.1, 0.2, -1.0], [0.0, 0.0, 0.0]]), K)).all()


def test_look_at_puts_the_target_on_the_axis_and_up_in_the_image() -> None:
    eye, target = np.array([0.9, -0.3, 0.6]), np.array([0.35, 0.0, 0.03])
    base_from_camera = g.look_at(eye, target)
    assert g.is_pose(base_from_camera)
    camera_from_base = g.invert(base_from_camera)
    x, y, z = g.transform_points(camera_from_base, target)
    assert (x, y) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert z == pytest.approx(np.linalg.norm(target - eye))
    above = g.transform_points(camera_from_base, target + np.array([0.0, 0.0, 0.1]))
    assert above[1] < 0  # image rows grow downwards


def test_look_at_refuses_a_vertical_view() -> None:
    with pytest.raises(ValueError, match="up is undefined"):
        g.look_at(np.array([0.3, 0.0, 1.0]), np.array([0.3, 0.0, 0.0]))


@pytest.mark.parametrize(
    "broken",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([1.01, 1.0, 1.0, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
    ],
)
def test_what_is_not_a_pose(broken: g.Array) -> None:
    assert not g.is_pose(broken)
