"""The cell with a fifth camera: the others as they were, all seen, and views from each to all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_bringup.paths import config_file
from mvista_core import weights
from mvista_core.camera_range import TRAINED, gaps_deg, sees_a_neighbour
from mvista_core.errors import RigError
from mvista_core.records import Observation
from mvista_core.rig import load_rig
from mvista_core.timing import ManualClock
from mvista_sim.cell import SimCell
from mvista_sim.rig_file import sim_rig
from mvista_world.config_file import save_config
from mvista_world.planner import load_planner
from tests.world.tiny import ARM, CONFIG, TEMPLATES, write_checkpoint

RIG = load_rig(config_file("rigs", "sim_cell_five.yaml"))
FOUR = load_rig(config_file("rigs", "sim_cell.yaml"))


def test_it_is_the_cells_rig_and_one_more_in_the_range_of_training() -> None:
    assert RIG.names == (*FOUR.names, "cam4")
    for camera, made in zip(RIG.cameras, sim_rig(RIG.date, fifth=True).cameras, strict=True):
        np.testing.assert_allclose(camera.base_from_camera, made.base_from_camera, atol=1e-12)
    for camera in FOUR.cameras:
        own = RIG.camera(camera.name)
        np.testing.assert_allclose(own.base_from_camera, camera.base_from_camera, atol=1e-12)
        assert own.intrinsics == camera.intrinsics
    for camera in RIG.cameras:
        lens = CONFIG.window.intrinsics(camera.intrinsics)
        assert TRAINED.why_outside(camera.base_from_camera, lens) == ""
    poses = np.stack([camera.base_from_camera for camera in RIG.cameras])
    assert sees_a_neighbour(gaps_deg(poses, np.array(TRAINED.centre_m))).all()


def test_it_is_seen_by_and_all_five_views_are_imagined_where_they_were_trained(
    tmp_path: Path,
) -> None:
    cell = SimCell(ARM, RIG)
    words = cell.reset("open_drawer", 3)
    frames = tuple(cell.latest(name) for name in cell.cameras())
    observation = Observation(frames, cell.state(), RIG.content_hash, words)
    cell.close()
    assert [frame.camera for frame in frames] == list(RIG.names)
    assert (frames[4].depth_m > 0).mean() > 0.9
    folder = write_checkpoint(tmp_path)
    fixed = load_planner(folder, RIG, ARM, ManualClock())
    with pytest.raises(RigError, match="'cam4' is outside the range"):
        fixed.imagine(observation, "cam4", [], 0, lambda *_: True)
    # The same weights, as if trained on drawn cameras.
    save_config(CONFIG, TEMPLATES, folder / "config.json", TRAINED)
    names = [path.name for path in folder.iterdir() if path.name != weights.MANIFEST]
    weights.write_manifest(folder, names)
    planner = load_planner(folder, RIG, ARM, ManualClock())
    for source in ("cam4", "cam0"):
        targets = [name for name in RIG.names if name != source]
        rollout = planner.imagine(observation, source, targets, 0, lambda *_: True)
        assert rollout.cameras == (source, *targets) and len(rollout.color) == 5
