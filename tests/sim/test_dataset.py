"""Collection: shards the training reads, a manifest that counts truly, and resuming."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvista_bringup.paths import config_file
from mvista_cli import cli
from mvista_core.camera_range import TRAINED
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.geometry import invert
from mvista_core.imaging import ModelWindow
from mvista_core.records import Intrinsics
from mvista_core.rig import load_rig
from mvista_core.vantage import Vantage
from mvista_sim import dataset as collecting
from mvista_sim.dataset import Collection, collect
from mvista_sim.episodes import EpisodeMaker
from mvista_sim.experts import MotionStyle, hand_of
from mvista_world.reprojection import PosedLens, reproject
from mvista_world.training.data_sets import find_data_sets
from mvista_world.training.recordings import load_shard

pytestmark = pytest.mark.slow


class _Here:
    """The process pool's `map` in this process."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *args: object) -> None: ...

    map = staticmethod(map)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "ProcessPoolExecutor", _Here)


@pytest.fixture
def job(tmp_path: Path) -> Collection:
    rig, arm = config_file("rigs", "sim_cell.yaml"), config_file("arms", "piper.yaml")
    return Collection("touch_cube", 3, tmp_path / "touch", rig, arm, workers=1, shard_episodes=2)


def manifest(job: Collection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.out / "manifest.json").read_text())
    return found


def test_a_collection_is_what_training_reads(
    job: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(job)
    names = ["shard-00000.npz", "shard-00001.npz"]
    assert sorted(path.name for path in job.out.glob("shard*")) == names
    shard = load_shard(job.out / names[0])
    assert shard.color.shape == (2, 4, 9, 64, 96, 3) and shard.color.dtype == np.uint8
    assert shard.depth_mm.shape == (2, 4, 9, 64, 96) and shard.depth_mm.dtype == np.uint16
    assert shard.actions.shape == (2, 1, 96, 7)
    assert all(words[0].startswith("touch the ") for words in shard.instructions)
    rig = load_rig(job.rig)
    intrinsics, poses = shard.cameras(rig, TINY.window)
    for view, camera in enumerate(rig.cameras):
        lens = TINY.window.intrinsics(camera.intrinsics)
        assert intrinsics[0, view].tolist() == [lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px]
        np.testing.assert_array_equal(poses[1, view], camera.base_from_camera)
    assert find_data_sets(job.out)[0].templates == ("touch the {red|green|blue|yellow} cube",)
    with np.load(job.out / names[0]) as stored:
        for seed, style in zip(stored["seed"], stored["style"], strict=True):
            drawn = MotionStyle.drawn(hand_of(int(seed))).numbers
            np.testing.assert_array_equal(style, drawn.astype(np.float32))
    assert (manifest(job)["episodes"], manifest(job)["dropped"]) == (3, 0)
    assert cli.main(["dataset", "info", str(job.out)]) == 0
    assert "episodes 3, dropped 0" in capsys.readouterr().out


def test_a_collection_resumes_and_a_longer_one_adds_to_it(job: Collection) -> None:
    job = dataclasses.replace(job, grounding=True)
    collect(job)
    first, second = sorted(job.out.glob("shard-*.npz"))
    written = first.stat().st_mtime_ns
    second.unlink()
    collect(job)
    assert first.stat().st_mtime_ns == written
    collect(dataclasses.replace(job, episodes=5))
    assert first.stat().st_mtime_ns == written
    seeds = [int(s) for path in sorted(job.out.glob("shard-*.npz")) for s in np.load(path)["seed"]]
    assert seeds == [1_000_000 + i for i in range(5)]
    assert (manifest(job)["episodes"], manifest(job)["dropped"]) == (5, 0)


def test_grounding_scenes_hold_a_plan_for_every_word(job: Collection) -> None:
    job = dataclasses.replace(job, grounding=True, episodes=1)
    collect(job)
    shard = load_shard(job.out / "shard-00000.npz")
    assert shard.color.shape == (1, 4, 1, 64, 96, 3)
    assert shard.actions.shape == (1, 4, 96, 7)
    assert len(set(shard.instructions[0])) == 4


def test_a_failed_episode_is_counted(job: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = EpisodeMaker.make

    def fails_first(maker: EpisodeMaker, task: str, seed: int) -> Any:
        return None if seed == job.first_seed else attempt(maker, task, seed)

    monkeypatch.setattr(EpisodeMaker, "make", fails_first)
    job = dataclasses.replace(job, grounding=True)
    collect(job)
    assert (manifest(job)["episodes"], manifest(job)["dropped"]) == (2, 1)
    monkeypatch.setattr(EpisodeMaker, "make", lambda *args: None)
    with pytest.raises(ConfigError, match="all 2 scenes from seed"):
        collect(dataclasses.replace(job, out=job.out.with_name("none")))


def test_a_folder_holds_one_collection(job: Collection) -> None:
    job = dataclasses.replace(job, grounding=True, episodes=1)
    collect(job)
    with pytest.raises(ConfigError, match="another collection.*open_drawer"):
        collect(dataclasses.replace(job, task="open_drawer"))


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": 0},
        {"workers": 0},
        {"first_seed": -1},
        {"task": "fold_towel"},
        {"drawn_cameras": 6},
        {"held_out": True},
        {"shape": dataclasses.replace(TINY, action_rate_hz=10.0)},
    ],
)
def test_a_collection_that_makes_no_sense_is_refused(job: Collection, change: Any) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(job, **change)


def test_info_refuses_a_damaged_set(job: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    collect(dataclasses.replace(job, grounding=True, episodes=3))
    (job.out / "shard-00001.npz").unlink()
    assert cli.main(["dataset", "info", str(job.out)]) == 2
    assert "hold 2 episodes, manifest.json says 3" in capsys.readouterr().err
    (job.out / "shard-00000.npz").write_bytes(b"half a file")
    assert cli.main(["dataset", "info", str(job.out)]) == 2
    assert "shard-00000.npz cannot be read" in capsys.readouterr().err


DRAWN = dataclasses.replace(TINY, window=ModelWindow(128, 80, 2))


def drawn(job: Collection, name: str, **changes: Any) -> Collection:
    """Grounding scenes of drawn cameras: quick, and drawn as executed episodes are."""
    settings = {"shape": DRAWN, "drawn_cameras": 3, "grounding": True, **changes}
    return dataclasses.replace(job, out=job.out.with_name(name), **settings)


def test_drawn_cameras_see_what_their_poses_and_lenses_say(job: Collection) -> None:
    """Every episode's stills, back-projected by its true cameras, put the table at height 0."""
    one = drawn(job, "drawn")
    collect(one)
    with np.load(one.out / "shard-00000.npz") as shard:
        arrays = {key: shard[key] for key in shard.files}
    assert arrays["color"].shape == (2, 3, 80, 128, 3)
    assert not np.allclose(arrays["base_from_camera"][0], arrays["base_from_camera"][1])
    for episode in range(2):
        for view in range(3):
            fx, fy, cx, cy = arrays["intrinsics"][episode, view]
            pose = arrays["true_base_from_camera"][episode, view]
            told = arrays["base_from_camera"][episode, view]
            assert 0 < np.linalg.norm((invert(pose) @ told)[:3, 3]) < 0.01
            depth_m = arrays["still_depth_mm"][episode, view] / 1000.0
            v, u = np.mgrid[:80, :128]
            points = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(depth_m)]) * depth_m
            height_m = np.einsum("i,ihw->hw", pose[2, :3], points) + pose[2, 3]
            # Whatever is not table is floor or pedestal; the table fills most of the picture.
            assert np.quantile(np.abs(height_m), 0.3) < 2e-3


def test_the_same_seeds_give_the_same_bytes_in_any_number_of_processes(
    job: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = drawn(job, "one", grounding=False, drawn_cameras=2)
    collect(one)
    monkeypatch.undo()  # real processes
    two = drawn(job, "two", grounding=False, drawn_cameras=2, workers=2)
    collect(two)
    for name in ("shard-00000.npz", "shard-00001.npz"):
        with np.load(one.out / name) as ours, np.load(two.out / name) as theirs:
            assert set(ours.files) == set(theirs.files)
            for key in ours.files:
                np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


def test_info_shows_where_cameras_stood(
    job: Collection, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one = drawn(job, "shown", held_out=True, first_seed=10_000)
    collect(one)
    sheet = tmp_path / "sheet.png"
    assert cli.main(["dataset", "info", str(one.out), "--sheet", str(sheet)]) == 0
    said = capsys.readouterr().out
    assert "9 cameras by azimuth" in said and "told poses are wrong by 0." in said
    assert sheet.stat().st_size > 10_000
    assert manifest(one)["camera_range"]["far_m"] == 1.0 and manifest(one)["held_out"]
    with pytest.raises(ConfigError, match="another collection.*held_out"):
        collect(dataclasses.replace(one, held_out=False))


def test_a_vantage_films_what_its_camera_can_be_drawn_to_show(job: Collection) -> None:
    """In the poses that are told, whose errors the two share; by one sensor's colours."""
    vantage = Vantage()
    one = drawn(job, "vantage", drawn_cameras=2, vantage=vantage)
    collect(one)
    assert manifest(one)["cameras"] == ["cam0", "cam1", "cam0_vantage"]
    assert manifest(one)["vantage"] == dataclasses.asdict(vantage)
    with np.load(one.out / "shard-00000.npz") as shard:
        arrays = {key: shard[key] for key in shard.files}
    for episode in range(2):
        poses = arrays["base_from_camera"][episode]
        np.testing.assert_allclose(poses[2], vantage.pose(poses[0], TRAINED), atol=1e-9)
        first, _, there = (
            PosedLens(Intrinsics(128, 80, *k), pose)
            for k, pose in zip(arrays["intrinsics"][episode].tolist(), poses, strict=True)
        )
        color, depth_m = arrays["color"][episode], arrays["depth_mm"][episode] / 1000.0
        drawn_there = reproject(color[0], depth_m[0], first, there)
        shown = drawn_there.covered & (depth_m[2] > 0)
        assert shown.mean() > 0.4
        off_m = np.abs(drawn_there.depth_m - depth_m[2])[shown]
        off = np.abs(drawn_there.color.astype(int) - color[2]).max(axis=-1)[shown]
        assert np.median(off_m) < 3e-3 and np.median(off) < 12.0
    with pytest.raises(ConfigError, match="another collection.*vantage"):
        collect(dataclasses.replace(one, vantage=None))


def test_a_model_without_a_vantage_has_none_filmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["dataset", "collect", "--preset", "tiny", "--vantage", "--out", str(tmp_path / "no")]
    assert cli.main(asked) == 2
    assert "preset 'tiny' reads its source as it stands" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
