"""Laws of the Frechet distance; and that a TorchScript network's features are what is compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mvista_core.errors import WeightsError
from mvista_world.fvd import frechet_distance, video_features


class MeansOfClips(torch.nn.Module):
    """Called as the published I3D is; its features are the mean of each colour."""

    def forward(
        self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool
    ) -> torch.Tensor:
        assert not rescale and not resize and return_features
        assert x.shape[3] == 224 and x.shape[4] == 224
        return x.mean(dim=[2, 3, 4])


def test_distance_to_itself_symmetry_and_translation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    shift = np.arange(6.0)
    assert frechet_distance(a + shift, a) == pytest.approx((shift**2).sum())
    # Of one dimension: (m - m')^2 + (s - s')^2.
    one, two = a[:, :1], 3.0 * a[:, :1]
    expected = (2 * one.mean()) ** 2 + (2 * one.std(ddof=1)) ** 2
    assert frechet_distance(one, two) == pytest.approx(expected)
    assert np.isnan(frechet_distance(a[:1], b))


def test_fewer_clips_than_features_have_a_finite_distance() -> None:
    rng = np.random.default_rng(1)
    few, other = rng.normal(size=(5, 40)), rng.normal(size=(5, 40))
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(frechet_distance(few, other)) and frechet_distance(few, other) > 1.0


def test_features_are_of_clips_scaled_to_minus_one_to_one(tmp_path: Path) -> None:
    path = tmp_path / "i3d.pt"
    torch.jit.script(MeansOfClips()).save(str(path))
    clips = np.zeros((2, 9, 16, 24, 3), np.uint8)
    clips[1, ..., 0] = 255
    found = video_features(path, clips)
    np.testing.assert_allclose(found, [[-1, -1, -1], [1, -1, -1]], atol=1e-6)


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i3d.pt").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"i3d\.pt"):
        video_features(tmp_path / "i3d.pt", np.zeros((1, 9, 16, 24, 3), np.uint8))
