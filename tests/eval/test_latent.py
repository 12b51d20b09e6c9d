"""`mvista eval latent`'s bookkeeping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import ConfigError
from mvista_eval.latent import SceneErrors, measure, rows_of


def test_rows_hold_means_and_standard_errors_over_scenes() -> None:
    found = [SceneErrors(0, "true", (1.0, 2.0)), SceneErrors(1, "true", (3.0, 2.0))]
    other = [SceneErrors(seed, "other", (4.0, 4.0)) for seed in (0, 1)]
    row, second = rows_of([found[0], other[0], found[1], other[1]])
    assert (row.told, second.told) == ("true", "other")
    assert row.mean == (2.0, 2.0)
    np.testing.assert_allclose(row.standard_error, [1.0, 0.0])


def test_one_scene_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        measure(Path("x"), 1, 0)
