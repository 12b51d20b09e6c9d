"""`mvista model` and `mvista text`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_cli import cli
from mvista_cli.commands.model_make_random import SIZES
from mvista_world.assemble import Sizes

VIEWS = ("--preset", "tiny_views", "--start", "models/checkpoints/tiny_views")
FROM_SHIPPED = ("train", "generator", *VIEWS)
SMALL = ["--depth", "1", "--heads", "1", "--vae-width", "10", "--text-width", "64", "--frames", "5"]


def say(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_a_folder_is_made_told_of_encoded_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, told = tmp_path / "wan", tmp_path / "facts.json"
    code, text = say(capsys, "model", "make-random", folder, *SMALL)
    assert code == 0 and f"mvista text encode {folder}" in text
    code, text = say(capsys, "model", "verify", folder)
    assert code == 2 and "lacks 7 of 7 sentences" in text
    code, text = say(capsys, "text", "encode", folder, "--instruction", "wave at me")
    assert code == 0 and "8 sentences, 8 of them encoded now" in text
    code, text = say(capsys, "model", "verify", folder)
    assert code == 0 and "whole: every sum, key, shape and statistic fits" in text
    code, text = say(capsys, "model", "info", folder, "--json", told)
    assert code == 0 and "5 frames of 320x192" in text and "unipc, shift 5" in text
    document = json.loads(told.read_text())
    assert (document["sentences"], document["encoded"], document["layout"]) == (7, 7, "parts")
    assert {part["name"] for part in document["parts"]} >= {"backbone", "style", "vae"}


def test_a_converted_checkpoint_is_told_of_as_what_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(__file__).parents[2] / "models/checkpoints/tiny"
    documents = []
    assert say(capsys, "model", "convert", shipped, tmp_path / "tiny")[0] == 0
    for folder in (shipped, tmp_path / "tiny"):
        assert say(capsys, "model", "info", folder, "--json", tmp_path / "facts.json")[0] == 0
        documents.append(json.loads((tmp_path / "facts.json").read_text()))
    assert [document["layout"] for document in documents] == ["flat", "parts"]
    assert documents[0]["model"] == documents[1]["model"]
    assert documents[0]["parameters"] == documents[1]["parameters"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("model", "info", "nowhere"), "no checkpoint at nowhere: manifest.json is missing"),
        (("model", "verify", "tests"), "get a backbone with `hf download"),
        (("text", "encode", "models/checkpoints/tiny"), "an encoder of its own ('bert')"),
        (("model", "make-random", "tests"), "has something in it"),
        (("train", "codec", "--preset", "wan22_ti2v_5b"), "is generator and trajectory; its auto"),
        (("train", "generator", "--preset", "wan22_ti2v_5b"), "starts from a folder: --start"),
        (("train", "generator", "--renew", "cross_view"), "of generator with --start, and of"),
        ((*FROM_SHIPPED, "--renew", "source_render"), "['cross_modality', 'cross_view', 'source_"),
        (
            (*FROM_SHIPPED, "--renew", "spherical", "--without", "spherical"),
            "'cross_view', 'source_points', 'arm_points', 'latents'] of preset",
        ),
        (
            ("train", "trajectory", "--without", "tcn_vae,cross_view"),
            "without ['cross_view', 'offs",
        ),
        (("train", "trajectory", "--without", "tcn_vae", "--steps", "3"), "nothing to train but"),
        (("train", "generator", "--without", "depth_token"), "'depth_tokens', 'tcn_vae']; see"),
        (("train", "codec", "--batch", "4"), "has batches of its own; --batch is of generator"),
        (("train", "generator", "--batch", "0"), "a step is of at least 1 sample"),
        (("model", "merge", "models/checkpoints/tiny", "x", "y"), "no transformer/ of its own"),
        (("model", "make-random", "x", "--text-width", "100"), "text_width a multiple of 64"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    words: tuple[str, ...],
    answer: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    code, text = say(capsys, *words)
    assert code == 2 and answer in text and text.count("\n") == 1


def test_the_sizes_that_the_help_tells_are_those_that_are_taken() -> None:
    assert {name: usual for name, (usual, _) in SIZES.items()} == vars(Sizes())


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--preset tiny", "measures Wan's backbone, not 'tiny'"),
        ("--views 9", "1 to 3 views"),
        ("--frames 6", "frame_count 6 is not 4k+1"),
        ("--depth -1", "at least 1 layer"),
        ("--precision fp8", "precision 'fp8' is none of"),
    ],
)
def test_a_bench_that_cannot_be_is_refused(
    words: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = say(capsys, "bench", "planner", "--random-weights", *words.split())
    assert code == 2 and answer in text and text.count("\n") == 1
