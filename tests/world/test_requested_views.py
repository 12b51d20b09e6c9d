"""From where views can be asked: by name or by pose and lens, in the range, before any compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mvista_core.camera_range import SIM_CELL, TRAINED, FixedCameras, TrainedCameras
from mvista_core.errors import ConfigError, MvistaError, ObservationError, RigError
from mvista_core.geometry import look_at
from mvista_core.records import CameraCalibration, ImagineOptions, Intrinsics
from mvista_core.timing import ManualClock
from mvista_world.planner import WorldModelPlanner, load_planner
from mvista_world.requested_views import RequestedViews, ViewFinder
from tests.world.tiny import ARM, CONFIG, RIG, make_observation, noting, write_checkpoint

LENS = RIG.cameras[0].intrinsics
CENTRE = np.array(TRAINED.centre_m)


def standing(
    azimuth_deg: float = 0.0, pitch_deg: float = 46.0, distance_m: float = 0.74, name: str = "asked"
) -> CameraCalibration:
    azimuth, pitch = np.deg2rad([azimuth_deg, pitch_deg])
    level = np.cos(pitch)
    aside = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(pitch)])
    return CameraCalibration(name, look_at(CENTRE + distance_m * aside, CENTRE), LENS)


def finder(trained: TrainedCameras = TRAINED) -> ViewFinder:
    return ViewFinder(RIG, trained, CONFIG, torch.device("cpu"))


def found(*cameras: CameraCalibration, trained: TrainedCameras = TRAINED) -> RequestedViews:
    return finder(trained).find("cam1", ["cam0"], ImagineOptions(cameras))


def test_a_camera_by_pose_is_told_as_the_same_camera_by_name() -> None:
    """One of the rig, brought along by another: to the generator it is the same."""
    guest = replace(RIG.camera("cam2"), name="guest")
    without = replace(RIG, cameras=tuple(c for c in RIG.cameras if c.name != "cam2"))
    brought = ViewFinder(without, TRAINED, CONFIG, torch.device("cpu"))
    asked = brought.find("cam1", [], ImagineOptions((guest,)))
    named = finder().find("cam1", ["cam2"], ImagineOptions())
    assert asked.names == ("cam1", "guest")
    for ours, theirs in zip(
        (asked.cameras.embedding, asked.cameras.intrinsics, asked.cameras.base_from_camera),
        (named.cameras.embedding, named.cameras.intrinsics, named.cameras.base_from_camera),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_what_is_told_of_the_rigs_own_cameras_does_not_depend_on_guests() -> None:
    alone, beside = found(), found(standing(0.0))
    assert torch.equal(alone.cameras.embedding, beside.cameras.embedding[:, :2])
    assert beside.names == ("cam1", "cam0", "asked")


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (lambda: standing(distance_m=1.3), r"distance 1.3 m is outside 0.55 to 1.1 m"),
        (lambda: standing(pitch_deg=20.0), r"pitch 20 deg is outside 25 to 65 deg"),
        (lambda: standing(pitch_deg=30.0), r"pitch 30 deg lies within 28 to 35 deg.*held out"),
        (lambda: standing(90.0), r"azimuth 90 deg lies within 75 to 105 deg.*held out"),
        (
            lambda: replace(standing(), intrinsics=replace(LENS, fx_px=400.0)),
            r"focal length 200 px of the model.s window is outside 79.46 to 107.52 px",
        ),
    ],
)
def test_a_camera_out_of_range_is_refused_with_the_range_unless_asked_for(
    camera: Callable[[], CameraCalibration], message: str
) -> None:
    with pytest.raises(RigError, match=rf"'asked' is outside.*{message}.*allow_out_of_range"):
        found(camera())
    options = ImagineOptions((camera(),), allow_out_of_range=True)
    assert finder().find("cam1", [], options).names == ("cam1", "asked")


def test_a_model_of_fixed_cameras_knows_only_those() -> None:
    for name in RIG.names:
        finder(SIM_CELL).find(name, [], ImagineOptions())
    nearly = standing(23.0, 47.0, 0.76)
    assert found(nearly, trained=SIM_CELL).names[-1] == "asked"
    for camera, number in (
        (standing(0.0), r"azimuth .* within 5 deg of"),
        (standing(22.0, 30.0), r"pitch 30 deg is not within 5 deg of 46 deg"),
        (standing(22.0, 46.0, 1.0), r"distance 1 m is not within 0.05 m of 0.74 m"),
    ):
        with pytest.raises(RigError, match=number):
            found(camera, trained=SIM_CELL)
    lenses = [CONFIG.window.intrinsics(c.intrinsics) for c in RIG.cameras]
    stated = FixedCameras.of([c.base_from_camera for c in RIG.cameras], lenses)
    for place, own in zip(stated.places, SIM_CELL.places, strict=True):
        assert place.azimuth_deg == pytest.approx(own.azimuth_deg)
        assert place.distance_m == pytest.approx(own.distance_m)


def lens(**changes: float) -> Intrinsics:
    return replace(LENS, **changes)  # type: ignore[arg-type]


def below() -> CameraCalibration:
    return CameraCalibration("asked", look_at(CENTRE - 0.6, CENTRE), LENS)


def turned_away() -> CameraCalibration:
    eye = CENTRE + 0.5
    return CameraCalibration("asked", look_at(eye, 2.0 * eye), LENS)


def mirrored() -> CameraCalibration:
    pose = standing().base_from_camera.copy()
    pose[:3, 0] *= -1
    return CameraCalibration("asked", pose, LENS)


def bent() -> CameraCalibration:
    pose = standing().base_from_camera.copy()
    pose[:3, 0] *= 1.01
    return CameraCalibration("asked", pose, LENS)


BAD: dict[str, tuple[Callable[[], tuple[CameraCalibration, ...]], type[MvistaError], str]] = {
    "identical": (
        lambda: (replace(RIG.camera("cam1"), name="asked"),),
        RigError,
        "'cam1' and 'asked' stand 0 mm apart.*1 mm at least",
    ),
    "not rigid": (lambda: (bent(),), RigError, "not rigid: R R.T is 0.02.*determinant 1.01"),
    "mirrored": (lambda: (mirrored(),), RigError, "mirrors: its rotation has determinant -1"),
    "under the table": (lambda: (below(),), RigError, r"z -0.55 m, not above the table's top"),
    "turned away": (lambda: (turned_away(),), RigError, r"centre .* behind it \(z -0.\d+ m"),
    "a K of another resolution": (
        lambda: (replace(standing(), intrinsics=lens(cx_px=640.0, cy_px=360.0)),),
        RigError,
        "cx 640 px does not fit an image of 320x180",
    ),
    "an image that is too small": (
        lambda: (replace(standing(), intrinsics=Intrinsics(64, 48, 40.0, 40.0, 31.5, 23.5)),),
        ObservationError,
        "64x48 is smaller than the model's window 96x64",
    ),
    "a name of the rig": (lambda: (standing(name="cam3"),), RigError, "'cam3' is the rig's"),
    "a name that is none": (lambda: (standing(name="cam 9/x"),), RigError, "cannot name a camera"),
    "six views": (
        lambda: tuple(standing(azimuth, name=f"a{azimuth}") for azimuth in (0, 20, 40, 60)),
        ConfigError,
        "6 views asked for; mode 2 completes at most 5",
    ),
    "twice": (lambda: (standing(), standing(30.0)), ConfigError, "named twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_cameras_that_make_no_view_are_refused_with_numbers(case: str) -> None:
    cameras, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        finder().find("cam1", ["cam0"], ImagineOptions(cameras(), allow_out_of_range=True))


def test_a_request_without_a_source_names_the_rigs_cameras() -> None:
    with pytest.raises(ConfigError, match="no source view.*sim_cell.*'cam0', 'cam1'"):
        finder().find("", ["cam0"], ImagineOptions())
    with pytest.raises(RigError, match="no camera 'asked'"):
        finder().find("asked", [], ImagineOptions())
    with pytest.raises(ConfigError, match=r"view_mode 3 is none of \[1, 2\]"):
        finder().find("cam1", [], ImagineOptions(view_mode=3))


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> WorldModelPlanner:
    return load_planner(
        write_checkpoint(tmp_path_factory.mktemp("checkpoint")), RIG, ARM, ManualClock(7)
    )


def test_five_views_one_of_a_camera_that_is_not_there(planner: WorldModelPlanner) -> None:
    asked = replace(standing(name="over_there"), intrinsics=lens(fx_px=190.0))
    observation = make_observation("open the drawer")
    options = ImagineOptions((asked,), allow_out_of_range=True)
    targets = ["cam0", "cam2", "cam3"]
    rollout = planner.imagine(observation, "cam1", targets, 3, lambda *_: True, options)
    assert rollout.cameras == ("cam1", "cam0", "cam2", "cam3", "over_there")
    np.testing.assert_array_equal(rollout.base_from_camera[4], asked.base_from_camera)
    assert rollout.intrinsics[4] == CONFIG.window.intrinsics(asked.intrinsics)
    assert len(rollout.color) == 5 and (rollout.depth_m[4] > 0).any()
    plan = planner.infer_actions(rollout.rollout_id, "head", 0, lambda *_: True)
    assert np.isfinite(plan.prior.positions).all()


def test_nothing_is_computed_for_a_request_that_is_refused(planner: WorldModelPlanner) -> None:
    told: list[str] = []
    with pytest.raises(RigError, match="outside the range"):
        planner.imagine(
            make_observation("open the drawer"),
            "cam1",
            [],
            0,
            noting(told),
            ImagineOptions((standing(),)),
        )
    assert not told


def test_the_mode_of_one_request(planner: WorldModelPlanner) -> None:
    """Two views of a model of three: mode 1 in one run; mode 2 with one reference is another."""
    stages: list[str] = []
    targets = ["cam0", "cam2"]
    for mode in (1, 2):
        options = ImagineOptions(view_mode=mode)
        planner.imagine(
            make_observation("open the drawer"),
            "cam1",
            targets,
            0,
            noting(stages),
            options,
        )
        assert ("complete" in stages) == (mode == 2)


@pytest.mark.parametrize(
    ("depth", "message"),
    [(0.0, r"none of 57600 depths is measured"), (np.nan, r"57600 of 57600 depths are not finite")],
)
def test_a_source_without_depth_is_refused(
    planner: WorldModelPlanner, depth: float, message: str
) -> None:
    observation = make_observation("open the drawer")
    frame = observation.frames[0]
    blind = replace(frame, depth_m=np.full_like(frame.depth_m, depth))
    with pytest.raises(ObservationError, match=message):
        planner.imagine(replace(observation, frames=(blind,)), "cam1", [], 0, lambda *_: True)
