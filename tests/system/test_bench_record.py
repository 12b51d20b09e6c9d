"""`mvista bench record` on real processes: what is killed loses no episode.

`mvista bench record --kills 50` kills each fifty times.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_cli import cli

pytestmark = pytest.mark.system


@pytest.mark.timeout(600)
def test_recorder_camera_and_teleoperation_are_killed_and_no_episode_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kills.json"
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "output"))
    code = cli.main(["bench", "record", "--kills", "1", "--seed", "3", "--json", str(out)])
    found = json.loads(out.read_text(encoding="utf-8"))
    assert code == 0, found
    victims = found["victims"]
    assert victims["recorder"]["torn"] == 1 and victims["recorder"]["finished"] == 1
    assert [victims[name]["finished"] for name in ("camera", "teleop")] == [1, 1]
    assert "repaired up to" in capsys.readouterr().out


def test_what_makes_no_sense_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["--seconds=0"], ["--clocks", "--seconds=-1"], ["--kills=-3"]):
        assert cli.main(["bench", "record", *words]) == 2
    assert "allowed: more than 0" in capsys.readouterr().err
