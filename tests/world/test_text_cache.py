"""Features of words: what umT5 says, once, on disk, and nothing else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

from mvista_core.errors import ConfigError, InstructionError, WeightsError
from mvista_core.timing import ManualClock
from mvista_world.compute import choose
from mvista_world.config_file import load_config
from mvista_world.planner import load_planner
from mvista_world.text_cache import (
    CachedText,
    cached_file,
    encode_folder,
    encoder_identity,
    load_tokenizer,
)
from tests.world.tiny import ARM, RIG, write_checkpoint
from tests.world.wan_folder import SMALL, write_wan_folder

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_wan_folder(tmp_path / "folder")


def reader(folder: Path) -> CachedText:
    return CachedText(folder, load_config(folder / "config.json")[0].text, CPU, torch.float32)


def test_what_is_read_is_what_wans_pipeline_computes(folder: Path) -> None:
    """Padded to the length for the encoder, cut to the words, padded with zeros again."""
    encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.bfloat16)
    sentences = ["touch the red cube", "open the drawer"]
    batch = load_tokenizer(folder)(
        sentences, padding="max_length", max_length=24, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    assert lengths == [5, 4]  # the words and </s>
    ours = reader(folder)(sentences)
    assert ours.shape == (2, 24, SMALL.text.hidden)
    for k, length in enumerate(lengths):
        torch.testing.assert_close(
            ours[k, :length], theirs[k, :length].float(), atol=0.02, rtol=0.02
        )
        assert ours[k, :length].abs().max() > 0.1
        assert not ours[k, length:].any()


def test_a_sentence_is_encoded_once_and_by_its_words(folder: Path) -> None:
    assert encode_folder(folder) == (3, 0)
    assert encode_folder(folder, ["touch  the\tred cube", "wave"]) == (5, 1)
    assert torch.equal(
        reader(folder)(["touch  the red cube "]), reader(folder)(["touch the red cube"])
    )
    names = [path.name for path in (folder / "text_cache").iterdir()]
    assert len(names) == 4


def test_a_robot_plans_without_the_encoder(folder: Path) -> None:
    for name in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / name)
    planner = load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))
    assert len(planner.templates) == 2
    with pytest.raises(WeightsError, match="nothing can be encoded here; .* copy text_cache/"):
        encode_folder(folder)


def test_a_sentence_that_was_never_encoded_stops_the_start(folder: Path) -> None:
    shutil.rmtree(folder / "text_cache")
    with pytest.raises(InstructionError, match=r'no features of "touch the .*`mvista text encode'):
        load_planner(folder, RIG, ARM, ManualClock(7), choose("fp32"))


def test_a_cache_of_another_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_wan_folder(tmp_path / "other", seed=5)
    shutil.rmtree(folder / "text_cache")
    shutil.copytree(other / "text_cache", folder / "text_cache")
    with pytest.raises(WeightsError, match=r'holds "touch the .*" of encoder .* was made for'):
        reader(folder)(["touch the red cube"])


def test_an_encoder_that_the_model_was_not_made_with_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    other = write_wan_folder(tmp_path / "other", seed=5)
    mine = encoder_identity(folder)
    shutil.rmtree(folder / "text_encoder")
    shutil.copytree(other / "text_encoder", folder / "text_encoder")
    assert encoder_identity(folder) != mine
    with pytest.raises(WeightsError, match="its words would mean something else"):
        encode_folder(folder)


def test_features_under_another_name_are_refused(folder: Path, tmp_path: Path) -> None:
    """Copied over by hand: the name is right, what it holds says whose it is."""
    other = write_wan_folder(tmp_path / "other", seed=5)
    places = []
    for at in (folder, other):
        text = load_config(at / "config.json")[0].text
        places.append(cached_file(at / "text_cache", text.encoder_sha256, 24, "open the drawer"))
    shutil.copyfile(places[1], places[0])
    with pytest.raises(WeightsError, match="was made by encoder .*, wanted is"):
        reader(folder)(["open the drawer"])


def test_altered_and_torn_features_are_refused(folder: Path) -> None:
    text = load_config(folder / "config.json")[0].text
    path = cached_file(folder / "text_cache", text.encoder_sha256, 24, "open the drawer")
    with safe_open(path, framework="pt") as opened:
        about = opened.metadata()
    save_file({"embedding": load_file(path)["embedding"] + 1}, path, about)
    with pytest.raises(WeightsError, match="truncated or altered; remove it and encode again"):
        reader(folder)(["open the drawer"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="is damaged .* remove it and encode again"):
        reader(folder)(["open the drawer"])


def test_words_beyond_the_models_length_are_refused_not_cut(folder: Path) -> None:
    with pytest.raises(InstructionError, match=r"has \d+ tokens, at most 24 are heard"):
        encode_folder(folder, ["touch the red cube " * 9])


def test_half_an_encoder_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "text_cache")
    config = folder / "config.json"
    document = json.loads(config.read_text())
    document["model"]["text"]["encoder_sha256"] = ""
    config.write_text(json.dumps(document))
    path = folder / "text_encoder/model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"model\.safetensors has \d+ bytes, its header wants"):
        encode_folder(folder)


def test_a_model_with_an_encoder_of_its_own_has_nothing_to_encode(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"an encoder of its own \('bert'\)"):
        encode_folder(write_checkpoint(tmp_path))


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    with pytest.raises(ConfigError, match=r"device 'cuda' is not here.*'cpu'.* finds 0 cards"):
        choose(device="cuda")
    with pytest.raises(ConfigError, match="device 'gpu' is not here"):
        choose(device="gpu")
