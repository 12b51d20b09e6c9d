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
from mvista_core.errors import ConfigError
from mvista_sim import dataset as collecting
from mvista_sim.cell import SimCell
from mvista_sim.dataset import Collection, collect
from mvista_world.training.data import load_shard, templates

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
    monkeypatch.setattr(collecting, "SHARD_EPISODES", 2)


@pytest.fixture
def job(tmp_path: Path) -> Collection:
    rig, arm = config_file("rigs", "sim_cell.yaml"), config_file("arms", "piper.yaml")
    return Collection("touch_cube", 3, tmp_path / "touch", rig, arm, workers=1)


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
    assert templates([job.out]) == ("touch the {red|green|blue|yellow} cube",)
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
    attempt = collecting._episode

    def fails_first(cell: SimCell, job: Collection, seed: int) -> Any:
        return None if seed == job.first_seed else attempt(cell, job, seed)

    monkeypatch.setattr(collecting, "_episode", fails_first)
    job = dataclasses.replace(job, grounding=True)
    collect(job)
    assert (manifest(job)["episodes"], manifest(job)["dropped"]) == (2, 1)
    monkeypatch.setattr(collecting, "_episode", lambda *args: None)
    with pytest.raises(ConfigError, match="all 2 scenes from seed"):
        collect(dataclasses.replace(job, out=job.out.with_name("none")))


def test_a_folder_holds_one_collection(job: Collection) -> None:
    job = dataclasses.replace(job, grounding=True, episodes=1)
    collect(job)
    with pytest.raises(ConfigError, match="another collection.*open_drawer"):
        collect(dataclasses.replace(job, task="open_drawer"))


@pytest.mark.parametrize(
    "change", [{"episodes": 0}, {"workers": 0}, {"first_seed": -1}, {"task": "fold_towel"}]
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
