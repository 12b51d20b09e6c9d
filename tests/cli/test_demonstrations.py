"""A simulated hand's demonstration is an episode like any other, and a function of its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_bringup.paths import config_file
from mvista_cli.cli import main
from mvista_cli.operator.demonstrations import DemonstrationJob, demonstrate
from mvista_core.episode_shape import TINY
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig, save_rig
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.layout import episode_folders
from mvista_recorder.repair import faults
from mvista_recorder.training_shards import TrainingJob, convert_to_training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> DemonstrationJob:
    """One scene before one camera: what is filmed takes longest."""
    root = tmp_path_factory.mktemp("hand")
    whole = load_rig(config_file("rigs", "sim_cell.yaml"))
    save_rig(replace(whole, cameras=whole.cameras[:1]), root / "rig.yaml")
    arm = config_file("arms", "piper.yaml")
    made = DemonstrationJob("open_drawer", 1, root / "episodes", root / "rig.yaml", arm, 7)
    (found,) = demonstrate(made, 1)
    assert found.label == "success", found.words
    return made


def test_it_is_recorded_as_an_operators_would_be(job: DemonstrationJob) -> None:
    (folder,) = episode_folders(job.out)
    reader = EpisodeReader(folder)
    manifest = reader.manifest
    assert faults(folder) == [] and manifest.label == "success"
    assert manifest.instruction == "open the drawer" and not manifest.events
    rates = {name: stream.rate_hz for name, stream in manifest.streams.items()}
    assert rates["/piper/joint_states"] == pytest.approx(200.0, abs=0.1)
    assert rates["/cam0/depth/native/compressedDepth"] == pytest.approx(15.0, abs=0.1)
    led, sent, went = (
        np.array([state.positions for state in reader.joints(topic)])
        for topic in ("/leader/joint_states", "/piper/joint_command", "/piper/joint_states")
    )
    assert np.ptp(led, axis=0).max() > 0.3, "the hand led somewhere"
    count = min(len(led), len(sent))
    assert np.abs(sent[:count] - led[:count]).max() < 0.05, "and the follower was sent there"
    assert np.abs(went - sent).max() < 0.1


def test_it_becomes_training_data(job: DemonstrationJob, tmp_path: Path) -> None:
    (report,) = convert_to_training(TrainingJob(episode_folders(job.out), tmp_path, 0.8, TINY), 1)
    assert report.kept >= 2 and not report.dropped, report.words


def test_what_is_there_is_not_made_again(
    job: DemonstrationJob, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = episode_folders(job.out)
    before = (folder / "episode.mcap").stat().st_mtime_ns
    words = ["dataset", "teleoperate", "--task", "open_drawer", "--episodes", "1"]
    words += ["--first-seed", "7", "--out", str(job.out)]
    assert main([*words, "--rig", str(job.rig.with_suffix(""))]) == 0
    assert "made before" in capsys.readouterr().out
    assert main(words) == 2, "the cell's own rig has four cameras"
    assert "is of another task or rig" in capsys.readouterr().err
    assert (folder / "episode.mcap").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="0 episodes"):
        replace(job, episodes=0)
