"""Commands that train and measure, to their first result on the least that they take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mvista_cli import cli
from mvista_core.episode_shape import TINY
from mvista_eval.latent import NOISE_LEVELS
from mvista_sim.tasks import TEMPLATES
from tests.world.tiny import CONFIG, write_checkpoint, write_episodes

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of an earlier run are not found there: everything is done."""
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "output"))


def _measured(tmp_path: Path, *words: str) -> dict[str, Any]:
    table = tmp_path / "table.json"
    # 2: a bound is missed, which two sessions may do.
    assert cli.main([*words, "--json", str(table)]) in (0, 2)
    document: dict[str, Any] = json.loads(table.read_text(encoding="utf-8"))
    return document


def test_a_network_is_trained_goes_on_and_is_written(tmp_path: Path) -> None:
    write_episodes(tmp_path / "data", 8)
    words = ["train", "trajectory", "--data", str(tmp_path / "data")]
    words += ["--out", str(tmp_path / "out"), "--threads", "1"]
    assert cli.main([*words, "--steps", "3"]) == 0
    weights = load_file(tmp_path / "out" / "trajectory.safetensors")
    assert all(np.isfinite(value).all() for value in weights.values())
    assert cli.main([*words, "--steps", "3"]) == 0
    again = load_file(tmp_path / "out" / "trajectory.safetensors")
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_experts_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _measured(tmp_path, "eval", "experts", "--task", "open_drawer", "--episodes", "2")
    (rate,) = document["tasks"]
    assert (rate["task"], rate["episodes"], rate["successes"]) == ("open_drawer", 2, 2)
    assert "open_drawer     2/2" in capsys.readouterr().out


def test_what_the_generator_is_told_is_compared(tmp_path: Path) -> None:
    # As long as the expert's plans are.
    plan = replace(
        CONFIG.trajectory, action_count=TINY.action_count, action_rate_hz=TINY.action_rate_hz
    )
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint", replace(CONFIG, trajectory=plan), (TEMPLATES["touch_cube"],)
    )
    words = ("eval", "latent", "--checkpoint", str(checkpoint), "--episodes", "2")
    document = _measured(tmp_path, *words)
    assert document["episodes"] == 2 and len(document["rows"]) > 2
    for row in document["rows"]:
        assert len(row["mean"]) == len(NOISE_LEVELS) and np.isfinite(row["mean"]).all()


def test_calibration_is_held_against_the_truth(tmp_path: Path) -> None:
    words = ("bench", "calibration", "--part", "base", "--sessions", "2", "--workers", "1")
    outcomes = _measured(tmp_path, *words)["base"]
    assert [outcome["kind"] for outcome in outcomes] == ["a4", "a4"]
    assert 0.0 < max(outcome["base_mm"] for outcome in outcomes) < 10.0


def test_an_unmoved_cell_raises_no_alarm(tmp_path: Path) -> None:
    """Five seconds more than the watch needs to judge at all."""
    document = _measured(tmp_path, "bench", "drift", "--part", "quiet", "--seconds", "50")
    (detection,) = document["detections"]
    assert detection["frames_s"] == 50 and detection["wrong"] == []
    assert document["kept"] and len(document["figures"]) == 1
