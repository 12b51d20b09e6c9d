"""A checkpoint's folder as the core reads it: whole or refused by name, and the words it knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_core import weights
from mvista_core.errors import ConfigError, WeightsError
from mvista_world.config_file import save_config
from mvista_world.presets import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.safetensors", "b.json"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    weights.write_manifest(tmp_path, ["b.json", "a.safetensors"])
    return tmp_path


def test_a_whole_checkpoint_is_identified_by_one_digest(folder: Path) -> None:
    sha = weights.verify(folder)
    assert sha == weights.sha256_of(folder / weights.MANIFEST)
    assert sha == weights.write_manifest(folder, ["a.safetensors", "b.json"])


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damage_is_refused_with_the_file_and_its_expected_sum(folder: Path, damage: str) -> None:
    path = folder / "a.safetensors"
    expected, content = weights.sha256_of(path), path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(b"A" + content[1:])
    with pytest.raises(WeightsError, match=rf"a\.safetensors.*expected sha256 {expected}"):
        weights.verify(folder)


@pytest.mark.parametrize("text", ["{", "{}", "[]", json.dumps({"files": ["a.safetensors"]})])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / weights.MANIFEST).write_text(text)
    with pytest.raises(WeightsError, match="not a checkpoint manifest"):
        weights.verify(folder)


def test_a_folder_without_a_manifest_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"manifest\.json is missing.*mvista train"):
        weights.verify(tmp_path)


def test_the_templates_are_those_that_the_model_was_saved_with(tmp_path: Path) -> None:
    save_config(tiny(), ["open the drawer", "touch the {red|green} cube"], tmp_path / "config.json")
    found = weights.read_templates(tmp_path)
    assert found == ("open the drawer", "touch the {red|green} cube")


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"templates": 3}', '{"templates": [3]}'])
def test_a_config_without_templates_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json: not a model config"):
        weights.read_templates(tmp_path)
