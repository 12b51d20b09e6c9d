"""Any folder with a manifest trains; what is not the rig's or the model's is refused before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvista_core.errors import ConfigError
from mvista_world.training.data_sets import DataSet, find_data_sets
from mvista_world.training.refine_data import EpisodeSet, Priors, load_priors, save_priors
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import ARM, CONFIG, RIG


def written(folder: Path, **said: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"templates": [folder.name], **said}))
    return folder


def asked(folder: Path) -> TrainingRequest:
    return TrainingRequest(CONFIG, folder, folder / "out", folder / "checkpoint", RIG, ARM)


def test_all_folders_with_a_manifest_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    written(tmp_path / "kitchen")
    written(tmp_path / "apples", grounding=True)
    (tmp_path / "notes").mkdir()
    found = find_data_sets(tmp_path)
    assert [(one.folder.name, one.grounding) for one in found] == [
        ("apples", True),
        ("kitchen", False),
    ]
    assert find_data_sets(tmp_path / "kitchen") == found[1:]
    request = asked(tmp_path)
    assert request.video_folders() == [tmp_path / "kitchen"]
    assert request.grounding_folders() == [tmp_path / "apples"]
    assert request.templates() == ("kitchen",)


def test_todays_folders_are_found_as_before(tmp_path: Path) -> None:
    for name in ("touch", "drawer", "orange"):
        written(tmp_path / name)
    written(tmp_path / "grounding", grounding=True)
    names = {folder.name for folder in asked(tmp_path).video_folders()}
    assert names == {"touch", "drawer", "orange"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("[]", "names no 'templates'"),
        ('{"label": "success"}', "names no 'templates'.*convert --to training"),
        ("{", "cannot be read"),
        ('{"templates": ["a"], "window": 3}', "no data set's"),
    ],
)
def test_other_manifests_are_refused_by_name(tmp_path: Path, said: str, words: str) -> None:
    (tmp_path / "manifest.json").write_text(said)
    with pytest.raises(ConfigError, match=rf"manifest\.json.*{words}"):
        find_data_sets(tmp_path)


def test_nothing_to_train_on_says_what_makes_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no data set in.*collect.*convert.*--data"):
        find_data_sets(tmp_path)
    written(tmp_path / "scenes", grounding=True)
    with pytest.raises(ConfigError, match="grounding scenes alone"):
        asked(tmp_path).video_folders()


def test_a_data_set_is_of_the_rig_that_is_told(tmp_path: Path) -> None:
    written(tmp_path / "mine", rig=RIG.name, rig_hash=RIG.content_hash, cameras=list(RIG.names))
    request = asked(tmp_path)
    (one,) = request.data_sets()
    one.require_every_camera(RIG)
    other = replace(RIG, name="moved", content_hash="0" * 64)
    with pytest.raises(ConfigError, match=r"mine was recorded with rig 'sim_cell'.*'moved'"):
        replace(request, rig=other).data_sets()
    with pytest.raises(ConfigError, match="all cameras of rig"):
        replace(one, cameras=RIG.names[:2]).require_every_camera(RIG)
    # Cameras drawn for every episode are stated there; no rig is theirs.
    DataSet(tmp_path, ("a",), rig="3 cameras an episode", cameras=("cam0",)).require_rig(other)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"window": [96, 64, 2]}, "window of"),
        ({"frame_times_s": [0.0, 0.5]}, "2 frames in 0.5 s, the model 5 in"),
        ({"joint_names": ["a", "b"]}, "joints"),
    ],
)
def test_what_the_model_cannot_take_is_refused(
    tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    written(tmp_path / "mine", **said)
    with pytest.raises(ConfigError, match=f"mine has .*{words}.*--preset"):
        asked(tmp_path).data_sets()


def test_priors_of_other_data_sets_are_refused(tmp_path: Path) -> None:
    empty = np.zeros((4, 8, 7), np.float32)
    video = np.zeros((4, 1, 3, 2, 2), np.uint16)
    episodes = EpisodeSet(video.astype(np.uint8), video, empty, empty[:, 0], ("drawer", "touch"))
    made = Priors(np.array([3]), empty[:1], data_sets=("touch", "drawer"))
    path = tmp_path / "priors.npz"
    save_priors(path, made)
    with pytest.raises(ConfigError, match=r"\['touch', 'drawer'\].*train priors"):
        load_priors(path, episodes)
    assert load_priors(path, replace(episodes, data_sets=made.data_sets)).data_sets
    save_priors(path, replace(made, data_sets=()))
    with pytest.raises(ConfigError, match="train priors"):
        load_priors(path, episodes)
    load_priors(path, replace(episodes, data_sets=("touch",)))
