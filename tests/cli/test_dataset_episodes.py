"""`mvista dataset validate | repair | info` on episodes, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_cli.cli import main
from mvista_recorder.layout import EPISODE, PARTIAL
from mvista_recorder.repair import faults
from tests.recorder.made import finished


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One whole episode, one torn, one that never was any."""
    folder = tmp_path / "episodes"
    finished(folder, 4, id="00000001")
    torn, _ = finished(folder, 12, id="00000002")
    torn = torn.rename(f"{torn}{PARTIAL}")
    content = (torn / EPISODE).read_bytes()
    (torn / EPISODE).write_bytes(content[: len(content) * 2 // 3])
    foreign = folder / "20200101T000000Z-00000003"
    foreign.mkdir()
    (foreign / EPISODE).write_bytes(b"no episode at all")
    return folder


def test_validate_names_what_is_wrong_a_line_each(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "validate", str(root), "--workers", "1"]) == 2
    told = capsys.readouterr()
    assert "1 of 3 episodes are whole" in told.out
    assert "00000002" in told.err and "at byte" in told.err and "dataset repair" in told.err
    (whole,) = [folder for folder in root.iterdir() if folder.name.endswith("00000001")]
    assert main(["dataset", "validate", str(whole)]) == 0


def test_repair_makes_new_ones_and_goes_on_where_it_stopped(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert main(["dataset", "repair", str(root), "--workers", "1"]) == 2, "one is beyond repair"
    told = capsys.readouterr()
    assert "is whole" in told.out and "->" in told.out and "[90]" in told.err
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    (mended,) = root.with_name("episodes-repaired").iterdir()
    assert faults(mended) == [] and mended.name.endswith("-00000002")
    assert main(["dataset", "repair", str(root), "--workers", "1"]) == 2
    assert "was repaired before" in capsys.readouterr().out


def test_info_tells_of_one_and_of_many(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "info", str(root), "--json", str(tmp_path / "all.json")]) == 0
    assert "1 torn, 1 unlabelled, 1 unreadable" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["kinds"]["torn"] == 1
    (whole,) = [folder for folder in root.iterdir() if folder.name.endswith("00000001")]
    assert main(["dataset", "info", str(whole)]) == 0
    told = capsys.readouterr().out
    assert "skew of the cameras" in told and "sheet.jpg" in told and "0 dropped" in told


def test_a_folder_without_episodes_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("validate", "repair"):
        assert main(["dataset", verb, str(tmp_path / "nothing")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["record", "  "]) == 2
    assert "instruction is empty" in capsys.readouterr().err
