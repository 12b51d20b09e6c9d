"""`mvista eval latent`'s bookkeeping."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import ConfigError
from mvista_eval import latent as eval_latent


def test_rows_hold_means_and_standard_errors_over_scenes() -> None:
    scenes = [{"true": np.array([1.0, 2.0])}, {"true": np.array([3.0, 2.0])}]
    (row,) = eval_latent._rows(scenes)
    assert row.told == "true"
    assert row.mean == (2.0, 2.0)
    np.testing.assert_allclose(row.standard_error, [1.0, 0.0])


def test_one_scene_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        eval_latent.run(argparse.Namespace(episodes=1, seed=0, checkpoint=Path("x"), json=None))
