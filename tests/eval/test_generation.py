"""`mvista eval generation`: what is compared, and that the command does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_cli import cli
from mvista_core.errors import ConfigError
from mvista_core.records import Rollout
from mvista_eval import generation
from mvista_eval.generation import ALL_VIEWS, FIGURES, ViewScore
from tests.world.tiny import CONFIG, RIG, write_checkpoint

pytestmark = pytest.mark.slow

PSNR, SSIM, ABS_REL, RMSE, DELTA1, VALID, CHAMFER, EMD = range(len(FIGURES))


def filmed() -> Rollout:
    """Two views of a plane of noise within the workspace."""
    rng = np.random.default_rng(0)
    cameras = [RIG.camera(name) for name in CONFIG.cameras[:2]]
    shape = (2, 3, CONFIG.window.height_px, CONFIG.window.width_px)
    return Rollout(
        "r",
        "open the drawer",
        CONFIG.cameras[:2],
        tuple(CONFIG.window.intrinsics(camera.intrinsics) for camera in cameras),
        np.stack([camera.base_from_camera for camera in cameras]),
        rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        rng.uniform(0.8, 1.0, shape).astype(np.float32),
        np.array([0.0, 0.8, 1.6]),
        0,
        0,
    )


def scores_of(imagined: Rollout) -> dict[str, tuple[float, ...]]:
    return {score.view: score.values for score in generation.compare(imagined, filmed())}


def test_what_is_imagined_exactly_is_right_in_every_figure() -> None:
    scores = scores_of(filmed())
    assert list(scores) == [*filmed().cameras, ALL_VIEWS]
    for values in scores.values():
        assert np.isinf(values[PSNR])
        expected = {SSIM: 1.0, ABS_REL: 0.0, RMSE: 0.0, DELTA1: 1.0, VALID: 1.0, CHAMFER: 0.0}
        for figure, value in expected.items():
            assert values[figure] == pytest.approx(value, abs=1e-9)


def test_an_error_counts_in_its_own_view_and_after_the_first_frame_only() -> None:
    truth = filmed()
    depth_m = truth.depth_m.copy()
    depth_m[0, 0] *= 3.0
    depth_m[1, 1:] *= 1.1
    scores = scores_of(replace(truth, depth_m=depth_m))
    first, second = (scores[name] for name in truth.cameras)
    assert first[ABS_REL] == 0.0 and first[CHAMFER] == 0.0
    assert second[ABS_REL] == pytest.approx(0.1, rel=1e-4)
    assert second[RMSE] == pytest.approx(0.09, rel=0.05) and second[DELTA1] == 1.0
    assert second[CHAMFER] > 0.005
    assert scores[ALL_VIEWS][ABS_REL] == pytest.approx(0.05, rel=1e-4)


def test_a_view_without_points_has_no_distance_and_does_not_count() -> None:
    truth = filmed()
    depth_m = truth.depth_m.copy()
    depth_m[0] = 0.0
    values = scores_of(replace(truth, depth_m=depth_m))[truth.cameras[0]]
    assert np.isnan(values[CHAMFER]) and np.isnan(values[ABS_REL]) and values[VALID] == 0.0
    whole = ViewScore("cam1", tuple(float(i) for i in range(len(FIGURES))))
    (row,) = generation.rows_of([whole, ViewScore("cam1", values), whole])
    assert row.count[CHAMFER] == 2 and row.mean[CHAMFER] == CHAMFER
    assert row.standard_error[CHAMFER] == 0.0


def test_one_scene_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        generation.measure(Path("none"), "touch_cube", 1, 0, False)


def test_the_help_says_why_there_is_no_fvd(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["eval", "generation", "--help"])
    assert "Kinetics-400" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_measures_a_checkpoint(tmp_path: Path) -> None:
    folder, table = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "table.json"
    words = ["eval", "generation", "--task", "open_drawer", "--episodes", "2", "--json", str(table)]
    assert cli.main([*words, "--checkpoint", str(folder)]) == 0
    document = json.loads(table.read_text())
    assert (document["first_seed"], document["episodes"]) == (10_000, 2)
    assert [row["view"] for row in document["rows"]] == [*CONFIG.cameras, ALL_VIEWS]
    for row in document["rows"]:
        assert row["count"][PSNR] == 2 and 0.0 < row["mean"][PSNR] < 60.0
