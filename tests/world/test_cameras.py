"""Laws of Eq. 6 and Eq. 7."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import RigError
from mvista_core.geometry import look_at
from mvista_world.cameras import (
    EMBEDDING_DIM,
    camera_embedding,
    check_cameras,
    look_at_point,
    spherical,
    window_cameras,
)
from mvista_world.presets import tiny
from mvista_world.views import ViewCameras
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


def spoiled(change: str) -> tuple[np.ndarray, np.ndarray]:
    """Two good cameras of the rig, the second with one fault."""
    poses, k = window_cameras(RIG.cameras[:2], tiny().window)
    if change == "mirrored":
        poses[1, :3, 0] *= -1
    elif change == "stretched":
        poses[1, :3, :3] *= 1.001
    elif change == "no number":
        poses[1, 0, 3] = np.nan
    elif change == "last row":
        poses[1, 3, 3] = 2.0
    elif change == "identical":
        poses[1, :3, 3] = poses[0, :3, 3] + 1e-4
    elif change == "flipped lens":
        k[1, 0, 0] *= -1
    elif change == "skewed lens":
        k[1, 0, 1] = 1.0
    elif change == "of the whole image":
        k[1] = RIG.cameras[1].intrinsics.matrix
    return poses, k


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mirrored", "'cam1': base_from_camera mirrors.* determinant -1; .* determinant \\+1"),
        ("stretched", "'cam1': base_from_camera is not rigid"),
        ("no number", "'cam1': base_from_camera is not rigid"),
        ("last row", "'cam1': base_from_camera is not rigid"),
        ("identical", "'cam0' and 'cam1' stand 0.173 mm apart; two views need 1 mm"),
        ("flipped lens", "'cam1': K .* is not .* with fx, fy > 0"),
        ("skewed lens", "'cam1': K .* is not"),
        ("of the whole image", r"'cam1': the centre \(.*\) px of K .* window of 96x64"),
    ],
)
def test_cameras_that_span_no_views_are_refused(change: str, message: str) -> None:
    window = tiny().window
    check_cameras(RIG.names, *window_cameras(RIG.cameras, window), window)
    with pytest.raises(RigError, match=message):
        check_cameras(("cam0", "cam1"), *spoiled(change), window)


def test_intrinsics_of_the_token_grid_see_the_same_rays() -> None:
    config = tiny()
    poses, k = window_cameras(RIG.cameras, config.window)
    cameras = ViewCameras.of(poses[None], k[None], config)
    rows, columns = config.token_grid
    # The corners of the window are the corners of the grid: half a pixel beyond the centres.
    for pixel, token in (
        ([-0.5, -0.5, 1.0], [-0.5, -0.5, 1.0]),
        ([config.window.width_px - 0.5, 20.0, 1.0], [columns - 0.5, 20.5 * rows / 64 - 0.5, 1.0]),
    ):
        rays = np.linalg.solve(k, np.array(pixel)[:, None])
        seen = np.linalg.solve(cameras.intrinsics[0].numpy(), np.array(token)[:, None])
        np.testing.assert_allclose(seen, rays, atol=1e-9)
    picked = cameras.pick(0, [[2, 0], [1, 3]])
    assert picked.views == 2 and picked.embedding.dtype.is_floating_point
    np.testing.assert_array_equal(picked.base_from_camera[1, 1], poses[3])
    np.testing.assert_array_equal(picked.embedding[0, 0], camera_embedding(poses)[2])
