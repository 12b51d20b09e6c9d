"""The script for a bare machine with a card: each stage by itself, and its exit status says all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "models" / "gpu_check.sh"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_that_fails_or_is_late_hides_no_other(tmp_path: Path) -> None:
    small = ("--device", "cpu", "--depth", "1", "--out", str(tmp_path))
    done = run(*small, "--stages", "tests bench facts", "--limit", "bench=1")
    assert done.returncode == 1, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    states = {row["stage"]: row["state"] for row in summary["stages"]}
    # Without a card its tests are skipped, which is no failure.
    assert states == {"tests": "ok", "bench": "late", "facts": "ok"}
    assert json.loads((tmp_path / "facts.json").read_text())["device"] == "cpu"
    assert (tmp_path / "tests.log").is_file() and not (tmp_path / "bench.json").exists()
    late = summary["stages"][1]
    assert late["exit"] != 0 and 1.0 <= late["seconds"] < 10.0


def test_a_card_that_is_not_there_is_a_failed_stage(tmp_path: Path) -> None:
    done = run("--device", "cuda:9", "--stages", "bench", "--out", str(tmp_path))
    assert done.returncode == 1
    (row,) = json.loads((tmp_path / "summary.json").read_text())["stages"]
    assert row["state"] == "failed" and "device 'cuda:9' is not here" in row["last_line"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--depth", "none"), "--depth none: a number of layers"),
        (("--stages", "polish"), "no stage 'polish'; there are "),
        (("--limit", "bench"), "--limit bench: STAGE=SECONDS"),
        (("--limit", "polish=3"), "--limit polish=3: STAGE=SECONDS"),
        (("--colour", "red"), "no option --colour"),
        (("--depth",), "--depth: a value is missing"),
    ],
)
def test_a_mistake_in_the_arguments_runs_nothing(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = run("--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_stage_is_a_function_with_a_limit() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    stages = next(line for line in text.splitlines() if line.startswith("STAGES=")).split('"')[1]
    for stage in stages.split():
        assert f"\n{stage}() {{" in text and f"[{stage}]=" in text
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
