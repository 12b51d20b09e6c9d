"""The linear probe: it finds what is there, and nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import ConfigError
from mvista_world.config import ModelConfig
from mvista_world.style_probe import STYLES, held_out_r2, measure
from mvista_world.training import recordings
from tests.world.test_vantage import READ
from tests.world.tiny import CONFIG, RIG, write_checkpoint, write_episodes

pytestmark = pytest.mark.slow


def test_a_probe_explains_what_is_linear_and_not_what_is_noise() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 60))
    linear = features @ rng.normal(size=(60, 2)) + 0.1 * rng.normal(size=(400, 2))
    noise = rng.normal(size=(400, 2))
    r2 = held_out_r2(features, np.concatenate([linear, noise], axis=1), held_out=100)
    assert (r2[:2] > 0.97).all() and (r2[2:] < 0.1).all()


def test_scale_and_offset_of_features_change_nothing() -> None:
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(120, 30)), rng.normal(size=(120, 4))
    plain = held_out_r2(features, targets, 30)
    np.testing.assert_allclose(held_out_r2(40.0 * features + 7.0, targets, 30), plain, atol=1e-6)


def test_more_features_than_episodes_are_no_obstacle() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(size=(300, 3))
    features = source @ rng.normal(size=(3, 900)) + 0.05 * rng.normal(size=(300, 900))
    assert (held_out_r2(features, source, 60) > 0.95).all()


@pytest.mark.parametrize("config", [CONFIG, READ])
def test_styles_are_read_from_a_data_set(config: ModelConfig, tmp_path: Path) -> None:
    """Whatever its generator is told of other views: one is read by itself."""
    folder = write_episodes(tmp_path / "data", 60, config) / "touch"
    path = recordings.shard_paths([folder])[0]
    with pytest.raises(ConfigError, match="states no styles.*collect"):
        measure(write_checkpoint(tmp_path / "checkpoint", config), folder, RIG, 10)
    with np.load(path) as shard:
        arrays = {key: shard[key] for key in shard.files}
    np.savez(path, **arrays, style=np.random.default_rng(0).normal(size=(60, 4)))
    table = measure(tmp_path / "checkpoint", folder, RIG, 10)
    assert list(table) == ["first frame", "latents", "q(z | a)"]
    assert all(list(row) == list(STYLES) for row in table.values())
    assert all(value < 0.9 for row in table.values() for value in row.values())
    with pytest.raises(ConfigError, match="60 episodes, 50 of them.*--held-out"):
        measure(tmp_path / "checkpoint", folder, RIG, 50)
