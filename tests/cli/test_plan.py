"""`mvista plan`: views by pose, the range, the best of several rollouts, and what the gate says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvista_cli import cli
from mvista_core import weights
from mvista_core.rig import save_rig
from mvista_eval.doubt import NUMBERS
from mvista_world import gate
from tests.world.tiny import RIG, write_checkpoint

pytestmark = pytest.mark.slow

GUEST = ("--camera", "0,46,0.74")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    limits = dict.fromkeys(NUMBERS, 1.0) | {"source_first_rms": 1e-6}
    gate.save_limits(folder, weights.verify(folder), limits, {})
    return folder


def plan(checkpoint: Path, *words: str) -> int:
    return cli.main(
        ["plan", "--task", "open_drawer", "--steps", "0", "--checkpoint", str(checkpoint), *words]
    )


def document(checkpoint: Path, tmp_path: Path, words: Sequence[str]) -> dict[str, Any]:
    path = tmp_path / "plan.json"
    assert plan(checkpoint, *words, "--json", str(path)) == 0
    return dict(json.loads(path.read_text()))


def test_a_camera_out_of_range_is_refused_with_the_range(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(checkpoint, *GUEST) == 2
    said = capsys.readouterr().err
    assert "'asked0' is outside the range" in said and "azimuths -66, -22, 22, 66 deg" in said


def test_views_by_pose_from_words_and_from_a_file_when_that_is_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = RIG.camera("cam0").base_from_camera.copy()
    moved[2, 3] += 0.1
    beside = replace(RIG.camera("cam0"), name="beside", base_from_camera=moved)
    save_rig(replace(RIG, cameras=(beside,)), tmp_path / "guests.yaml")
    file = ("--cameras", str(tmp_path / "guests.yaml"))
    found = document(checkpoint, tmp_path, [*GUEST, *file, "--allow-out-of-range", "--mode", "1"])
    assert found["target_cameras"] == ["beside", "asked0"]
    assert (found["source_camera"], found["view_mode"]) == ("cam1", 1)
    np.testing.assert_allclose(found["posed_cameras"]["beside"], moved)
    assert [doubt["name"] for doubt in found["doubts"]] == list(NUMBERS)
    # The one number whose limit no picture keeps.
    assert found["refused"].startswith("[63.5] ") and "source_first_rms" in found["refused"]
    assert "gate: [63.5]" in capsys.readouterr().out


def test_the_best_of_two_is_one_of_the_two(checkpoint: Path, tmp_path: Path) -> None:
    found = document(checkpoint, tmp_path, ["--best-of", "2", "--seed", "40", "--targets", "cam2"])
    assert found["best_of"] == found["imagined"] == 2 and found["seed"] in (40, 41)
