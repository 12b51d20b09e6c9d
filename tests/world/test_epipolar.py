"""Laws of the epipolar samples: on the line, in the image, of what both cameras can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvista_core.geometry import exp_so3, invert, look_at, pose_from, project, transform_points
from mvista_world.epipolar import EpipolarSamples, epipolar_samples, other_views

ROWS, COLUMNS, COUNT = 10, 16, 6
K = np.array([[14.0, 0.0, 7.3], [0.0, 13.0, 4.6], [0.0, 0.0, 1.0]])
TARGET = np.array([0.3, 0.1, 0.05])
EYES = np.array([[0.9, -0.6, 0.7], [1.0, 0.5, 0.5], [0.4, 0.8, 0.9], [-0.5, 0.3, 0.8]])
POSES = np.stack([look_at(eye, TARGET + 0.05 * i) for i, eye in enumerate(EYES)])


def samples_of(poses: np.ndarray, k: np.ndarray = K, count: int = COUNT) -> EpipolarSamples:
    intrinsics = np.tile(k, (1, len(poses), 1, 1))
    return epipolar_samples(
        torch.from_numpy(intrinsics), torch.from_numpy(poses[None]), ROWS, COLUMNS, count
    )


def fundamental(pose_v: np.ndarray, pose_u: np.ndarray) -> np.ndarray:
    """F with p_u^T F p_v = 0, from the essential matrix of the relative pose."""
    u_from_v = invert(pose_u) @ pose_v
    x, y, z = u_from_v[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.inv(K).T @ cross @ u_from_v[:3, :3] @ np.linalg.inv(K)


def token_pixels() -> np.ndarray:
    row, column = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    return np.stack([column, row, np.ones_like(row)], axis=-1).reshape(-1, 3).astype(float)


def test_samples_lie_on_the_line_in_the_image_and_evenly() -> None:
    found = samples_of(POSES)
    assert found.seen.float().mean() > 0.5
    for v in range(len(POSES)):
        for i, u in enumerate(other_views(len(POSES))[v].tolist()):
            assert found.others[v, i] == u
            seen = found.seen[0, v, i].numpy()
            pixels = found.pixels[0, v, i].numpy()[seen]
            lines = token_pixels()[seen] @ fundamental(POSES[v], POSES[u]).T
            at = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], axis=-1)
            off = np.einsum("nkc,nc->nk", at, lines) / np.linalg.norm(lines[:, None, :2], axis=-1)
            assert np.abs(off).max() < 1e-3
            assert (pixels > -0.5).all() and (pixels < [COLUMNS - 0.5, ROWS - 0.5]).all()
            steps = np.diff(pixels, axis=1)
            np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1], steps.shape), atol=1e-9)


def test_a_point_that_two_views_see_is_within_half_a_spacing_of_a_sample() -> None:
    found, rng = samples_of(POSES), np.random.default_rng(0)
    checked = 0
    for v in range(len(POSES)):
        depth_m = rng.uniform(0.2, 3.0, ROWS * COLUMNS)
        rays = token_pixels() @ np.linalg.inv(K).T
        points = transform_points(POSES[v], rays * depth_m[:, None])
        for i, u in enumerate(other_views(len(POSES))[v].tolist()):
            at = project(transform_points(invert(POSES[u]), points), K)
            inside = ((at > -0.5) & (at < [COLUMNS - 0.5, ROWS - 0.5])).all(axis=-1)
            # What both see is never called unseen.
            assert found.seen[0, v, i].numpy()[inside].all()
            pixels = found.pixels[0, v, i].numpy()[inside]
            spacing = np.linalg.norm(pixels[:, 1] - pixels[:, 0], axis=-1)
            nearest = np.linalg.norm(pixels - at[inside][:, None], axis=-1).min(axis=1)
            assert (nearest <= spacing / 2 + 1e-6).all()
            checked += int(inside.sum())
    assert checked > 100


def test_parallel_cameras_have_level_lines_from_infinity() -> None:
    """The epipole is no point of the image plane: nothing may be divided by it."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = 0.1
    found = samples_of(poses)
    row = torch.from_numpy(token_pixels()[:, 1])
    for v in range(2):
        seen = found.seen[0, v, 0]
        levels = found.pixels[0, v, 0, :, :, 1]
        torch.testing.assert_close(levels[seen], row[seen, None].expand_as(levels[seen]))
    # A far point keeps its column, a near one moves against the camera and out of the image.
    assert found.pixels.isfinite().all()
    first = found.pixels[0, 0, 0, :, :, 0].amax(dim=-1)
    assert (first <= torch.from_numpy(token_pixels()[:, 0]) + 1e-9)[found.seen[0, 0, 0]].all()


def test_with_the_epipole_in_the_image_only_what_lies_ahead_is_sampled() -> None:
    """One camera a step ahead of the other: lines spread from the epipole, one way only."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 2, 3] = 0.2
    found, epipole = samples_of(poses), np.array([K[0, 2], K[1, 2]])
    seen = found.seen[0, 0, 0].numpy()
    outwards = token_pixels()[:, :2] - epipole
    along = found.pixels[0, 0, 0].numpy() - epipole
    # The camera ahead sees a point farther from the middle than the one behind, or not at all.
    farther = np.linalg.norm(along, axis=-1) - np.linalg.norm(outwards, axis=-1)[:, None]
    assert seen.sum() > 100 and (farther[seen] > 0).all()
    assert (np.einsum("nkc,nc->nk", along, outwards)[seen] > 0).all()
    behind = found.pixels[0, 1, 0].numpy() - epipole
    nearer = np.linalg.norm(behind, axis=-1) - np.linalg.norm(outwards, axis=-1)[:, None]
    assert found.seen[0, 1, 0].all() and (nearer < 0).all()


def test_a_ray_that_another_view_does_not_see_is_marked() -> None:
    """Back to back, and side by side looking apart: no point is before both cameras' images."""
    turned = pose_from(exp_so3(np.array([0.0, np.pi, 0.0])), np.array([0.0, 0.0, -0.5]))
    back_to_back = samples_of(np.stack([np.eye(4), turned]))
    assert not back_to_back.seen.any() and back_to_back.pixels.isfinite().all()
    apart = pose_from(exp_so3(np.array([0.0, 0.9, 0.0])), np.array([0.3, 0.0, 0.0]))
    half = samples_of(np.stack([np.eye(4), apart])).seen[0, 0, 0].reshape(ROWS, COLUMNS)
    assert half.any() and not half.all()
    # Columns on the side of the other camera are the ones that it sees.
    assert half[:, -1].all() and not half[:, 0].any()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_depends_on_the_world_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moved = pose_from(exp_so3(rng.normal(0, 1.5, 3)), rng.normal(0, 2.0, 3)) @ POSES
    here, there = samples_of(POSES), samples_of(moved)
    assert torch.equal(here.seen, there.seen)
    torch.testing.assert_close(there.pixels, here.pixels, atol=1e-5, rtol=0)
