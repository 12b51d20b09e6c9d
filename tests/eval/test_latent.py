"""`mvista eval latent`'s bookkeeping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mvista_cli import cli
from mvista_core.errors import ConfigError
from mvista_eval.latent import FILMED, IMAGINED, TRUE, SceneErrors, measure, rows_of
from tests.fakes.random_checkpoint import write_random_checkpoint


def test_rows_hold_means_and_standard_errors_over_scenes_and_of_their_own_differences() -> None:
    found = [SceneErrors(0, FILMED, TRUE, (1.0, 2.0)), SceneErrors(1, FILMED, TRUE, (3.0, 2.0))]
    read = [SceneErrors(0, FILMED, "read", (2.0, 2.0)), SceneErrors(1, FILMED, "read", (4.0, 2.5))]
    row, second = rows_of([found[0], read[0], found[1], read[1]])
    assert (row.future, row.told, second.told) == (FILMED, TRUE, "read")
    assert row.mean == (2.0, 2.0) and row.beyond_true == row.beyond_true_error == (0.0, 0.0)
    np.testing.assert_allclose(row.standard_error, [1.0, 0.0])
    # Scenes differ by 2, what is told by 1 in each of them.
    assert second.beyond_true == (1.0, 0.25)
    np.testing.assert_allclose(second.beyond_true_error, [0.0, 0.25])


@pytest.mark.slow
def test_the_command_explains_filmed_and_imagined_futures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))
    checkpoint, found = write_random_checkpoint(tmp_path, quick=True), tmp_path / "latent.json"
    line = f"eval latent --episodes 2 --workers 1 --json {found}"
    assert cli.main([*line.split(), "--checkpoint", str(checkpoint)]) == 0
    rows = json.loads(found.read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 2 * 4 and {row["future"] for row in rows} == {FILMED, IMAGINED}
    nothing = {row["future"]: row["mean"] for row in rows if row["told"] == "nothing"}
    assert nothing[FILMED] != nothing[IMAGINED], "each future is explained, not one of them twice"


def test_one_scene_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        measure(Path("x"), 1, 0)
