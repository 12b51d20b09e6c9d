"""What a checkpoint folder holds: the tokenizer, and the encoder of its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mvista_core import weights
from mvista_core.errors import ConfigError, WeightsError
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
