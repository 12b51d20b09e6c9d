"""A source is read from one place, wherever it stands: alike by planner and training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvista_core.camera_range import TRAINED, direction
from mvista_core.errors import ConfigError, ObservationError, RigError
from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.imaging import ModelWindow
from mvista_core.records import (
    CameraCalibration,
    CameraFrame,
    ImagineOptions,
    Intrinsics,
    Observation,
    RigCalibration,
)
from mvista_core.timing import ManualClock
from mvista_core.vantage import Vantage
from mvista_world import planner as planner_module
from mvista_world.config import SourcePointsConfig, SourceRenderConfig
from mvista_world.config_file import load_config, save_config
from mvista_world.decode import decode_views
from mvista_world.denoise import solve_views
from mvista_world.encode import encode_source
from mvista_world.given import given_to, whole_window
from mvista_world.layout import from_grid
from mvista_world.planner import load_planner
from mvista_world.presets import preset
from mvista_world.probe import load_probe
from mvista_world.reprojection import PosedLens
from mvista_world.requested_views import ViewFinder
from mvista_world.view_passes import take_views
from tests.world.test_reprojection import painted, table_depth
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    TEMPLATES,
    make_observation,
    noting,
    write_checkpoint,
)

VANTAGE = Vantage(focal_px=35.0)
READ = replace(
    CONFIG,
    source_render=SourceRenderConfig(8),
    source_points=SourcePointsConfig(8),
    vantage=VANTAGE,
)
WINDOW = ModelWindow(128, 80, 2)
LENS = Intrinsics(320, 180, 187.0, 187.0, 159.5, 89.5)
CENTRE = np.array(TRAINED.centre_m)


def standing(azimuth_deg: float, pitch_deg: float, distance_m: float) -> CameraCalibration:
    pose = look_at(CENTRE + distance_m * direction(azimuth_deg, pitch_deg), CENTRE)
    return CameraCalibration("seeing", pose, LENS)


def table_from(camera: CameraCalibration) -> CameraFrame:
    """A painted table."""
    lens = PosedLens(camera.intrinsics, camera.base_from_camera)
    depth_m = table_depth(lens)
    color = np.clip(np.rint(painted(lens, depth_m)), 0, 255).astype(np.uint8)
    return CameraFrame(color, depth_m.astype(np.float32), camera.intrinsics, 5, camera.name)


@pytest.mark.parametrize(("pitch_deg", "distance_m"), [(30.0, 1.2), (62.0, 0.6), (46.0, 0.66)])
def test_what_is_given_does_not_depend_on_where_the_camera_stands(
    pitch_deg: float, distance_m: float
) -> None:
    camera = standing(25.0, pitch_deg, distance_m)
    config = replace(preset("tiny_views"), window=WINDOW)
    rig = replace(RIG, cameras=(camera,))
    views = ViewFinder(rig, TRAINED, config, torch.device("cpu")).find(
        "seeing", [], ImagineOptions(allow_out_of_range=True)
    )
    assert views.vantage is not None and views.names == ("seeing",)
    seen = table_from(camera)
    given = given_to(views, seen, WINDOW.frame(seen), WINDOW)
    there = PosedLens(WINDOW.intrinsics(views.vantage.intrinsics), views.vantage.base_from_camera)
    wanted_m = table_depth(there)
    assert given.depth_m.shape == (80, 128) and given.covered.mean() > 0.5
    shown = given.covered & (wanted_m > 0)
    off_m = np.abs(given.depth_m - wanted_m)[shown]
    # A window takes one pixel of a block of four: half a pixel of a slanted table.
    assert np.median(off_m) < 0.0035 and off_m.max() < 0.006
    off = np.abs(given.color - np.clip(painted(there, wanted_m), 0, 255))[shown]
    assert np.median(off) < 1.5 and np.percentile(off, 99) < 8.0


def observed(
    instruction: str, rig: RigCalibration = RIG, cameras: tuple[str, ...] = ("cam1",)
) -> Observation:
    """Colours are noise, on a table that all cameras see."""
    noise = make_observation(instruction, rig, cameras)
    frames = []
    for frame in noise.frames:
        lens = PosedLens(frame.intrinsics, rig.camera(frame.camera).base_from_camera)
        frames.append(replace(frame, depth_m=table_depth(lens).astype(np.float32)))
    return replace(noise, frames=tuple(frames))


def quiet(stage: str, fraction: float) -> bool:
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("vantage"), READ)


@pytest.mark.parametrize(("mode", "targets"), [(1, 2), (2, 0), (2, 2), (2, 3)])
def test_a_rollout_is_of_the_views_asked_for_and_is_explained_from_the_vantage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, targets: int
) -> None:
    told = []

    def noted(*given: Any) -> torch.Tensor:
        told.append(given)
        return solve_views(*given)

    monkeypatch.setattr(planner_module, "solve_views", noted)
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    names = [name for name in RIG.names if name != "cam1"][:targets]
    observation, options = observed("open the drawer"), ImagineOptions(view_mode=mode)
    rollout = planner.imagine(observation, "cam1", names, 3, noting([]), options)
    assert rollout.cameras == ("cam1", *names)
    held = planner._find(rollout.rollout_id)
    grid = held.asked.views.grid
    assert [camera.name for camera in grid] == ["cam1_vantage", *names, "cam1"]
    # The source's own view comes last, with others imagined before it.
    runs, conditions = told[0][3:5]
    assert runs[-1].views[-1] == 1 + targets and runs[-1].frozen == len(runs[-1].views) - 1
    assert held.asked.shown is not None
    for run, own in zip(runs, conditions, strict=True):
        assert torch.equal(own.shown, take_views(held.asked.shown, 2 + targets, run.views))
        assert len(run.views) <= READ.max_views
    plan = planner.infer_actions(rollout.rollout_id, "head", 2, noting([]))
    assert np.isfinite(plan.refined.positions).all()
    doubts = {doubt.name: doubt.value for doubt in planner.judge(rollout.rollout_id, plan, quiet)}
    assert np.isfinite(doubts["source_first_rms"])


@pytest.mark.parametrize("targets", [0, 2, 3])
def test_pictures_are_of_their_places_on_the_grid(
    folder: Path, monkeypatch: pytest.MonkeyPatch, targets: int
) -> None:
    told, made = [], []

    def noted(*given: Any) -> torch.Tensor:
        told.append(given)
        made.append(solve_views(*given))
        return made[0]

    monkeypatch.setattr(planner_module, "solve_views", noted)
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    names = [name for name in RIG.names if name != "cam1"][:targets]
    rollout = planner.imagine(observed("open the drawer"), "cam1", names, 3, quiet)
    held = planner._find(rollout.rollout_id)
    grid, codec = held.asked.views.grid, planner._checkpoint.codec
    # Its pictures are the grid's, the source's from the end of it.
    on_grid, _ = decode_views(codec, made[0], 2 + targets, READ, planner.compute)
    for view, place in enumerate([1 + targets, *range(1, 1 + targets)]):
        np.testing.assert_array_equal(rollout.view_color(view), on_grid[place])
    # What is explained is the vantage and the targets, beginning with what was given.
    count = min(1 + targets, READ.max_views)
    explained, begun = from_grid(held.latents, count), from_grid(told[0][1], 2 + targets)
    assert torch.equal(explained[:, 0, :, :, 0], begun[:, 0, :, :, 0])
    assert torch.equal(explained, from_grid(made[0], 2 + targets)[:, :count])
    poses = held.conditions.cameras.base_from_camera[0].numpy()
    np.testing.assert_array_equal(poses, [c.base_from_camera for c in grid[:count]])
    color, _ = held.explained_pictures()
    np.testing.assert_array_equal(color, on_grid[:count])
    assert held.asked.shown is not None
    # What is told of the vantage is what it was given, of the source all that it shows itself.
    shown = from_grid(held.asked.shown, 2 + targets)[0, :, :, :, 0]
    channels = READ.codec.latent_channels
    torch.testing.assert_close(shown[0, :, :channels], begun[0, 0, :, :, 0])
    cells = held.asked.given.covered.reshape(4, 8, 6, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(shown[0, 0, channels], cells, atol=1e-6)
    assert shown[-1, :, channels].eq(1.0).all()
    own = encode_source(codec, whole_window(held.asked.own), 1, READ, planner.compute)
    torch.testing.assert_close(shown[-1, :, :channels], from_grid(own, 1)[0, 0, :, :, 0])


def test_a_film_is_taken_as_it_is_and_read_from_the_vantage(folder: Path) -> None:
    planner = load_probe(folder, RIG, ARM, ManualClock(7))
    cameras = ("cam1", "cam2")
    observation = observed("open the drawer", cameras=cameras)
    film = [[observation.frame(name)] * READ.frame_count for name in cameras]
    rollout = planner.adopt(film, observation.joints, "open the drawer")
    assert rollout.cameras == cameras
    window = READ.window
    np.testing.assert_array_equal(rollout.color[1, 0], window.frame(film[1][0]).color)
    held = planner._find(rollout.rollout_id)
    color, depth_m = held.explained_pictures()
    assert color.shape[0] == depth_m.shape[0] == 2
    np.testing.assert_array_equal(color[1], rollout.color[1])
    begun = from_grid(held.latents, 2)[:, 0, :, :, 0]
    given = encode_source(planner._checkpoint.codec, held.asked.given, 1, READ, planner.compute)
    torch.testing.assert_close(begun, from_grid(given, 1)[:, 0, :, :, 0])
    assert planner.recoded(rollout.rollout_id).color.shape == rollout.color.shape
    again = planner.retold(rollout.rollout_id, "touch the red cube")
    other = planner._find(again)
    assert torch.equal(other.latents, held.latents)
    assert not torch.equal(other.conditions.text, held.conditions.text)
    plan = planner.infer_actions(again, "head", 1, quiet)
    assert np.isfinite(plan.prior.positions).all()


def test_a_source_that_looks_elsewhere_is_refused_before_anything_is_imagined(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("imagined")

    monkeypatch.setattr(planner_module, "solve_views", never)
    aside = pose_from(exp_so3(np.array([0.0, np.deg2rad(80.0), 0.0])), np.zeros(3))
    camera = RIG.camera("cam1")
    turned = replace(camera, base_from_camera=camera.base_from_camera @ aside)
    rig = replace(RIG, cameras=(turned, *(c for c in RIG.cameras if c.name != "cam1")))
    planner = load_planner(folder, rig, ARM, ManualClock(7))
    observation = observed("open the drawer", rig)
    with pytest.raises(ObservationError, match=r"'cam1' shows [0-9]% of what the model looks at"):
        planner.imagine(observation, "cam1", [], 3, quiet, ImagineOptions(allow_out_of_range=True))


def test_a_target_where_the_vantage_stands_is_refused(folder: Path) -> None:
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    there = VANTAGE.of(RIG.camera("cam1"), TRAINED, READ.window)
    guest = replace(there, name="guest", intrinsics=RIG.camera("cam1").intrinsics)
    options = ImagineOptions((guest,), allow_out_of_range=True)
    with pytest.raises(RigError, match="cam1_vantage"):
        planner.imagine(observed("open the drawer"), "cam1", [], 3, quiet, options)


def test_the_config_file_keeps_it_and_it_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    save_config(READ, TEMPLATES, path)
    assert load_config(path)[0] == READ
    document = json.loads(path.read_text())
    del document["model"]["vantage"]
    path.write_text(json.dumps(document))
    assert load_config(path)[0] == READ.without(["vantage"])
    assert READ.without(["vantage"]).lacks("vantage") and preset("tiny").lacks("vantage")
    with pytest.raises(ConfigError, match="leave out vantage"):
        READ.without(["source_render", "source_points"])
    with pytest.raises(ConfigError, match="max_views"):
        replace(READ, max_views=1)


def test_an_observation_needs_no_other_camera(folder: Path) -> None:
    """One calibrated camera is a rig, as for any other model."""
    rig = replace(RIG, cameras=(RIG.camera("cam1"),))
    planner = load_planner(folder, rig, ARM, ManualClock(7))
    observation = observed("open the drawer", rig)
    assert planner.imagine(observation, "cam1", [], 3, quiet).cameras == ("cam1",)

    # Eq. 6 of a camera and its vantage would lie anywhere on a line: they are told as in a rig.
    config = replace(READ, flat_cameras=False)
    alone_told, told = (
        ViewFinder(cameras, TRAINED, config, torch.device("cpu")).find("cam1", [], ImagineOptions())
        for cameras in (rig, RIG)
    )
    torch.testing.assert_close(
        alone_told.cameras.embedding, told.cameras.embedding, atol=0.15, rtol=0
    )


def test_no_camera_may_have_the_name_of_a_vantage(folder: Path) -> None:
    """It would be told in its place."""
    planner = load_planner(folder, RIG, ARM, ManualClock(7))
    guest = replace(RIG.camera("cam3"), name="cam1_vantage")
    guest = replace(guest, base_from_camera=standing(10.0, 60.0, 0.8).base_from_camera)
    options = ImagineOptions((guest,), allow_out_of_range=True)
    with pytest.raises(RigError, match="has the name of the view that 'cam1' is read from"):
        planner.imagine(observed("open the drawer"), "cam1", [], 3, quiet, options)
