"""A checkpoint states from where its views can be asked: what its data sets were collected with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_core.camera_range import SIM_CELL, TRAINED, CameraRange, FixedCameras, TrainedCameras
from mvista_core.errors import ConfigError
from mvista_world.config_file import save_config, stated_cameras
from mvista_world.training.pack import cameras_of
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import ARM, CONFIG, RIG, TEMPLATES


def packed(tmp_path: Path, *ranges: CameraRange | None) -> TrainedCameras:
    """What is stated after packing what data sets of these ranges trained."""
    folders = []
    for number, span in enumerate(ranges):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        document = None if span is None else span.document()
        manifest = json.dumps({"templates": [], "camera_range": document})
        (folders[-1] / "manifest.json").write_text(manifest)
    asked = TrainingRequest(CONFIG, tmp_path, tmp_path, tmp_path, RIG, ARM)
    save_config(CONFIG, TEMPLATES, tmp_path / "config.json", cameras_of(folders, asked))
    return stated_cameras(tmp_path / "config.json")


def test_drawn_cameras_are_stated_as_their_range(tmp_path: Path) -> None:
    """Beside it, data sets of a rig that does not move lie inside."""
    assert packed(tmp_path, TRAINED, None, TRAINED) == TRAINED


def test_two_ranges_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in 2 ranges of cameras, a checkpoint states one"):
        packed(tmp_path, TRAINED, replace(TRAINED, far_m=0.9))


def test_a_rig_that_does_not_move_is_stated_camera_by_camera(tmp_path: Path) -> None:
    stated = packed(tmp_path, None)
    assert isinstance(stated, FixedCameras) and stated.focal_px == SIM_CELL.focal_px
    for place, own in zip(stated.places, SIM_CELL.places, strict=True):
        np.testing.assert_allclose(list(vars(place).values()), list(vars(own).values()), atol=1e-9)


def test_a_checkpoint_that_states_none_was_trained_on_the_cells_own(tmp_path: Path) -> None:
    save_config(CONFIG, TEMPLATES, tmp_path / "config.json")
    assert stated_cameras(tmp_path / "config.json") == SIM_CELL
    (tmp_path / "config.json").write_text('{"trained_cameras": {"places": []}}')
    with pytest.raises(ConfigError, match="not a set of fixed cameras"):
        stated_cameras(tmp_path / "config.json")
