"""What a checkpoint folder holds: the tokenizer, and the encoder of its words."""

from __future__ import annotations

from pathlib import Path

import torch

from mvista_world.text import InstructionEncoder, build_tokenizer, load_tokenizer
from tests.world.tiny import CONFIG, TEMPLATES


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
