"""What a checkpoint folder holds: the tokenizer, and weights that are refused when not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mvista_core.errors import ConfigError, WeightsError
from mvista_world import weights
from mvista_world.checkpoint import load_checkpoint
from mvista_world.compute import choose
from mvista_world.text import InstructionEncoder, build_tokenizer, load_tokenizer
from tests.world.tiny import CONFIG, TEMPLATES, write_checkpoint


def test_every_sentence_of_the_templates_survives_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TEMPLATES)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    for sentence in ("touch the red cube", "touch the green cube", "open the drawer"):
        ids = tokenizer(sentence)["input_ids"]
        assert loaded(sentence)["input_ids"] == ids
        assert loaded.decode(ids) == sentence
        assert loaded.unk_token_id not in ids


def test_an_unknown_word_is_marked_as_unknown() -> None:
    tokenizer = build_tokenizer(TEMPLATES)
    ids = tokenizer("touch the purple cube")["input_ids"]
    assert [i == tokenizer.unk_token_id for i in ids] == [False, False, True, False]


def test_padding_is_zero_and_does_not_change_the_words() -> None:
    torch.manual_seed(0)
    encoder = InstructionEncoder(CONFIG.text, build_tokenizer(TEMPLATES)).eval()
    with torch.no_grad():
        both = encoder(["open the drawer", "touch the red cube"])
        alone = encoder(["open the drawer"])
    assert both.shape == (2, CONFIG.text.max_tokens, CONFIG.text.hidden)
    assert (both[0, 3:] == 0).all()
    assert (both[0, :3].abs().sum(-1) > 0).all()
    torch.testing.assert_close(both[:1], alone)


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


def test_what_is_loaded_is_whole_frozen_and_where_it_was_asked_for(tmp_path: Path) -> None:
    folder, compute = write_checkpoint(tmp_path), choose("fp32")
    loaded = load_checkpoint(folder, compute)
    assert (loaded.config, loaded.templates) == (CONFIG, TEMPLATES)
    assert loaded.sha256 == weights.verify(folder)
    assert loaded.compute is compute and loaded.refiner is None
    for module in (loaded.codec, loaded.text, loaded.generator, loaded.trajectory):
        assert isinstance(module, torch.nn.Module) and not module.training
        for parameter in module.parameters():
            assert not parameter.requires_grad and parameter.device == compute.device


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    path = folder / "config.json"
    document = json.loads(path.read_text())
    document["model"]["transformer"]["num_layers"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(WeightsError, match=r"config\.json was truncated or altered"):
        load_checkpoint(folder)
    weights.write_manifest(
        folder, list(json.loads((folder / "manifest.json").read_text())["files"])
    )
    with pytest.raises(WeightsError, match=r"generator\.safetensors does not fit its config\.json"):
        load_checkpoint(folder)
    document["model"]["codec"]["kind"] = "wan"
    path.write_text(json.dumps(document))
    weights.write_manifest(folder, ["config.json"])
    with pytest.raises(ConfigError, match="wants codec 'wan'"):
        load_checkpoint(folder)
