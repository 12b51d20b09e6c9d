"""Record, convert, train: what was demonstrated is data like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mvista_cli.cli import main
from mvista_core.errors import ConfigError
from mvista_recorder.training_shards import TrainingJob, convert_to_training
from mvista_world.training import recipes
from mvista_world.training.request import TrainingRequest
from tests.recorder.test_training_shards import recorded
from tests.world.tiny import ARM, CONFIG, RIG

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of one demonstration, in a folder of no particular name."""
    root = tmp_path_factory.mktemp("demonstrations")
    folder, _ = recorded(root / "episodes", count=32)
    job = TrainingJob((folder,), root / "data" / "tuesday", 0.4, CONFIG.episode)
    (report,) = convert_to_training(job, 1)
    assert report.kept >= 6, report.words
    return job.out


def test_every_network_trains_on_demonstrations_and_says_what_is_missing(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = TrainingRequest(
        CONFIG, shards.parent, tmp_path / "out", tmp_path / "checkpoint", RIG, ARM, steps=3,
        threads=1,
    )  # fmt: skip
    for network in ("codec", "trajectory", "generator", "pack"):
        recipes.run(network, asked)
    assert "no grounding scenes" in capsys.readouterr().err
    for name in ("codec", "trajectory", "generator", "text"):
        weights = load_file(tmp_path / "checkpoint" / f"{name}.safetensors")
        assert all(value.isfinite().all() for value in weights.values()), name
    # One folder trains as the folder above it does.
    again = replace(asked, data=shards, out=tmp_path / "again")
    recipes.run("codec", again)
    ours, theirs = (load_file(run.out / "codec.safetensors") for run in (asked, again))
    assert all(value.equal(theirs[key]) for key, value in ours.items())


def test_training_refuses_another_rig_before_it_begins(shards: Path, tmp_path: Path) -> None:
    moved = replace(RIG, name="moved", content_hash="0" * 64)
    asked = TrainingRequest(CONFIG, shards, tmp_path / "out", tmp_path, moved, ARM, steps=1)
    for network in ("codec", "trajectory", "generator", "refine", "priors"):
        with pytest.raises(ConfigError, match="was recorded with rig 'sim_cell'.*'moved'"):
            recipes.run(network, asked)
    assert not asked.out.exists()


def test_the_command_refuses_another_rig_or_preset(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "codec",
        "--data",
        str(shards),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "1",
    ]
    assert main(words) == 2
    assert "has a window of (48, 32, 2), the model (128, 80, 2)" in capsys.readouterr().err
    other = tmp_path / "moved.yaml"
    other.write_text((Path(__file__).parents[2] / "config/rigs/sim_cell.yaml").read_text() + "\n")
    assert main([*words, "--rig", str(other)]) == 2
    assert "give the file it was recorded with" in capsys.readouterr().err
