"""Metrics against closed forms."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvista_world import metrics


def noise_image(seed: int, shape: tuple[int, ...] = (24, 32, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, shape, dtype=np.uint8)


def test_psnr_of_a_constant_offset_and_of_equals() -> None:
    image = noise_image(0)
    assert metrics.psnr(image, image) == math.inf
    assert metrics.psnr(image + 10, image) == pytest.approx(20 * math.log10(255 / 10))


def test_ssim_of_equals_of_constants_and_of_noise() -> None:
    image = noise_image(1)
    assert metrics.ssim(image, image) == pytest.approx(1.0)
    dark, bright = np.full((16, 16, 3), 50, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 50 * 150 + c1) / (50**2 + 150**2 + c1)
    assert metrics.ssim(dark, bright) == pytest.approx(luminance, rel=1e-6)
    assert metrics.ssim(image, noise_image(2)) < 0.4


def test_ssim_treats_clips_image_by_image() -> None:
    a, b = noise_image(3, (2, 5, 16, 16, 3)), noise_image(4, (2, 5, 16, 16, 3))
    single = [metrics.ssim(a[v, t], b[v, t]) for v in range(2) for t in range(5)]
    assert metrics.ssim(a, b) == pytest.approx(np.mean(single))
    with pytest.raises(ValueError, match="H >= 11"):
        metrics.ssim(a[..., :10, :, :], b[..., :10, :, :])


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.5, 2.0), seed=st.integers(0, 1000))
def test_depth_metrics_of_a_scaled_map(scale: float, seed: int) -> None:
    truth = np.random.default_rng(seed).uniform(0.4, 1.5, (20, 30))
    assert metrics.abs_rel(scale * truth, truth) == pytest.approx(abs(scale - 1), abs=1e-12)
    expected = abs(scale - 1) * np.sqrt(np.mean(truth**2))
    assert metrics.rmse_m(scale * truth, truth) == pytest.approx(expected, abs=1e-12)
    if abs(max(scale, 1 / scale) - 1.25) > 1e-6:
        assert metrics.delta1(scale * truth, truth) == float(max(scale, 1 / scale) < 1.25)


def test_depth_metrics_look_only_where_both_are_valid() -> None:
    truth, found = np.array([[1.0, 0.0, 2.0, 1.0]]), np.array([[1.1, 5.0, 0.0, 2.0]])
    assert metrics.abs_rel(found, truth) == pytest.approx((0.1 + 1.0) / 2)
    assert metrics.rmse_m(found, truth) == pytest.approx(math.sqrt((0.01 + 1.0) / 2))
    assert metrics.delta1(found, truth) == 0.5
    assert metrics.valid_agreement(found, truth) == 0.5
    nothing = np.zeros((2, 2))
    assert math.isnan(metrics.abs_rel(nothing, nothing))
    assert metrics.valid_agreement(nothing, nothing) == 1.0


def test_cloud_metrics_of_a_shifted_grid() -> None:
    axis = np.arange(6) * 0.1
    grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    moved = grid + np.array([0.02, 0.0, 0.0])
    assert metrics.chamfer_m(grid, grid) == 0.0
    assert metrics.chamfer_m(moved, grid) == pytest.approx(0.02)
    assert metrics.emd_m(moved, grid) == pytest.approx(0.02)
    assert metrics.emd_m(grid[::-1], grid) == pytest.approx(0.0)


def test_chamfer_averages_its_two_directions_and_emd_does_not_collapse() -> None:
    one = np.zeros((1, 3))
    two = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.4]])
    assert metrics.chamfer_m(one, two) == pytest.approx((0.0 + 0.2) / 2)
    assert metrics.chamfer_m(two, one) == metrics.chamfer_m(one, two)
    clump, spread = np.zeros((2, 3)), two
    assert metrics.emd_m(clump, spread) == pytest.approx(0.2)


def test_emd_subsamples_deterministically() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((900, 3)), rng.random((700, 3))
    assert metrics.emd_m(a, b, samples=64, seed=3) == metrics.emd_m(a, b, samples=64, seed=3)
    assert metrics.emd_m(a, b, samples=64) > 0


@given(seed=st.integers(0, 1000), count=st.integers(2, 200), samples=st.integers(1, 64))
def test_distances_of_clouds_are_symmetric_none_to_themselves_and_at_most_a_shift(
    seed: int, count: int, samples: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b, shift = rng.random((count, 3)), rng.random((count + 7, 3)), rng.normal(size=3)
    for distance in (
        metrics.chamfer_m,
        lambda one, other: metrics.emd_m(one, other, samples=samples),
    ):
        assert distance(a, a) == pytest.approx(0.0, abs=1e-12)
        assert distance(a, b) == pytest.approx(distance(b, a))
        # Moving both changes nothing; moving one costs no more than the way.
        assert distance(a + shift, b + shift) == pytest.approx(distance(a, b))
        assert distance(a + shift, a) <= np.linalg.norm(shift) + 1e-9
    # The best match of a cloud and its copy elsewhere is the translation itself.
    assert metrics.emd_m(a + shift, a, samples=samples) == pytest.approx(np.linalg.norm(shift))


def test_the_floor_of_emd_is_what_sampling_one_surface_costs() -> None:
    rng = np.random.default_rng(0)
    plane = np.column_stack([rng.random((4000, 2)), np.zeros(4000)])
    floor = metrics.emd_floor_m(plane, samples=128)
    other = np.column_stack([rng.random((4000, 2)), np.zeros(4000)])
    assert floor == pytest.approx(metrics.emd_m(plane, other, samples=128), rel=0.3)
    assert metrics.emd_floor_m(plane, samples=512) < floor
    assert math.isnan(metrics.emd_floor_m(plane[:100], samples=64))


def test_psnr_and_ssim_are_opencvs() -> None:
    """Its SSIM goes on to the border, where the window leaves the image: there ours counts not."""
    smooth = cv2.GaussianBlur(noise_image(5, (64, 96, 3)), (0, 0), 2.0)
    noisy = np.clip(smooth.astype(int) + noise_image(6, (64, 96, 3)) // 4 - 30, 0, 255)
    noisy = noisy.astype(np.uint8)
    assert metrics.psnr(smooth, noisy) == pytest.approx(cv2.PSNR(smooth, noisy))
    _, per_pixel = cv2.quality.QualitySSIM_compute(smooth, noisy)
    theirs = np.asarray(per_pixel)[5:-5, 5:-5].mean()
    assert metrics.ssim(smooth, noisy) == pytest.approx(theirs, abs=1e-5)
    assert 0.2 < theirs < 0.9


def test_refuses_shapes_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="one non-empty shape"):
        metrics.psnr(noise_image(0), noise_image(0)[:5])
    with pytest.raises(ValueError, match="a cloud is"):
        metrics.chamfer_m(np.zeros((0, 3)), np.zeros((2, 3)))
