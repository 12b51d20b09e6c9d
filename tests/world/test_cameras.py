"""Laws of Eq. 6 and Eq. 7."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.geometry import look_at
from mvista_world.cameras import EMBEDDING_DIM, camera_embedding, look_at_point, spherical
from tests.world.tiny import RIG

coordinate = st.floats(-2.0, 2.0)
points = st.tuples(coordinate, coordinate, coordinate).map(np.array)
EYES = np.array([[0.5, -0.5, 0.6], [0.8, 0.1, 0.5], [0.4, 0.6, 0.7]])


def looking_at(point: np.ndarray) -> np.ndarray:
    return np.stack([look_at(point + eye, point) for eye in EYES])


@given(points)
def test_eq_6_finds_the_point_all_cameras_look_at(point: np.ndarray) -> None:
    np.testing.assert_allclose(look_at_point(looking_at(point)), point, atol=1e-9)


@given(points)
def test_eq_7_does_not_depend_on_where_the_base_frame_stands(shift: np.ndarray) -> None:
    poses = np.stack([camera.base_from_camera for camera in RIG.cameras])
    moved = poses.copy()
    moved[:, :3, 3] += shift
    np.testing.assert_allclose(camera_embedding(moved), camera_embedding(poses), atol=1e-5)


def test_parallel_axes_and_a_single_camera_stay_finite_and_near() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [-0.1, 0.0, 0.1]
    np.testing.assert_allclose(look_at_point(poses), [0.0, 0.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(look_at_point(poses[:1]), [-0.1, 0.0, 1.0], atol=1e-9)
    assert np.isfinite(camera_embedding(poses)).all()
    assert np.isfinite(camera_embedding(poses[:1])).all()


def test_nearly_parallel_axes_do_not_throw_the_point_away() -> None:
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = 0.1
    angle = 1e-5
    poses[1, :3, :3] = [
        [np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)],
    ]  # fmt: skip
    assert np.linalg.norm(look_at_point(poses)) < 2.0


def test_the_embedding_has_13_numbers_per_camera_and_tells_them_apart() -> None:
    embedding = camera_embedding(np.stack([camera.base_from_camera for camera in RIG.cameras]))
    assert embedding.shape == (4, EMBEDDING_DIM) == (4, 13)
    assert embedding.dtype == np.float32
    gaps = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
    assert gaps[~np.eye(4, dtype=bool)].min() > 0.3


def test_roll_is_the_turn_about_the_optical_axis() -> None:
    pose = looking_at(np.zeros(3))[0]
    turned = pose.copy()
    c, s = np.cos(0.3), np.sin(0.3)
    turned[:3, :3] = pose[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    before, after = spherical(pose, np.zeros(3)), spherical(turned, np.zeros(3))
    np.testing.assert_allclose(np.delete(before, 2), np.delete(after, 2), atol=1e-12)
    assert abs(abs(after[2] - before[2]) - 0.3) < 1e-9
